r"""Quotes, escapes and ``$variables`` in the words of a Dockerfile.

    bare        the escape character makes the next one literal and goes; at the end it just goes
    '...'       literal, nothing can be escaped
    "..."       variables expand; the escape character is special before " $ and itself only
    $name ${name} ${name:-word} ${name-word} ${name:+word} ${name+word} ${name:?word} ${name?word}
    ${name#pattern} ${name##pattern} ${name%pattern} ${name%%pattern} ${name/pattern/text}
    ${name//pattern/text}

Special and positional parameters ($1, $@, ...) are names that are never set.

Source: Dockerfile reference, "Environment replacement"; BuildKit frontend/dockerfile/shell/lex.go.
"""

from collections.abc import Mapping

from imagekit.dockerfile.expansion import Expansion
from imagekit.dockerfile.lexer import Lexer

_NOTHING: Mapping[str, str] = {}


def expand(word: str, environment: Mapping[str, str], *, escape: str = "\\") -> str:
    """Return ``word`` without quotes and escapes and with its variables replaced.

    An unset variable is an empty string. ``escape`` is the Dockerfile's escape character.

    Raises:
        ExpansionError: the word is malformed, or a ``${name:?}`` fails. It has no span yet.
    """
    if "$" not in word and "'" not in word and '"' not in word and escape not in word:
        return word
    return Lexer(word, environment, escape=escape).text()


def expand_words(
    word: str, environment: Mapping[str, str], *, escape: str = "\\"
) -> tuple[str, ...]:
    """Return ``word`` expanded and then split at its unquoted blanks (EXPOSE only).

    Raises:
        ExpansionError: as in ``expand``.
    """
    return expand_word(word, environment, escape=escape).words


def expand_word(word: str, environment: Mapping[str, str], *, escape: str = "\\") -> Expansion:
    """Return everything there is to know about the expansion of ``word``.

    Raises:
        ExpansionError: as in ``expand``.
    """
    return Lexer(word, environment, escape=escape).run()


def expand_document(body: str, environment: Mapping[str, str]) -> str:
    r"""Return the text of an unquoted heredoc with its variables replaced.

    Quotes are ordinary characters. The escape character is always ``\``: it goes, and the next
    character is literal, a newline too.

    Raises:
        ExpansionError: as in ``expand``.
    """
    if "$" not in body and "\\" not in body:
        return body
    return Lexer(body, environment, escape="\\", quotes=False).text()


def lex_words(line: str, *, keep_quotes: bool = True, keep_escapes: bool = True) -> tuple[str, ...]:
    r"""Return the words of ``line`` with variables left in them, and quotes and escapes if wanted.

    This is how heredocs are found: always with ``\`` as the escape character, and with ``<<`` and
    the blanks behind it kept in one word.

    Raises:
        ExpansionError: the line is unbalanced.
    """
    lexer = Lexer(
        line,
        _NOTHING,
        escape="\\",
        keep_quotes=keep_quotes,
        keep_escapes=keep_escapes,
        keep_unset=True,
    )
    return lexer.run().words
