"""Realistic files: their stages, what those take from where, their arguments, and the findings."""

import json
from pathlib import Path

import pytest

from imagekit.dockerfile.document import Dockerfile
from imagekit.dockerfile.graph import stage_graph
from imagekit.dockerfile.instructions import Arg
from imagekit.dockerfile.lint.check import lint
from imagekit.dockerfile.parse import parse
from imagekit.dockerfile.render import render
from imagekit.dockerfile.stages import global_scope, reachable_stages

_ROOT = Path(__file__).parent.parent.parent / "testdata" / "dockerfile" / "real"
_CASES = sorted(path.parent.name for path in _ROOT.glob("*/Dockerfile"))
_PLATFORM = {"BUILDPLATFORM": "linux/amd64", "TARGETPLATFORM": "linux/arm64", "TARGETARCH": "arm64"}


def test_there_are_enough() -> None:
    assert len(_CASES) >= 25


@pytest.mark.parametrize("case", _CASES)
def test_stages_arguments_and_findings(case: str, request: pytest.FixtureRequest) -> None:
    text = (_ROOT / case / "Dockerfile").read_text()
    report = lint(text)
    assert report.error is None

    findings = [f"{one.span.first_line}: {one.short}" for one in report.findings]
    found = json.dumps(_describe(parse(text)) | {"findings": findings}, indent=1) + "\n"
    expected = _ROOT / case / "expected.json"
    if request.config.getoption("--update-golden", default=False):
        expected.write_text(found)
    assert found == expected.read_text()


@pytest.mark.parametrize("case", _CASES)
def test_printing_changes_no_value(case: str) -> None:
    parsed = parse((_ROOT / case / "Dockerfile").read_bytes())

    assert _describe(parse(render(parsed))) == _describe(parsed)


def _describe(parsed: Dockerfile) -> dict[str, object]:
    graph = stage_graph(parsed, platform_args=_PLATFORM)
    scope = global_scope(parsed, build_args={}, platform_args=_PLATFORM)
    return {
        "global": {name: value for name, value in scope.items() if name not in _PLATFORM},
        "needed": [stage.index for stage in reachable_stages(parsed, scope=scope)],
        "stages": [
            {
                "name": node.name,
                "platform": node.platform,
                "uses": [
                    f"{edge.use} {'image' if edge.stage is None else 'stage'} {edge.name}"
                    for edge in node.edges
                ],
                "instructions": " ".join(one.NAME for one in stage.instructions),
                "args": [
                    name if default is None else f"{name}={default}"
                    for one in stage.instructions
                    if isinstance(one, Arg)
                    for name, default in one.pairs
                ],
            }
            for node, stage in zip(graph.nodes, parsed.stages, strict=True)
        ],
    }
