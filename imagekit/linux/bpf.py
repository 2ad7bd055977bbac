"""The device filter of version 2 control groups: a small eBPF program.

Version 1 has files for this; version 2 asks a program that is attached to the group's directory.

Source: bpf(2), <linux/bpf.h>, Documentation/admin-guide/cgroup-v2.rst "Device controller".
"""

import os
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from imagekit.linux import libc

_BPF_PROG_LOAD: Final = 5
_BPF_PROG_ATTACH: Final = 8
_BPF_PROG_TYPE_CGROUP_DEVICE: Final = 15
_BPF_CGROUP_DEVICE: Final = 6
_BPF_F_ALLOW_MULTI: Final = 2
_ATTRIBUTES_BYTES: Final = 72

_TYPES: Final = {"b": 1, "c": 2}
_ACCESS: Final = {"m": 1, "r": 2, "w": 4}

_LDX_W: Final = 0x61
_MOV: Final = 0xB7
_MOV_REGISTER: Final = 0xBF
_AND: Final = 0x57
_RSH: Final = 0x77
_JNE: Final = 0x55
_EXIT: Final = 0x95


class DeviceRule(NamedTuple):
    """Access that is allowed; None as a number means any. ``access`` is made of "r", "w", "m"."""

    kind: str
    major: int | None
    minor: int | None
    access: str

    @classmethod
    def parse(cls, text: str) -> "DeviceRule":
        """Return the rule of a line such as "c 1:3 rwm", the syntax of version 1."""
        kind, numbers, access = text.split()
        major, minor = (None if part == "*" else int(part) for part in numbers.split(":"))
        return cls(kind, major, minor, access)


def device_program(rules: Sequence[DeviceRule]) -> bytes:
    """Return a program that allows what one of the rules allows, and denies the rest.

    A request is allowed by a rule when every kind of access that it asks for is in the rule.
    """
    code = [
        _instruction(_LDX_W, destination=2, source=1, offset=0),  # access << 16 | type
        _instruction(_LDX_W, destination=3, source=1, offset=4),  # major
        _instruction(_LDX_W, destination=4, source=1, offset=8),  # minor
        _instruction(_MOV_REGISTER, destination=5, source=2),
        _instruction(_RSH, destination=5, value=16),
        _instruction(_AND, destination=2, value=0xFFFF),
    ]
    for rule in rules:
        code += _rule(rule)
    code += [_instruction(_MOV, destination=0, value=0), _instruction(_EXIT)]
    return b"".join(code)


def _rule(rule: DeviceRule) -> list[bytes]:
    """Return code that ends with "allowed" when the rule applies, and else falls through."""
    denied = 7 & ~sum(_ACCESS[letter] for letter in rule.access)
    tests = [(2, _TYPES[rule.kind])]
    tests += [(3, rule.major)] if rule.major is not None else []
    tests += [(4, rule.minor)] if rule.minor is not None else []
    allow = [_instruction(_MOV, destination=0, value=1), _instruction(_EXIT)]
    if denied:
        allow = [
            _instruction(_MOV_REGISTER, destination=6, source=5),
            _instruction(_AND, destination=6, value=denied),
            _instruction(_JNE, destination=6, value=0, offset=len(allow)),
            *allow,
        ]
    code: list[bytes] = []
    for position, (register, value) in enumerate(tests):
        skip = len(tests) - position - 1 + len(allow)
        code.append(_instruction(_JNE, destination=register, value=value, offset=skip))
    return code + allow


def _instruction(
    code: int, *, destination: int = 0, source: int = 0, offset: int = 0, value: int = 0
) -> bytes:
    return struct.pack("BBhi", code, source << 4 | destination, offset, value)


def attach_device_program(program: bytes, cgroup_directory: str | os.PathLike[str]) -> None:
    """Have the kernel ask ``program`` about every device that a process of the group opens.

    Programs of groups above are asked too: this can only take away. It goes with the group.

    Raises:
        OSError: EPERM without CAP_SYS_ADMIN over the whole machine.

    Source: bpf(2).
    """
    instructions, license_name = libc.buffer(program), libc.buffer(b"GPL\0")
    load = struct.pack(
        "IIQQ",
        *(_BPF_PROG_TYPE_CGROUP_DEVICE, len(program) // 8),
        *(libc.address(instructions), libc.address(license_name)),
    ).ljust(_ATTRIBUTES_BYTES, b"\0")
    program_fd = libc.syscall("bpf load", libc.SYS_bpf, _BPF_PROG_LOAD, load, len(load))
    try:
        directory_fd = os.open(cgroup_directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            attach = struct.pack(
                "IIII", directory_fd, program_fd, _BPF_CGROUP_DEVICE, _BPF_F_ALLOW_MULTI
            )
            libc.syscall("bpf attach", libc.SYS_bpf, _BPF_PROG_ATTACH, attach, len(attach))
        finally:
            os.close(directory_fd)
    finally:
        os.close(program_fd)
