"""Whole files: what they split into, where their instructions stand, or what is wrong with them."""

from pathlib import Path

import pytest
from msgspec.structs import fields

from imagekit.dockerfile.dump import dump
from imagekit.dockerfile.errors import DockerfileError, render_excerpt
from imagekit.dockerfile.parse import parse

_ROOT = Path(__file__).parent.parent.parent / "testdata" / "dockerfile"
_CASES = sorted(path.parent.name for path in _ROOT.glob("*/expected"))


@pytest.mark.parametrize("case", _CASES)
def test_file_parses_as_recorded(case: str, request: pytest.FixtureRequest) -> None:
    described = _describe((_ROOT / case / "Dockerfile").read_bytes())

    expected = _ROOT / case / "expected"
    if request.config.getoption("--update-golden", default=False):
        expected.write_text(described)
    assert described == expected.read_text()


def _describe(data: bytes) -> str:
    text = data.decode()
    try:
        return _describe_parsed(text)
    except DockerfileError as error:
        excerpt = render_excerpt(text, error.span) if error.span else "nowhere"
        return f"{type(error).__name__}: {error.message}\nhint: {error.hint}\n{excerpt}\n"


def _describe_parsed(text: str) -> str:
    parsed = parse(text)
    lines = [dump(text), "", str(parsed.directives)]
    for stage in parsed.stages:
        lines.append(f"stage {stage.index} name={stage.name} display={stage.display_name!r}")
        for instruction in (stage.base, *stage.instructions):
            span = instruction.span
            lines.append(f"  {span.first_line}-{span.last_line} {instruction.NAME}")
            values = {
                field.name: getattr(instruction, field.name)
                for field in fields(instruction)
                if field.name != "origin"
            }
            lines += [f"    {name} = {value!r}" for name, value in values.items() if value]
            if instruction.origin.comments:
                lines.append(f"    comments = {instruction.origin.comments}")
    for warning in parsed.warnings:
        lines.append(f"warning {warning.rule} {warning.span.first_line}: {warning.message}")
    return "\n".join(lines) + "\n"
