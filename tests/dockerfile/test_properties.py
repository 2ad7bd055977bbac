"""Whatever the text, parsing gives a value or a DockerfileError with a place."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from imagekit.dockerfile.dump import dump
from imagekit.dockerfile.errors import DockerfileError, render_excerpt
from imagekit.dockerfile.parse import parse
from imagekit.dockerfile.stages import global_scope, reachable_stages

_NAMES = st.sampled_from(
    [
        "FROM", "RUN", "COPY", "ADD", "ENV", "ARG", "LABEL", "WORKDIR", "USER", "EXPOSE",
        "VOLUME", "CMD", "ENTRYPOINT", "SHELL", "STOPSIGNAL", "HEALTHCHECK", "ONBUILD",
        "MAINTAINER", "from", "Run", "BAD", "#", "#escape=`", "\\", "`", "<<E",
    ]
)  # fmt: skip
_PIECES = st.sampled_from(
    [
        " ", "\t", "a", "b=c", '["x"]', "[1]", "'", '"', "\\", "\\\n", "`\n", "$x", "<<E", "<<-E",
        '<<"E"', "E", "--from=a", "--mount=type=cache,target=/c", "--link", "--", "AS b", "a b",
        "NONE", "CMD", "--interval=1s", "ONBUILD", "\u00a0", "\r", "\x1c", "\x00",
    ]
)  # fmt: skip
_LINES = st.tuples(_NAMES, st.lists(_PIECES, max_size=6)).map(
    lambda pair: f"{pair[0]} {' '.join(pair[1])}"
)
_FILES = st.lists(_LINES, max_size=8).map("\n".join)


def _survives(text: str | bytes) -> None:
    try:
        parsed = parse(text)
        scope = global_scope(parsed, build_args={}, platform_args={})
        assert reachable_stages(parsed, scope=scope)[-1] is parsed.stages[-1]
    except DockerfileError as error:
        _has_a_place(error, text.decode("utf-8", "replace") if isinstance(text, bytes) else text)


def _has_a_place(error: DockerfileError, text: str) -> None:
    assert error.span is not None
    assert render_excerpt(text, error.span).count("\n") >= 3


@given(_FILES)
def test_lines_of_a_dockerfile(text: str) -> None:
    _survives("FROM a AS a\n" + text)


@given(st.text())
@example("\x1c")
@example("\\")
@example("FROM a\nRUN <<\\")
def test_any_text(text: str) -> None:
    _survives(text)


@given(st.binary())
def test_any_bytes(data: bytes) -> None:
    _survives(data)


@given(_FILES)
@settings(max_examples=50)
def test_spans_are_in_order_and_do_not_overlap(text: str) -> None:
    try:
        parsed = parse("FROM a\n" + text)
    except DockerfileError:
        return
    last = 0
    for stage in parsed.stages:
        for instruction in (stage.base, *stage.instructions):
            span = instruction.span
            assert last < span.first_line <= span.last_line
            assert instruction.source == "\n".join(
                parsed.text.split("\n")[span.first_line - 1 : span.last_line]
            )
            last = span.last_line


@given(_FILES)
@settings(max_examples=50)
def test_crlf_files_dump_alike(text: str) -> None:
    text = text.replace("\r", "")
    try:
        expected = dump(text)
    except DockerfileError:
        return

    assert dump(text.replace("\n", "\r\n")) == expected
