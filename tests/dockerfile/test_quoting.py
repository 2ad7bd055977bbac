"""Go's %q and edit distances."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.dockerfile.quoting import go_quote, go_quote_list
from imagekit.dockerfile.suggestions import did_you_mean, edit_distance, nearest


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", '""'),
        ("a b", '"a b"'),
        ('say "hi"\\', '"say \\"hi\\"\\\\"'),
        ("\a\b\f\n\r\t\v", '"\\a\\b\\f\\n\\r\\t\\v"'),
        ("\x00\x1b\x7f", '"\\x00\\x1b\\x7f"'),
        ("\u00e9\ud55c", '"\u00e9\ud55c"'),
        ("\u00a0\u200b", '"\\u00a0\\u200b"'),
        ("\U0001f600\U000e0001", '"\U0001f600\\U000e0001"'),
        ("\udcff", '"\\xff"'),
    ],
)
def test_go_quote(text: str, expected: str) -> None:
    assert go_quote(text) == expected


def test_go_quote_list() -> None:
    assert go_quote_list(["/bin/sh", "-c", 'a "b"']) == '["/bin/sh" "-c" "a \\"b\\""]'
    assert go_quote_list([]) == "[]"


@pytest.mark.parametrize(
    ("left", "right", "distance"),
    [("", "", 0), ("a", "", 1), ("kitten", "sitting", 3), ("bulid", "build", 2)],
)
def test_edit_distance(left: str, right: str, distance: int) -> None:
    assert edit_distance(left, right) == distance


def test_nearest() -> None:
    assert nearest("fro", ["RUN", "FROM"], case_sensitive=False) == "FROM"
    assert nearest("FRO", ["from"]) is None
    assert nearest("zzzzzz", ["from", "run"]) is None
    assert did_you_mean("form", ["from"]) == " (did you mean from?)"
    assert did_you_mean("x", []) == ""


@given(st.text(max_size=8), st.text(max_size=8))
def test_edit_distance_is_symmetric_and_bounded(left: str, right: str) -> None:
    assert edit_distance(left, right) == edit_distance(right, left) <= max(len(left), len(right))
