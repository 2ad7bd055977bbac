"""Words that announce a heredoc: ``<<NAME``, ``<<-NAME``, ``<<"NAME"``, ``3<<NAME``.

Source: Dockerfile reference, "Here-Documents"; BuildKit parser/parser.go, heredocFromMatch.
"""

import msgspec

from imagekit.dockerfile.errors import ExpansionError
from imagekit.dockerfile.words import lex_words

_BLANKS = "\t\n\f\r "


class HeredocWord(msgspec.Struct, frozen=True, kw_only=True):
    """The announcement of a heredoc; ``name`` is the line that ends it."""

    name: str
    expand: bool
    strip_tabs: bool


def heredoc_words(line: str) -> tuple[HeredocWord, ...]:
    """Return the heredocs that a logical line announces; none when the line is unbalanced."""
    try:
        words = lex_words(line)
    except ExpansionError:
        return ()
    found = (heredoc_word(word) for word in words)
    return tuple(word for word in found if word is not None)


def heredoc_word(word: str) -> HeredocWord | None:
    """Return what ``word`` announces when it is ``[fd]<<[-][blanks]delimiter``, else None.

    Quotes and escapes are taken off the delimiter; a quote that is not escaped keeps the document
    from being expanded, an escape alone does not.
    """
    descriptor, angles, rest = word.partition("<<")
    if not angles or "<" in rest or not _is_file_descriptor(descriptor):
        return None
    strip_tabs = rest.startswith("-")
    rest = rest[strip_tabs:].lstrip(_BLANKS)
    if "'" not in rest and '"' not in rest and "\\" not in rest and rest.isalnum():
        return HeredocWord(name=rest, expand=True, strip_tabs=strip_tabs)
    try:
        names = lex_words(rest, keep_quotes=False, keep_escapes=False)
        quoted = lex_words(rest, keep_escapes=False)
    except ExpansionError:
        return None
    if len(names) != 1:
        return None
    return HeredocWord(
        name=names[0], expand=_quotes(names) == _quotes(quoted), strip_tabs=strip_tabs
    )


def _is_file_descriptor(text: str) -> bool:
    return not text or (text.isascii() and text.isdecimal())


def _quotes(words: tuple[str, ...]) -> int:
    return sum(word.count("'") + word.count('"') for word in words)
