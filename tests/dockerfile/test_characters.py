"""White space as Go sees it."""

import unicodedata

import pytest

from imagekit.dockerfile.characters import SPACE, split_at_blanks, split_first


def test_space_is_what_go_calls_space() -> None:
    separators = {
        chr(code) for code in range(0x110000) if unicodedata.category(chr(code))[0] == "Z"
    }

    assert set(SPACE) == separators | set("\t\n\v\f\r\x85")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b", ["a", "b"]),
        ("a \t\v\f\r b", ["a", "b"]),
        ("a\u00a0b\x1cc", ["a\u00a0b\x1cc"]),
    ],
)
def test_split_at_blanks(text: str, expected: list[str]) -> None:
    assert split_at_blanks(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\tb  c\td", ("a", "b  c\td")),
        ("a \t b\tc", ("a", "b\tc")),
        ("a", ("a", "")),
        ("", ("", "")),
    ],
)
def test_split_first(text: str, expected: tuple[str, str]) -> None:
    assert split_first(text) == expected
