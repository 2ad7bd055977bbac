"""Stages as a graph, and words with their places."""

import pytest

from imagekit.dockerfile.errors import Span, StageError
from imagekit.dockerfile.graph import StageEdge, Use, stage_graph
from imagekit.dockerfile.parse import parse

_TEXT = """\
ARG GO=1.22
FROM --platform=$BUILDPLATFORM golang:${GO} AS build
RUN --mount=from=tools,target=/t make
FROM alpine AS unused
FROM scratch
COPY --from=build /a /a
COPY --from=busybox /b /b
"""


def _graph_text(form: str) -> str:
    graph = stage_graph(parse(_TEXT), platform_args={"BUILDPLATFORM": "linux/amd64"})
    return graph.as_dot() if form == "dot" else graph.as_tree()


def test_edges_name_stage_or_image_and_line() -> None:
    last = stage_graph(parse(_TEXT), platform_args={"BUILDPLATFORM": "linux/amd64"}).nodes[-1]

    assert last.edges == (
        StageEdge(use=Use.BASE, name="scratch", stage=None, line=5),
        StageEdge(use=Use.COPY, name="build", stage=0, line=6),
        StageEdge(use=Use.COPY, name="busybox", stage=None, line=7),
    )


def test_tree() -> None:
    assert _graph_text("tree").split("\n") == [
        "0 build [linux/amd64]  lines 2-3",
        "  |-- from image golang:1.22  line 2",
        "  `-- mount image tools  line 3",
        "1 unused  lines 4-4 (unused)",
        "  `-- from image alpine  line 4",
        "2 stage-2  lines 5-7",
        "  |-- from image scratch  line 5",
        "  |-- copy stage build  line 6",
        "  `-- copy image busybox  line 7",
    ]


def test_dot() -> None:
    lines = _graph_text("dot").split("\n")

    assert lines[0] == "digraph stages {"
    assert '  s0 [label="build"];' in lines
    assert '  i0 [label="golang:1.22", shape=ellipse];' in lines
    assert "  i0 -> s0;" in lines
    assert "  s0 -> s2 [style=dashed, label=copy];" in lines
    assert lines[-1] == "}"


def test_triggers_of_a_base_stage_count() -> None:
    graph = stage_graph(parse("FROM a AS x\nFROM b AS y\nONBUILD COPY --from=x /a /b\nFROM y\n"))

    assert [edge.stage for edge in graph.nodes[2].edges] == [1, 0]
    assert graph.needed_by(2) == (0, 1, 2)


def test_wrong_order_is_an_error() -> None:
    with pytest.raises(StageError, match="needs to be defined before"):
        stage_graph(parse("FROM a AS x\nCOPY --from=y a b\nFROM b AS y\n"))


def test_words_have_places() -> None:
    run = parse("FROM a\n  RUN one \\\n    --two three\n").stages[0].instructions[0]

    assert run.column == 3
    assert run.locate("three") == Span(file_name="Dockerfile", first_line=3, last_line=3, column=11)
    assert run.locate("four") is None


def test_files_and_stages_have_spans() -> None:
    parsed = parse("# x\nARG a\n\nFROM a\nRUN <<E\nE\n\nFROM b\n")

    assert (parsed.span.first_line, parsed.span.last_line) == (2, 8)
    assert (parsed.stages[0].span.first_line, parsed.stages[0].span.last_line) == (4, 6)


def test_documents_have_spans() -> None:
    (copy,) = parse("FROM a\nCOPY <<A <<B /x/\n1\nA\nB\n").stages[0].instructions

    spans = [document.span for document in getattr(copy, "heredocs", ())]
    assert [(span.first_line, span.last_line) for span in spans if span] == [(3, 4), (5, 5)]
