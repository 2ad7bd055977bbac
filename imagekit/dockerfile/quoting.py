"""Go's ``%q``: how BuildKit writes strings into history and messages."""

from collections.abc import Iterable

_ESCAPES = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\\": "\\\\",
    '"': '\\"',
}
_PRINTABLE = ("L", "M", "N", "P", "S")


def go_quote(text: str) -> str:
    r"""Return ``text`` as Go's ``strconv.Quote`` does: ``say "hi"`` becomes ``"say \"hi\""``.

    Surrogate escapes (bytes that were not UTF-8) come out as ``\xNN``.
    """
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"' + "".join(map(_quote_character, text)) + '"'


def go_quote_list(words: Iterable[str]) -> str:
    """Return a list of strings as Go's ``%q`` does: ``["a" "b c"]``."""
    return "[" + " ".join(map(go_quote, words)) + "]"


def _quote_character(character: str) -> str:
    if (escape := _ESCAPES.get(character)) is not None:
        return escape
    code = ord(character)
    if 0x20 <= code < 0x7F:
        return character
    if code < 0x80:
        return f"\\x{code:02x}"
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    import unicodedata

    if unicodedata.category(character)[0] in _PRINTABLE:
        return character
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
