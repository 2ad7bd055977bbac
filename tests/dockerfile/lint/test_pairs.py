"""Values behind an equals sign that mean what they meant behind a blank."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.dockerfile.errors import DockerfileError
from imagekit.dockerfile.lint.pairs import author_label, pair_text
from imagekit.dockerfile.statements import split_words
from imagekit.dockerfile.words import expand


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("v", "v"),
        ("a b", '"a b"'),
        ("$a/${b}", "$a/${b}"),
        ("${a:-x y}", '"${a:-x y}"'),
        ("'a b'", "'a b'"),
        ("'a' b", "'a'\\ b"),
        ("a\\ b", "a\\ b"),
        ("a\\ b c", "a\\ b\\ c"),
        ("'", None),
        ('"a b', None),
        ("${a:?} b", None),
        ("a\\", None),
        ("a b\\", None),
    ],
)
def test_pair_text(value: str, text: str | None) -> None:
    assert pair_text("k", value, escape="\\") == text


@pytest.mark.parametrize(
    ("author", "label"),
    [
        ("Me <a@b>", 'k="Me <a@b>"'),
        ('"Me"', 'k="Me"'),
        ('"', "k='\"'"),
        ('"a" "b"', 'k=\'"a" "b"\''),
        ("a\\b", 'k="a\\b"'),
        ('it\'s \\ $x "y"', 'k="it\'s \\\\ \\$x \\"y\\""'),
    ],
)
def test_author_label(author: str, label: str) -> None:
    assert author_label("k", author, escape="\\") == label


@given(value=st.text(alphabet="ab $'\"\\`{}:-=", min_size=1), escape=st.sampled_from("\\`"))
def test_a_value_that_is_given_means_the_same(value: str, escape: str) -> None:
    text = pair_text("k", value, escape=escape)

    if text is None:
        return
    assert split_words(f"k={text}", escape) == (f"k={text}",)
    for environment in ({}, {"a": "1 2", "b": "'"}):
        assert _expanded(text, environment, escape) == _expanded(value, environment, escape)


def _expanded(word: str, environment: dict[str, str], escape: str) -> str:
    try:
        return expand(word, environment, escape=escape)
    except DockerfileError as error:
        return type(error).__name__
