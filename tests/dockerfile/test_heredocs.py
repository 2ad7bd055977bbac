"""Which words announce a heredoc, and what ends it."""

import pytest

from imagekit.dockerfile.heredocs import heredoc_word, heredoc_words


@pytest.mark.parametrize(
    ("word", "name", "expand", "strip_tabs"),
    [
        ("<<EOF", "EOF", True, False),
        ("<<-EOF", "EOF", True, True),
        ("12<<EOF", "EOF", True, False),
        ("<<'EOF'", "EOF", False, False),
        ('<<-"EOF"', "EOF", False, True),
        ('<<EO"F"', "EOF", False, False),
        ("<<eo\\'f", "eo'f", True, False),
        ("<<'e'o\\'f", "eo'f", False, False),
        ('<<"a\'b"', "a'b", False, False),
        ("<<E\\OF", "EOF", True, False),
        ("<<'one two'", "one two", False, False),
        ("<<$EOF", "$EOF", True, False),
        ("<<${EOF:-x}", "${EOF:-x}", True, False),
        ("<< EOF", "EOF", True, False),
        ("<< -EOF", "-EOF", True, False),
        ("<<- EOF", "EOF", True, True),
        ("<<file.txt", "file.txt", True, False),
    ],
)
def test_announcement(word: str, name: str, expand: bool, strip_tabs: bool) -> None:
    found = heredoc_word(word)

    assert found is not None
    assert (found.name, found.expand, found.strip_tabs) == (name, expand, strip_tabs)


@pytest.mark.parametrize(
    "word",
    [
        "",
        "EOF",
        "<<",
        "<<-",
        "<EOF",
        "<<<EOF",
        "<<EOF sh",
        "a<<EOF",
        "<<'EOF",
        '<<EOF"',
        "\u0663<<a",
    ],
)
def test_no_announcement(word: str) -> None:
    assert heredoc_word(word) is None


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("RUN <<EOF <<EOF2", ["EOF", "EOF2"]),
        ("RUN <<- EOF", []),
        ("RUN <<  EOF  > foo", ["EOF"]),
        ("RUN '<<EOF'", []),
        ('RUN "<<EOF"', []),
        ("RUN \\<<EOF", []),
        ("RUN echo 'open <<EOF", []),
        ("RUN cat<<EOF", []),
        ("RUN --mount=type=cache,target=/x <<EOF", ["EOF"]),
        ("RUN ${x <<EOF", []),
    ],
)
def test_line(line: str, names: list[str]) -> None:
    assert [word.name for word in heredoc_words(line)] == names
