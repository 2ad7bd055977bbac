"""The nearest known name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.dockerfile.suggestions import did_you_mean, edit_distance, nearest

WORDS = st.text(alphabet="abcd", max_size=6)


@pytest.mark.parametrize(
    ("left", "right", "distance"),
    [("", "", 0), ("", "abc", 3), ("abc", "abc", 0), ("abc", "acb", 2), ("kitten", "sitting", 3)],
)
def test_the_distance_counts_edits(left: str, right: str, distance: int) -> None:
    assert edit_distance(left, right) == distance == edit_distance(right, left)


@given(word=WORDS, known=st.lists(WORDS, max_size=8))
def test_the_nearest_is_the_first_of_the_least_distance_below_three(
    word: str, known: list[str]
) -> None:
    distances = [edit_distance(word, name) for name in known]
    best = min(distances, default=3)

    expected = None if best in (0, 3) or best > 3 else known[distances.index(best)]

    assert nearest(word, known) == expected


def test_case_counts_only_if_asked() -> None:
    assert nearest("RUM", ["run"]) is None
    assert nearest("RUM", ["run"], case_sensitive=False) == "run"


def test_the_words_for_a_message() -> None:
    assert did_you_mean("builder", ["build"]) == " (did you mean build?)"
    assert did_you_mean("nothing", ["build"]) == ""
