"""Cases written from the reference, one or a few lines each, in testdata/dockerfile/cases."""

from pathlib import Path

import pytest

from imagekit.dockerfile.dump import dump
from imagekit.dockerfile.errors import DockerfileError
from imagekit.dockerfile.ignore import IgnoreMatcher
from imagekit.dockerfile.parse import parse
from imagekit.dockerfile.words import expand

_ROOT = Path(__file__).parent.parent.parent / "testdata" / "dockerfile" / "cases"
_ENVIRONMENT = {
    "PWD": "/home",
    "NAME": "app",
    "EMPTY": "",
    "PATHS": "/usr/lib/x.so.1",
    "STARS": "a*b",
    "TWICE": "xx",
}
_CHARACTERS = {"<TAB>": "\t", "<CR>": "\r", "<BOM>": "\ufeff", "<NBSP>": "\u00a0"}


def _lines(name: str) -> list[tuple[str, str]]:
    found = []
    for line in (_ROOT / name).read_text().splitlines():
        left, arrow, right = line.partition(" =>")
        if arrow and not line.startswith("## "):
            found.append((left.strip(), right.strip()))
    return found


def _blocks() -> list[tuple[str, str, str]]:
    found = []
    for block in (_ROOT / "statements.txt").read_text().split("\n=== ")[1:]:
        name, _, rest = block.partition("\n")
        source, _, expected = rest.partition("\n--- ")
        for word, character in _CHARACTERS.items():
            source = source.replace(word, character)
        found.append((name, source, expected.rstrip("\n").replace("<TAB>", "\\t")))
    return found


def _with_stage(source: str) -> str:
    first = source.lstrip("\ufeff").partition("\n")[0].lower()
    if first.startswith(("from", "# escape", "# nothing")):
        return source
    if first.startswith("arg --x"):
        head, _, rest = source.partition("\n")
        return f"{head}\nFROM a\n{rest}"
    return f"FROM a\n{source}"


def test_there_are_enough() -> None:
    directories = len(list(_ROOT.parent.glob("*/expected")))

    assert len(_lines("expansion.txt")) + len(_lines("ignore.txt")) + len(_blocks()) >= 150
    assert directories >= 24


@pytest.mark.parametrize(("word", "expected"), _lines("expansion.txt"))
def test_expansion(word: str, expected: str) -> None:
    try:
        found = expand(word, _ENVIRONMENT)
    except DockerfileError as error:
        found = "error: " + error.reason.partition('": ')[2]

    assert found == expected


@pytest.mark.parametrize(("patterns", "expected"), _lines("ignore.txt"))
def test_ignore(patterns: str, expected: str) -> None:
    text = "\n".join(part.strip() for part in patterns.split(" ; "))
    if expected.startswith("error: "):
        with pytest.raises(DockerfileError) as caught:
            IgnoreMatcher.parse(text)
        assert f"error: {caught.value.reason}" == expected
        return
    matcher = IgnoreMatcher.parse(text)

    for path in expected.split():
        assert matcher.excludes(path[1:]) is (path[0] == "-"), path


@pytest.mark.parametrize(
    ("source", "expected"), [pytest.param(*block[1:], id=block[0]) for block in _blocks()]
)
def test_statements(source: str, expected: str) -> None:
    text = _with_stage(source)
    try:
        parse(text)
        found = dump(text)
    except DockerfileError as error:
        found = f"error: {error.message}"

    assert found == expected
