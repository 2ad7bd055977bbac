"""What Go calls white space: Python's own idea differs (it has U+001C to U+001F too)."""

from typing import Final

SPACE: Final = (
    "\t\n\v\f\r \u0085\u00a0\u1680"
    "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""Every character for which Go's ``unicode.IsSpace`` holds; for ``str.strip`` and ``in``."""

_SEPARATORS: Final = "\t\v\f\r"


def split_at_blanks(text: str, limit: int = -1) -> list[str]:
    r"""Split at runs of ``[\t\v\f\r ]``, as Go does: outer blanks give empty pieces."""
    for separator in _SEPARATORS:
        if separator in text:
            text = _only_spaces(text, limit)
            break
    pieces: list[str] = []
    position = 0
    while limit != 1:
        blank = text.find(" ", position)
        if blank < 0:
            break
        pieces.append(text[position:blank])
        position = blank + 1
        while text.startswith(" ", position):
            position += 1
        limit -= 1
    pieces.append(text[position:])
    return pieces


def _only_spaces(text: str, limit: int) -> str:
    """Replace blanks by spaces: everywhere, or up to the piece that stays unsplit."""
    if limit < 0:
        return text.translate({ord(separator): " " for separator in _SEPARATORS})
    assert limit == 2, "only 'all' and 'the first blank' are needed"
    start = next(index for index, char in enumerate(text) if char in _SEPARATORS or char == " ")
    end = start
    while end < len(text) and (text[end] in _SEPARATORS or text[end] == " "):
        end += 1
    return text[:start] + " " + text[end:]
