"""System call filters: a small assembler for classic BPF.

Pure; ``process.load_seccomp_filter`` hands the result to the kernel.

A filter is described per instruction set as a table of actions by number; the assembler lays it
out as a binary search, so that a call costs about ten instructions (and nothing for numbers that
the kernel finds to be always allowed).

Source: seccomp(2), Documentation/userspace-api/seccomp_filter.rst, <linux/filter.h>.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Final

from imagekit.base.record import Record
from imagekit.linux.constants import SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO

_LD_ABS: Final = 0x20
_JA: Final = 0x05
_JEQ: Final = 0x15
_JGE: Final = 0x35
_JSET: Final = 0x45
_RET: Final = 0x06
_OFFSET_NUMBER: Final = 0
_OFFSET_ARCH: Final = 4
_OFFSET_ARGUMENTS: Final = 16
_MAX_JUMP: Final = 255

_Code = list[tuple[int, int, int, int]]


class Return(Record):
    """End with a fixed answer."""

    value: int


class IfArgument(Record):
    """Choose by the lower half of an argument, which is all that 32-bit parameters have.

    ``then`` when the argument equals one of ``equals`` or has a bit of ``bits``, else
    ``otherwise``.
    """

    position: int
    equals: tuple[int, ...]
    bits: int
    then: Return
    otherwise: Return


Action = Return | IfArgument

ALLOW: Final = Return(SECCOMP_RET_ALLOW)


def fail_with(errno: int) -> Return:
    """Return the action that makes a call fail."""
    return Return(SECCOMP_RET_ERRNO | errno)


class Section(Record):
    """The rules of one instruction set: actions by number, for gaps, and beyond the end."""

    audit_arch: int
    actions: Mapping[int, Action]
    gap: Action
    beyond: Action


def assemble(sections: Sequence[Section], *, other_arch: Action) -> bytes:
    """Return the program, 8 bytes an instruction.

    Numbers of another instruction set never reach a section: the first thing that the program looks
    at is the set the call was made in.
    """
    code: _Code = []
    for section in reversed(sections):
        body = [(_LD_ABS, 0, 0, _OFFSET_NUMBER), *_search(_ranges(section))]
        test = [(_JEQ, 0, 1, section.audit_arch), (_JA, 0, 0, 1), (_JA, 0, 0, len(body))]
        code = [*test, *body, *(code or _emit(other_arch))]
    code.insert(0, (_LD_ABS, 0, 0, _OFFSET_ARCH))
    return b"".join(struct.pack("HBBI", *instruction) for instruction in code)


def _ranges(section: Section) -> list[tuple[int, Action]]:
    """Return (first number, action) of each run of equal actions, from 0 to the end of numbers."""
    ranges: list[tuple[int, Action]] = []
    last = max(section.actions)
    for number in range(last + 1):
        action = section.actions.get(number, section.gap)
        if not ranges or ranges[-1][1] != action:
            ranges.append((number, action))
    ranges.append((last + 1, section.beyond))
    return ranges


def _search(ranges: list[tuple[int, Action]]) -> _Code:
    """Return code that finds the range of the number in the accumulator and acts on it."""
    if len(ranges) == 1:
        return _emit(ranges[0][1])
    middle = len(ranges) // 2
    low, high = _search(ranges[:middle]), _search(ranges[middle:])
    first = ranges[middle][0]
    if len(low) <= _MAX_JUMP:
        return [(_JGE, len(low), 0, first), *low, *high]
    return [(_JGE, 0, 1, first), (_JA, 0, 0, len(low)), *low, *high]


def _emit(action: Action) -> _Code:
    if isinstance(action, Return):
        return [(_RET, 0, 0, action.value)]
    code: _Code = [(_LD_ABS, 0, 0, _OFFSET_ARGUMENTS + 8 * action.position)]
    tests = [(_JEQ, value) for value in action.equals]
    if action.bits:
        tests.append((_JSET, action.bits))
    for position, (test, value) in enumerate(tests):
        code.append((test, len(tests) - position, 0, value))
    return [
        *code,
        (_RET, 0, 0, action.otherwise.value),
        (_RET, 0, 0, action.then.value),
    ]
