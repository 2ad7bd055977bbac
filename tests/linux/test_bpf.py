import itertools
import struct

import pytest

from imagekit.linux.bpf import DeviceRule, device_program

RULES = [DeviceRule.parse(text) for text in ("c *:* m", "c 1:3 rwm", "b 8:* r")]


def interpret(program: bytes, access: int, kind: int, major: int, minor: int) -> int:
    """Run a device program as the kernel would."""
    context = struct.pack("III", access << 16 | kind, major, minor)
    registers = [0] * 11
    instructions = list(struct.iter_unpack("BBhi", program))
    position = 0
    while True:
        code, both, offset, value = instructions[position]
        destination, source = both & 15, both >> 4
        position += 1
        match code:
            case 0x61:
                (registers[destination],) = struct.unpack_from("I", context, offset)
            case 0xBF:
                registers[destination] = registers[source]
            case 0xB7:
                registers[destination] = value
            case 0x57:
                registers[destination] &= value
            case 0x77:
                registers[destination] >>= value
            case 0x55:
                position += offset if registers[destination] != value else 0
            case 0x95:
                return registers[0]
            case _:
                raise AssertionError(code)


@pytest.mark.parametrize("kind", [1, 2])
def test_a_request_is_allowed_when_one_rule_allows_all_of_it(kind: int) -> None:
    program = device_program(RULES)
    bits = {"m": 1, "r": 2, "w": 4}
    for access, major, minor in itertools.product(range(1, 8), (1, 8, 9), (0, 3)):
        expected = any(
            {"b": 1, "c": 2}[rule.kind] == kind
            and rule.major in (None, major)
            and rule.minor in (None, minor)
            and access & ~sum(bits[letter] for letter in rule.access) == 0
            for rule in RULES
        )
        assert interpret(program, access, kind, major, minor) == expected


def test_no_rule_allows_nothing() -> None:
    assert interpret(device_program([]), 2, 2, 1, 3) == 0
