"""Where the characters of an instruction stand in its file."""

import pytest

from imagekit.dockerfile.lint.places import Located, Places, find_word
from imagekit.dockerfile.source import SourceReader
from imagekit.dockerfile.statements import read_statements


def _located(text: str, number: int = 0) -> Located:
    statements = list(read_statements(SourceReader(text, file_name="Dockerfile")))
    located = Places(text, escape="\\").locate(statements[number])
    assert located is not None
    return located


@pytest.mark.parametrize(
    "text",
    [
        "FROM scratch",
        "\ufeff  FROM scratch\r\n",
        "# c\n\nFROM \\\n # c\n\n\tscratch \\  \n AS b\\\\\n",
        "FROM a \\\n\n",
        "FROM a\\",
    ],
)
def test_each_character_is_where_it_says(text: str) -> None:
    located = _located(text)

    assert "".join(text[offset] for offset in located.offsets) == located.text


def test_blank_lines_have_their_newlines() -> None:
    text = "FROM a \\\n\n # c\n \t\r\n b\n"

    assert [text[start:end] for start, end in _located(text).blank_lines] == ["\n", " \t\r\n"]


def test_a_range_is_in_one_piece_or_none() -> None:
    located = _located("FROM a\\\nb c")

    assert located.range(0, 4) == (0, 4)
    assert located.range(5, 7) is None
    assert located.range(8, 9) == (10, 11)
    assert located.range(3, 3) is None
    assert located.range(3, 99) is None


def test_words_are_found_only_as_they_stand() -> None:
    located = _located("RUN --a=b  c")

    assert located.arguments == 4
    assert find_word(("--a=b", "c"), 1, located) == (11, 12)
    assert find_word(("--a=b", "d"), 1, located) is None
    assert find_word(("--a=b",), 5, located) is None


def test_another_text_than_the_file_has_is_not_found() -> None:
    statement = next(read_statements(SourceReader("FROM b", file_name="Dockerfile")))

    assert Places("FROM a", escape="\\").locate(statement) is None
