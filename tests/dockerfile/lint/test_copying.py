"""CopyIgnoredFile: what of the build context the ignore file keeps from COPY and ADD."""

import pytest

from imagekit.dockerfile.ignore import IgnoreMatcher
from imagekit.dockerfile.lint.check import lint
from imagekit.dockerfile.lint.copying import clean, is_git, is_ignored, is_url
from imagekit.dockerfile.lint.settings import LintSettings


def _found(text: str, ignore: str) -> list[str]:
    report = lint(text, settings=LintSettings(ignore=IgnoreMatcher.parse(ignore)))
    assert report.error is None
    return [finding.short for finding in report.findings]


def _ignored(what: str, path: str, line: int) -> str:
    return (
        f'CopyIgnoredFile: Attempting to {what} file "{path}" that is excluded by .dockerignore '
        f"(line {line})"
    )


def test_copy_and_add_say_their_name() -> None:
    assert _found("FROM scratch\nCOPY Dockerfile .\nadd Dockerfile x /w", "Dockerfile\n")[1:] == [
        _ignored("Copy", "Dockerfile", 2),
        _ignored("Add", "Dockerfile", 3),
    ]


@pytest.mark.parametrize(
    ("ignore", "source", "path"),
    [
        ("sub", "sub/a.txt", "sub/a.txt"),
        ("sub", "./sub//b/../a", "sub/a"),
        ("sub", "sub/", "sub"),
        ("*.md", "README.md", "README.md"),
        ("**/x", "a/b/x/c", "a/b/x/c"),
        ("a/**", "a/b", "a/b"),
        ("*", ".", "."),
        ("**", "./", "."),
        ("**/*", "/", "/"),
        ("*", "/a", "/a"),
        ("[a-c]*", "*b", None),
        (".*", ".", None),
        ("a", ".", None),
        ("a", "/a", None),
        ("a", "b/a", None),
        ("a/**", "a", None),
        ("sub\n!sub/b", "sub/a", None),
        ("sub\n!other", "sub/a", None),
        ("# only a comment", "sub/a", None),
    ],
)
def test_paths(ignore: str, source: str, path: str | None) -> None:
    expected = [] if path is None else [_ignored("Copy", path, 2)]

    assert _found(f"FROM scratch\nCOPY {source} /dest/", ignore) == expected


def test_each_source_counts_after_expansion() -> None:
    text = "FROM scratch\nARG d=sub\nCOPY $d/a b $d /x/"

    assert _found(text, "sub") == [_ignored("Copy", "sub/a", 3), _ignored("Copy", "sub", 3)]


@pytest.mark.parametrize(
    "text",
    [
        "FROM scratch AS b\nFROM b\nCOPY --from=b /sub /x",
        "FROM scratch\nADD https://example.com/sub /x",
        "FROM scratch\nADD https://example.com/sub.git#main /x",
        "FROM scratch\nCOPY <<sub /x\nsub\n",
        "FROM scratch\nCOPY a sub",
    ],
)
def test_what_is_not_of_the_context(text: str) -> None:
    assert _found(text, "sub\nhttps:\n") == []


def test_without_an_ignore_file_nothing_is_ignored() -> None:
    assert lint("FROM scratch\nCOPY . .").findings == ()


@pytest.mark.parametrize(
    ("path", "cleaned"), [("", "."), ("//a", "/a"), ("a/./b/", "a/b"), ("../a", "../a")]
)
def test_clean(path: str, cleaned: str) -> None:
    assert clean(path) == cleaned


def test_addresses() -> None:
    assert is_url("https://x/y.git")
    assert not is_url("git@x:y")
    assert is_git("git@x:y")
    assert is_git("https://x/y.git?ref=a")
    assert not is_git("https://x/y.tar")
    assert not is_git("github.com/x/y")


def test_a_directory_above_decides() -> None:
    assert is_ignored("a/b/c", IgnoreMatcher.of(["a"]))
    assert is_ignored("a/b/c", IgnoreMatcher.of(["*/b"]))
    assert not is_ignored("a/b/c", IgnoreMatcher.of(["b"]))
