"""What Go calls white space: Python's own idea differs (it has U+001C to U+001F too)."""

from typing import Final

SPACE: Final = (
    "\t\n\v\f\r \u0085\u00a0\u1680"
    "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""Every character for which Go's ``unicode.IsSpace`` holds; for ``str.strip`` and ``in``."""

_TO_SPACES: Final = str.maketrans("\t\v\f\r", "    ")


def split_at_blanks(text: str) -> list[str]:
    r"""Split at runs of ``[\t\v\f\r ]``; ``text`` has no outer blanks and is not empty."""
    if not text.isprintable():
        text = text.translate(_TO_SPACES)
    return [word for word in text.split(" ") if word]


def split_first(text: str) -> tuple[str, str]:
    r"""Split once at a run of ``[\t\v\f\r ]``; the rest is "" when there is no run."""
    if text.isprintable():
        word, _, rest = text.partition(" ")
        return word, rest.lstrip(" ")
    word, _, _ = text.translate(_TO_SPACES).partition(" ")
    return word, text[len(word) :].lstrip("\t\v\f\r ")
