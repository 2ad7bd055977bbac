"""Printing a parsed file: it parses to the same, and printing again changes nothing."""

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import fields

from imagekit.dockerfile.document import Dockerfile
from imagekit.dockerfile.errors import DockerfileError
from imagekit.dockerfile.instructions import AnyInstruction, Heredoc, ShellForm
from imagekit.dockerfile.parse import parse
from imagekit.dockerfile.render import render

_FILES = sorted((Path(__file__).parent.parent.parent / "testdata/dockerfile").glob("**/Dockerfile"))


def _values(instruction: AnyInstruction) -> list[object]:
    found: list[object] = [instruction.NAME, instruction.origin.comments, instruction.origin.text]
    for field in fields(instruction):
        value = getattr(instruction, field.name)
        if isinstance(value, ShellForm):
            value = (value.text, value.shell_text)
        if isinstance(value, tuple) and value and isinstance(value[0], Heredoc):
            value = [(one.name, one.body, one.expand, one.strip_tabs) for one in value]
        if field.name != "origin":
            found.append(value)
    return found


def _all_values(parsed: Dockerfile) -> list[object]:
    directives = parsed.directives
    return [
        (directives.escape, directives.syntax, directives.check),
        *map(_values, parsed.global_args),
        *([_values(one) for one in (stage.base, *stage.instructions)] for stage in parsed.stages),
    ]


def _check(text: str | bytes) -> None:
    try:
        parsed = parse(text)
    except DockerfileError:
        return
    printed = render(parsed)
    again = parse(printed)
    assert _all_values(again) == _all_values(parsed)
    assert render(again) == printed


@pytest.mark.parametrize("path", _FILES, ids=lambda path: str(path.parent.name))
def test_files_survive_printing(path: Path) -> None:
    _check(path.read_bytes())


_PIECES = st.sampled_from(
    ["FROM a", "ARG x=1", "RUN x \\", "RUN <<E", "E", "\\", "# c", "# escape=`", "#", "", "`",
     "  y", "COPY <<-'E' /x", "\tE", "ENV a=b", "# check=skip=all", "\ufeff", "ONBUILD RUN x  ",
     "\r", "# syntax=a b", "\\  ", "   # d"]
)  # fmt: skip


@given(st.lists(_PIECES, max_size=12).map("\n".join))
@example("\n# escape=`\nFROM a\\\nb")
@example("# syntax=x\n\n# check=skip=all\nFROM a")
@example("FROM a\nRUN x \\")
@example("\\\n  FROM a")
@settings(max_examples=300)
def test_printing_is_stable(text: str) -> None:
    _check(text)
    _check("FROM a\n" + text)


@given(st.text())
def test_printing_any_text_is_stable(text: str) -> None:
    _check("FROM a\n" + text)


def test_layout() -> None:
    text = "#escape=`\n\n\nARG a\n\n# one\n#  two\nFROM a as b\nRUN x `\n\n  y\nFROM c\n# lost"

    assert render(parse(text)) == (
        "# escape=`\n\nARG a\n\n# one\n# two\nFROM a as b\nRUN x `\n\n  y\n\nFROM c\n"
    )
