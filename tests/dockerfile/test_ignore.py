"""Patterns of .dockerignore and --exclude."""

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.dockerfile.errors import PatternError
from imagekit.dockerfile.ignore import IgnoreMatcher
from imagekit.dockerfile.ignore_patterns import _pieces, _walk


@pytest.mark.parametrize(
    ("patterns", "excluded", "included"),
    [
        ("a", ["a", "a/b", "a/b/c"], ["ab", "b/a", "A"]),
        ("/a", ["a", "a/b"], ["b/a"]),
        ("./a/", ["a", "a/b"], ["b"]),
        ("a//b/../c", ["a/c"], ["a", "a/b"]),
        ("  a  ", ["a"], []),
        (" #x", ["#x"], []),
        ("#x", [], ["#x"]),
        ("../x", [], ["x"]),
        ("*", ["a", ".a", "a/b"], []),
        ("*.md", ["x.md", ".md"], ["a/x.md", "xmd"]),
        ("?", ["a"], ["ab", "\U0001f600b"]),
        ("a?c", ["abc"], ["a/c", "ac"]),
        ("*/b", ["a/b", "a/b/c"], ["b", "a/a/b"]),
        ("**", ["a", "a/b"], []),
        ("**/foo", ["foo", "a/foo", "a/b/foo", "a/foo/x"], ["xfoo", "a/xfoo"]),
        ("**foo", ["foo", "xfoo", "a/xfoo"], ["foox"]),
        ("**/*.go", ["a.go", "x/y/a.go"], ["a.goo"]),
        ("a/**", ["a/b", "a/b/c"], ["a", "b"]),
        ("a**", ["a", "ab", "a/b"], ["b"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["a/xb", "b"]),
        ("a/*/**", ["a/b/c"], ["a", "a/b"]),
        ("**/**", ["a", "a/b"], []),
        ("[ab]c", ["ac", "bc"], ["cc", "abc"]),
        ("[^ab]c", ["cc"], ["ac"]),
        ("[a-c]", ["b"], ["d"]),
        ("[!a]", ["a", "!"], ["b"]),
        ("a\\*b", ["a*b"], ["axb"]),
        ("**/**/a*", ["ab", "x/ab", "x/y/ab"], ["xab"]),
        ("a*/***/b", ["ax/c/b", "a/c/d/b"], ["b", "a/b"]),
        ("a.c", ["a.c"], ["abc"]),
        ("a+(b)|{c}$", ["a+(b)|{c}$"], ["aa+(b)|{c}$"]),
        ("\ufeffa\r\nb\r\n", ["a", "b"], []),
        ("*\n!a/b", ["a", "c", "a/c"], ["a/b", "a/b/c"]),
        ("*.md\n!README*.md\nREADME-secret.md", ["x.md", "README-secret.md"], ["README.md"]),
        ("*.md\nREADME-secret.md\n!README*.md", ["x.md"], ["README.md", "README-secret.md"]),
        ("a\n! a/b", ["a", "a/c"], ["a/b"]),
        ("!a", [], ["a"]),
        ("a/b\n!a", [], ["a", "a/b", "a/c"]),
        ("**/tmp\n!src", ["tmp"], ["src", "src/a", "src/tmp"]),
        ("*.log\n!keep\nkeep/x", ["a.log", "keep/x"], ["keep", "keep/a.log"]),
        ("a\n!a/b\na", ["a", "a/b"], []),
        ("./!a\n", [], ["a", "!a"]),
        ("*\n/!a", ["b"], ["a", "a/b"]),
        ("a^*", [], ["a^", "a^b"]),
        ("a^", ["a^"], []),
        ("**/a*b*/**/c?d*e", ["ab/c1de", "x/aabx/y/z/c2dxe"], ["ab/cde", "xab/y/c1d"]),
        ("src\n!src/a\nsrc/a/b", ["src", "src/c", "src/a/b", "src/a/b/c"], ["src/a", "src/a/c"]),
    ],
)
def test_excludes(patterns: str, excluded: list[str], included: list[str]) -> None:
    matcher = IgnoreMatcher.parse(patterns)

    assert [path for path in excluded if not matcher.excludes(path)] == []
    assert [path for path in included if matcher.excludes(path)] == []


@pytest.mark.parametrize(
    ("text", "reason", "line"),
    [
        ("a\n!", 'illegal exclusion pattern: "!"', 2),
        ("a\n\n! ", 'illegal exclusion pattern: "!"', 3),
        ("[", "syntax error in pattern", 1),
        ("[]", "syntax error in pattern", 1),
        ("[a", "syntax error in pattern", 1),
        ("[-a]", "syntax error in pattern", 1),
        ("[a-]", "syntax error in pattern", 1),
        ("a\\", "syntax error in pattern", 1),
        ("[a\\", "syntax error in pattern", 1),
    ],
)
def test_malformed(text: str, reason: str, line: int) -> None:
    with pytest.raises(PatternError) as caught:
        IgnoreMatcher.parse(text, file_name="x.dockerignore")

    assert caught.value.reason == reason
    assert caught.value.span is not None
    assert (caught.value.span.file_name, caught.value.span.first_line) == ("x.dockerignore", line)


def test_bytes_need_not_be_utf8() -> None:
    assert IgnoreMatcher.parse(b"caf\xe9\n").excludes("caf\udce9")


def test_root_is_never_excluded() -> None:
    assert not IgnoreMatcher.parse("**").excludes("")


def test_exclude_flags_keep_the_leading_slash() -> None:
    assert not IgnoreMatcher.of(["/a"]).excludes("a")
    assert IgnoreMatcher.of(["*", " ", "!b"]).excludes("a")
    assert not IgnoreMatcher.of(["*", "!b"]).excludes("b")
    with pytest.raises(PatternError):
        IgnoreMatcher.of(["!"])


@pytest.mark.parametrize(
    ("patterns", "directory", "enter"),
    [
        ("a", "a", False),
        ("a", "b", True),
        ("a\n!a/b", "a", True),
        ("a\n!a/b", "a/c", False),
        ("*\n!a/*/c", "a", True),
        ("*\n!a/*/c", "a/b", True),
        ("*\n!a/*/c", "b", False),
        ("*\n!**/x", "b", True),
        ("*\n!**/x", "b/c/d", True),
        ("*\n!b", "b", True),
        ("!a/b\na", "a", False),
        ("*\n!a/[b/]c", "a/q", True),
        ("*\n!a\\/b", "a", True),
    ],
)
def test_pruning(patterns: str, directory: str, enter: bool) -> None:
    assert IgnoreMatcher.parse(patterns).may_contain_included(directory) is enter


@pytest.mark.parametrize(
    ("pattern", "directory", "enter"),
    [
        ("a/*.txt", "a", True),
        ("a/*.txt", "b", False),
        ("a/*.txt", "a/b", False),
        ("**/x", "q/r", True),
        ("a", "a/b", True),
        ("a/b", "", True),
    ],
)
def test_pruning_of_includes(pattern: str, directory: str, enter: bool) -> None:
    assert IgnoreMatcher.of([pattern]).may_contain_excluded(directory) is enter


_PATHS = st.lists(st.sampled_from(["a", "b", "ab", ".c", "x.md"]), min_size=1, max_size=4).map(
    "/".join
)
_PATTERNS = st.lists(
    st.text(alphabet="ab.cxmd*?!/[]^-\\", max_size=8),
    max_size=5,
)


@given(_PATTERNS, st.lists(_PATHS, max_size=8))
def test_only_pattern_errors_and_pruning_never_lies(patterns: list[str], paths: list[str]) -> None:
    try:
        matcher = IgnoreMatcher.parse("\n".join(patterns))
    except PatternError:
        return
    for path in paths:
        parents = path.split("/")
        excluded = matcher.excludes(path)
        for depth in range(1, len(parents)):
            parent = "/".join(parents[:depth])
            if not excluded:
                assert matcher.may_contain_included(parent)
            else:
                assert matcher.may_contain_excluded(parent)


@given(st.text(), st.text(alphabet="ab/.*"))
def test_any_text_is_a_file_or_a_pattern_error(text: str, path: str) -> None:
    with suppress(PatternError):
        IgnoreMatcher.parse(text).excludes(path)


@given(st.lists(_PATHS, max_size=6), st.lists(_PATHS, max_size=6))
def test_patterns_without_wildcards_exclude_exactly_their_trees(
    patterns: list[str], paths: list[str]
) -> None:
    matcher = IgnoreMatcher.parse("\n".join(patterns))

    for path in paths:
        inside = any(path == pattern or path.startswith(pattern + "/") for pattern in patterns)
        assert matcher.excludes(path) is inside


@given(_PATHS)
def test_order_of_questions_does_not_matter(path: str) -> None:
    text = "**/b\n!a\nx.md/*\n!**/ab"
    fresh = IgnoreMatcher.parse(text)
    used = IgnoreMatcher.parse(text)
    for other in ("a/b/ab", "x.md/a", "b", path + "/deeper"):
        used.excludes(other)

    assert used.excludes(path) is fresh.excludes(path)


def test_a_line_of_64_kib_is_refused() -> None:
    IgnoreMatcher.parse("a" * 65535 + "\n")
    with pytest.raises(PatternError, match="token too long"):
        IgnoreMatcher.parse("a" * 65536 + "\n")


@pytest.mark.parametrize(
    "pattern",
    ["**/**/**", "**/**/**/**/x", "**/a/" * 30 + "b", "*a" * 40 + "b", "**/*a*a*a*a*b/**/*a*c"],
)
@pytest.mark.timeout(10)
def test_no_pattern_takes_for_ever(pattern: str) -> None:
    path = "/".join(["a" * 60] * 30)

    assert IgnoreMatcher.parse(pattern).excludes(path) is (pattern == "**/**/**")


_WILD = st.lists(st.sampled_from(["a", "b", "*", "**", "/", "**/", "?", "."]), max_size=9).map(
    "".join
)


@given(_WILD, st.text(alphabet="ab/.", max_size=12))
def test_slow_and_fast_ways_agree(pattern: str, path: str) -> None:
    pieces, needed = _pieces(pattern)

    expected = re.fullmatch("".join(pieces), path) is not None
    assert (needed in path and _walk(pieces, path)) is expected


@given(
    st.lists(st.sampled_from(["a", "!a", "*", "!a/b", "**/b", "!**/a", "a/b/a"]), max_size=6),
    _PATHS,
)
def test_last_hit_on_path_or_parent_decides(patterns: list[str], path: str) -> None:
    parts = path.split("/")
    prefixes = ["/".join(parts[: depth + 1]) for depth in range(len(parts))]
    expected = False
    for pattern in patterns:
        single = IgnoreMatcher.parse(pattern.removeprefix("!")).patterns[0]
        if any(single.matches(prefix) for prefix in prefixes):
            expected = not pattern.startswith("!")

    assert IgnoreMatcher.parse("\n".join(patterns)).excludes(path) is expected
