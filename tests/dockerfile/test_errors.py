"""Places, prefixes and excerpts."""

import pytest

from imagekit.dockerfile.errors import DockerfileError, ExpansionError, Span, render_excerpt


def _span(first: int, last: int, column: int | None = None) -> Span:
    return Span(file_name="Dockerfile", first_line=first, last_line=last, column=column)


def test_one_line_has_two_lines_of_context() -> None:
    text = "FROM scratch\nENV a=b\nCOPY foo bar\nENV c=d"

    assert render_excerpt(text, _span(3, 3)) == (
        "Dockerfile:3\n"
        "--------------------\n"
        "   1 |     FROM scratch\n"
        "   2 |     ENV a=b\n"
        "   3 | >>> COPY foo bar\n"
        "   4 |     ENV c=d\n"
        "--------------------"
    )


def test_several_lines_have_one_line_of_context() -> None:
    text = "\n".join(f"l{number}" for number in range(1, 8))

    assert render_excerpt(text, _span(3, 4)).split("\n")[2:-1] == [
        "   2 |     l2",
        "   3 | >>> l3",
        "   4 | >>> l4",
        "   5 |     l5",
    ]


def test_caret_stands_under_the_column() -> None:
    assert render_excerpt("\tCOPY x\n", _span(1, 1, column=3)).split("\n")[2:4] == [
        "   1 | >>> \tCOPY x",
        "     |     \t ^",
    ]


def test_span_outside_of_the_text_is_clipped() -> None:
    assert ">>> b" in render_excerpt("a\nb", _span(9, 12))


def test_place_is_given_once() -> None:
    error = ExpansionError("bad", hint="Do better.")

    located = error.located(_span(1, 1), prefix="line 1: ")

    assert (located.message, located.reason, located.hint) == ("line 1: bad", "bad", "Do better.")
    assert located.located(_span(2, 2)) is located
    assert isinstance(located, ExpansionError)


def test_codes_are_unique() -> None:
    kinds: list[type[DockerfileError]] = [DockerfileError, *DockerfileError.__subclasses__()]

    assert len({kind.code for kind in kinds}) == len(kinds)
    assert {kind.exit_code for kind in kinds} == {2}


def test_span_reads_as_a_place() -> None:
    assert str(_span(3, 4)) == "Dockerfile:3"


@pytest.mark.parametrize("name", ["DockerfileSyntaxError", "StageError", "PatternError"])
def test_tree_is_drawn(name: str) -> None:
    import imagekit.dockerfile.errors as module

    assert name in (module.__doc__ or "")


def test_excerpt_of_very_many_lines_leaves_out_the_middle() -> None:
    text = "\n".join(f"line {number}" for number in range(1, 100_001))
    span = Span(file_name="Dockerfile", first_line=2, last_line=99_990)

    lines = render_excerpt(text, span).split("\n")

    assert len(lines) == 3 + 100 + 1 + 5
    assert "     | ..." in lines
    assert lines[-2] == " 99991 |     line 99991"


def test_excerpt_counts_lines_as_the_parser_does_behind_a_byte_order_mark() -> None:
    span = Span(file_name="Dockerfile", first_line=1, last_line=1, column=1)

    assert "   1 | >>> FROM a" in render_excerpt("\ufeffFROM a", span)
