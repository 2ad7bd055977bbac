"""Go's filepath.Match."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.dockerfile.errors import PatternError
from imagekit.dockerfile.globs import has_wildcards, matches


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("abc", "abc", True),
        ("*", "abc", True),
        ("*", ".abc", True),
        ("*", "", True),
        ("*c", "abc", True),
        ("a*", "a", True),
        ("a*", "ab/c", False),
        ("a*/b", "abc/b", True),
        ("a*/b", "a/c/b", False),
        ("a*b*c*d*e*/f", "axbxcxdxe/f", True),
        ("a*b?c*x", "abxbbxdbxebxczzx", True),
        ("**", "a/b", False),
        ("**", "ab", True),
        ("ab[c]", "abc", True),
        ("ab[b-d]", "abc", True),
        ("ab[e-g]", "abc", False),
        ("ab[^c]", "abc", False),
        ("ab[^e-g]", "abc", True),
        ("a[^b]c", "a/c", False),
        ("a[b/]c", "a/c", False),
        ("a\\*b", "a*b", True),
        ("a\\*b", "ab", False),
        ("a?b", "a\u263ab", True),
        ("a?b", "a/b", False),
        ("[a-\u03b6]*", "\u03b1", True),
        ("[\\]a]", "]", True),
        ("[\\-]", "-", True),
        ("[x\\-]", "x", True),
        ("[z-a]", "b", False),
        ("[^z-a]", "b", True),
        ("[!a]", "!", True),
        ("[[]", "[", True),
        ("[&~|]", "|", True),
        ("*x", "xxx", True),
        ("a.b", "axb", False),
    ],
)
def test_match(pattern: str, path: str, expected: bool) -> None:
    assert matches(pattern, path) is expected


@pytest.mark.parametrize(
    "pattern", ["[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "[", "[^", "[^bc", "a[", "a\\", "[a-b-]"]
)
def test_malformed(pattern: str) -> None:
    with pytest.raises(PatternError):
        matches(pattern, "a")


def test_wildcards_are_recognised() -> None:
    assert [text for text in ("a", "a*", "?", "[a]", "\\a") if has_wildcards(text)] == [
        "a*",
        "?",
        "[a]",
        "\\a",
    ]


@given(st.text(alphabet="ab*?[]^-\\/", max_size=10), st.text(alphabet="ab/", max_size=8))
def test_only_pattern_errors(pattern: str, path: str) -> None:
    with suppress(PatternError):
        matches(pattern, path)


@given(st.text(alphabet="ab/*?[\\"))
def test_escaped_text_matches_itself(text: str) -> None:
    assert matches("".join("\\" + character for character in text), text)
