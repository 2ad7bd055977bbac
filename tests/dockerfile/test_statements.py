"""How lines are split, where no whole file leads."""

import pytest

from imagekit.dockerfile.statements import split_flags, split_line, split_words


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("a  b\tc", ("a", "b", "c")),
        ("a\u00a0b", ("a", "b")),
        ("a\x1cb", ("a\x1cb",)),
        ("'a b' \"c d\"e", ("'a b'", '"c d"e')),
        ("a\\ b", ("a\\ b",)),
        ("'a\\' b", ("'a\\'", "b")),
        ('"a\\" b"', ('"a\\" b"',)),
        ('""', ('""',)),
        ("a b\\", ("a", "b")),
        ("a \\", ("a",)),
        ('"a\\', ('"a',)),
        ("'a b", ("'a b",)),
    ],
)
def test_split_words(rest: str, words: tuple[str, ...]) -> None:
    assert split_words(rest, "\\") == words


@pytest.mark.parametrize(
    ("rest", "flags", "remainder"),
    [
        ("--a --b=c d --e", ("--a", "--b=c"), "d --e"),
        ("--a='b c' d", ("--a=b c",), "d"),
        ("--a=b\\ c d", ("--a=b c",), "d"),
        ("--a='b\\'c' d", ("--a=b'c",), "d"),  # the escape works in single quotes too [Q]
        ("--a\\", ("--a",), ""),
        ("--a=''", ("--a=",), ""),
        ("-- --a", (), " --a"),
        ("--a -- --b", ("--a",), " --b"),
        ("-a", (), "-a"),
        ("--", (), ""),
    ],
)
def test_split_flags(rest: str, flags: tuple[str, ...], remainder: str) -> None:
    found, left = split_flags(rest, "\\")

    assert found == flags
    assert left.strip() == remainder.strip()


def test_env_of_nothing_but_an_escape_has_no_words() -> None:
    assert split_line("ENV \\", "\\").words == ()
