import struct

from hypothesis import given
from hypothesis import strategies as st

from imagekit.linux.seccomp import ALLOW, Return, Section, assemble, fail_with


def interpret(code: bytes, number: int, arch: int) -> int:
    """Run a filter of fixed answers."""
    instructions = list(struct.iter_unpack("HBBI", code))
    position = accumulator = 0
    while True:
        operation, when, unless, value = instructions[position]
        position += 1
        if operation == 0x20:
            accumulator = number if value == 0 else arch
        elif operation == 0x05:
            position += value
        elif operation == 0x06:
            return int(value)
        else:
            taken = accumulator == value if operation == 0x15 else accumulator >= value
            position += when if taken else unless


actions = st.dictionaries(
    st.integers(0, 1500),
    st.integers(0, 40).map(fail_with) | st.just(ALLOW),
    min_size=1,
    max_size=400,
)


@given(actions, actions)
def test_every_number_gets_its_own_answer(
    first: dict[int, Return], second: dict[int, Return]
) -> None:
    gap, beyond, other = Return(1), Return(2), Return(3)
    sections = [
        Section(audit_arch=arch, actions=rules, gap=gap, beyond=beyond)
        for arch, rules in ((100, first), (200, second))
    ]

    code = assemble(sections, other_arch=other)

    for arch, rules in ((100, first), (200, second)):
        last = max(rules)
        for number in {*rules, 0, last + 1, 0xFFFFFFFF, *(key + 1 for key in rules)}:
            expected = beyond if number > last else rules.get(number, gap)
            assert interpret(code, number, arch) == expected.value
    assert interpret(code, 0, 300) == other.value
