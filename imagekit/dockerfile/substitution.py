r"""Patterns inside ``${name#pattern}``, ``${name%pattern}`` and ``${name/pattern/text}``.

``*`` is any run and ``?`` any one character, neither of them a newline; there are no classes.
``\*``, ``\?`` and ``\\`` are literal; ``\}`` and ``\/`` only shield the delimiter.

Patterns become regular expressions that never backtrack over more than one star. What stands
between two stars may be taken at its first place: a later one leaves less to the rest of the
pattern, never more, for a star stops at a newline only. The last star takes what the wanted length
asks for. So time grows with the value, not with a power of it for each star.
"""

import re
from functools import lru_cache

import msgspec

from imagekit.dockerfile.errors import ExpansionError

MAX_RESULT = 1 << 24
"""The longest result of a replacement, in characters."""

_LITERAL_ESCAPES = "*?\\"
_SHIELDED = "}/"


class Pattern(msgspec.Struct, frozen=True, kw_only=True):
    """A pattern, compiled twice, and the part before its first star.

    ``head`` is None when a failed match says nothing about later places. Otherwise, where the head
    matched and the rest did not, no later place of the same line can match.
    """

    shortest: re.Pattern[str]
    longest: re.Pattern[str]
    head: re.Pattern[str] | None


def trim_prefix(value: str, pattern: str, *, longest: bool) -> str:
    """Return ``value`` without the shortest or longest prefix that matches.

    Raises:
        ExpansionError: the pattern has an invalid escape.
    """
    compiled = _compiled(pattern)
    match = (compiled.longest if longest else compiled.shortest).match(value)
    return value if match is None else value[match.end() :]


def trim_suffix(value: str, pattern: str, *, longest: bool) -> str:
    """Return ``value`` without the shortest or longest suffix that matches.

    Both are reversed, as in BuildKit: a message shows the pattern backwards.

    Raises:
        ExpansionError: the pattern has an invalid escape.
    """
    return trim_prefix(value[::-1], _reversed(pattern), longest=longest)[::-1]


def replace(value: str, pattern: str, text: str, *, every: bool) -> str:
    """Return ``value`` with the first or every longest match of ``pattern`` replaced.

    An empty pattern matches before each character and at the end. With ``every``, ``$name`` and
    ``$1`` in ``text`` vanish and ``$0`` is the match: that is BuildKit's, by way of Go's templates.

    Raises:
        ExpansionError: the pattern has an invalid escape, or the result is too long.
    """
    compiled = _compiled(pattern)
    pieces: list[str] = []
    done = 0
    length = len(value)
    for start, end in _matches(compiled, value, every=every):
        piece = _template(text, value[start:end]) if every else text
        length += len(piece)
        if length > MAX_RESULT:
            raise ExpansionError(f"the result is longer than {MAX_RESULT} characters")
        pieces += (value[done:start], piece)
        done = end
    pieces.append(value[done:])
    return "".join(pieces)


def _reversed(pattern: str) -> str:
    r"""Return the pattern backwards, pairs of an escape and its character kept: ``c\*a``."""
    pieces: list[str] = []
    position = 0
    while position < len(pattern):
        width = 2 if pattern[position] == "\\" else 1
        pieces.append(pattern[position : position + width])
        position += width
    return "".join(reversed(pieces))


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> Pattern:
    parts, has_newline = _parts(pattern)
    first, *others = parts
    if not others:
        whole = re.compile(first)
        return Pattern(shortest=whole, longest=whole, head=None)
    *middle, last = others
    inner = first + "".join(f"(?>.*?{part})" for part in middle)
    return Pattern(
        shortest=re.compile(f"{inner}.*?{last}"),
        longest=re.compile(f"{inner}.*{last}"),
        head=None if has_newline else re.compile(first),
    )


def _parts(pattern: str) -> tuple[list[str], bool]:
    """Return what stands between the stars as expressions; whether the first has a newline."""
    parts = [""]
    has_newline = False
    characters = iter(pattern)
    for character in characters:
        if character == "*":
            parts.append("")
            continue
        if character == "?":
            parts[-1] += "."
            continue
        literal = (
            _unescaped(next(characters, "\ufffd"), pattern) if character == "\\" else character
        )
        has_newline = has_newline or (literal == "\n" and len(parts) == 1)
        parts[-1] += re.escape(literal)
    return parts, has_newline


def _unescaped(character: str, pattern: str) -> str:
    if character not in _LITERAL_ESCAPES and character not in _SHIELDED:
        raise ExpansionError(
            f"invalid pattern ({pattern}) in substitution: invalid escape '\\{character}'"
        )
    return character


def _matches(pattern: Pattern, value: str, *, every: bool) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    position = 0
    last_end = 0
    while position <= len(value):
        match = _next_match(pattern, value, position)
        if match is None:
            break
        start, end = match.span()
        # An empty match directly behind another match does not count.
        if end > last_end or start == 0:
            found.append((start, end))
            last_end = end
            if not every:
                break
        position = end if end > start else end + 1
    return found


def _next_match(pattern: Pattern, value: str, position: int) -> re.Match[str] | None:
    if pattern.head is None:
        return pattern.longest.search(value, position)
    while (head := pattern.head.search(value, position)) is not None:
        match = pattern.longest.match(value, head.start())
        if match is not None:
            return match
        newline = value.find("\n", head.start())
        if newline < 0:
            return None
        position = newline + 1
    return None


def _template(text: str, match: str) -> str:
    """Expand Go's replacement template: the pattern has no groups, so only ``$0`` has a value."""
    if "$" not in text:
        return text
    pieces: list[str] = []
    position = 0
    while (dollar := text.find("$", position)) >= 0:
        pieces.append(text[position:dollar])
        if text.startswith("$", dollar + 1):
            pieces.append("$")
            position = dollar + 2
            continue
        name, position = _template_name(text, dollar + 1)
        if name is None:
            pieces.append("$")
        elif name == "0":
            pieces.append(match)
    pieces.append(text[position:])
    return "".join(pieces)


def _template_name(text: str, start: int) -> tuple[str | None, int]:
    """The name behind a ``$`` and where it ends; None when the ``$`` is a plain character."""
    braced = text.startswith("{", start)
    begin = end = start + braced
    while end < len(text) and (text[end] == "_" or text[end].isalpha() or text[end].isdecimal()):
        end += 1
    name = text[begin:end]
    if not name or (braced and not text.startswith("}", end)):
        return None, start
    return name, end + braced
