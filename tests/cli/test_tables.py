import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.cli.tables import columns, cut, render_table, text_width

HEADS = columns("NAME~8", "ID", "SIZE>")
LONG = "registry.example.com/a/very/long/repository/name/that/does/not/fit/into/any/narrow/terminal"
ROWS = [(LONG, "0123456789ab", "12MB"), ("app", "ba9876543210", "1.2GB")]


def test_a_table_fits_into_80_columns_by_cutting_names_not_ids() -> None:
    lines = render_table(HEADS, ROWS, width=80)

    assert max(map(text_width, lines)) == 80
    assert "…" in lines[1]
    assert "0123456789ab" in lines[1]


@pytest.mark.parametrize("width", [300, None])
def test_a_wide_terminal_and_a_pipe_get_whole_cells(width: int | None) -> None:
    lines = render_table(HEADS, ROWS, width=width)

    assert LONG in lines[1]
    assert "…" not in "".join(lines)


def test_numbers_are_flush_right_and_lines_have_no_trailing_blanks() -> None:
    lines = render_table(columns("A", "SIZE>"), [("x", "1B"), ("y", "100B")], width=None)

    assert lines == ["A  SIZE", "x    1B", "y  100B"]


def test_a_column_never_shrinks_below_its_minimum() -> None:
    lines = render_table(HEADS, ROWS, width=10)

    assert lines[1].startswith(LONG[:7] + "…  0123456789ab")


def test_control_characters_cannot_steer_the_terminal() -> None:
    [line] = render_table(
        columns("A"), [("evil\x1b[2J\nname\u202e\udcff",)], width=None, headings=False
    )

    assert line == "evil [2J name ?"


def test_wide_characters_count_two_columns() -> None:
    lines = render_table(columns("A", "B"), [("日本", "x"), ("abcd", "y")], width=None)

    assert lines[1] == "日本  x"
    assert lines[2] == "abcd  y"


def test_no_rows_leave_the_headings() -> None:
    assert render_table(HEADS, [], width=80) == ["NAME  ID  SIZE"]
    assert render_table(HEADS, [], width=80, headings=False) == []


@given(st.text(), st.integers(min_value=0, max_value=100))
def test_cut_text_fits(text: str, width: int) -> None:
    assert text_width(cut(text, width)) <= width
