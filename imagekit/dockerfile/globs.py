r"""Go's ``filepath.Match``: the wildcards of COPY and ADD sources.

``*`` is any run and ``?`` any one character, neither a ``/``; ``[a-z]`` and ``[^a-z]`` are classes
(``[!a]`` is not a negation); ``\c`` is c. The whole path has to match; dot files are not special.

Source: Go path/filepath.Match.
"""

import re
from functools import lru_cache

from imagekit.dockerfile.errors import PatternError
from imagekit.dockerfile.quoting import go_quote

_WILDCARDS = "*?["
_CLASS_ESCAPES = frozenset("[]^-\\&~|")


def has_wildcards(pattern: str) -> bool:
    """Return whether a source path has to be matched: it has ``*``, ``?``, ``[`` or an escape."""
    return any(character in pattern for character in (*_WILDCARDS, "\\"))


def matches(pattern: str, path: str) -> bool:
    """Return whether the whole ``path`` matches.

    Raises:
        PatternError: the pattern is malformed.
    """
    return compile_glob(pattern).fullmatch(path) is not None


@lru_cache(maxsize=256)
def compile_glob(pattern: str) -> re.Pattern[str]:
    """Return a regular expression for ``fullmatch``.

    Raises:
        PatternError: the pattern is malformed.
    """
    parts = [""]  # what stands between the stars
    position = 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if character == "*":
            parts.append("")
        elif character == "?":
            parts[-1] += "[^/]"
        elif character == "[":
            text, position = read_class(pattern, position)
            parts[-1] += "(?!/)" + text
        elif character == "\\":
            parts[-1] += re.escape(_literal(pattern, position))
            position += 1
        else:
            parts[-1] += re.escape(character)
    first, *others = parts
    if not others:
        return re.compile(first)
    # Each part but the last may be taken at its first place, for good: no star is tried twice.
    middle = "".join(f"(?>[^/]*?{part})" for part in others[:-1] if part)
    return re.compile(f"{first}{middle}[^/]*{others[-1]}")


def read_class(pattern: str, position: int) -> tuple[str, int]:
    """Return a class as a regular expression, and where it ends.

    ``position`` is behind the opening bracket.

    Raises:
        PatternError: the class is empty, unfinished, or has a bad range.
    """
    is_negated = pattern.startswith("^", position)
    position += is_negated
    ranges: list[str] = []
    while not (ranges and pattern.startswith("]", position)):
        low, position = _class_character(pattern, position)
        high = low
        if pattern.startswith("-", position):
            high, position = _class_character(pattern, position + 1)
        ranges.append(_range(low, high))
    inside = "".join(ranges)
    if not inside:
        return r"[\s\S]" if is_negated else "(?!)", position + 1
    return f"[{'^' if is_negated else ''}{inside}]", position + 1


def _range(low: str, high: str) -> str:
    if low > high:  # legal in Go, and matches nothing
        return ""
    return _in_class(low) if low == high else f"{_in_class(low)}-{_in_class(high)}"


def _class_character(pattern: str, position: int) -> tuple[str, int]:
    character = pattern[position : position + 1]
    if character in ("", "-", "]"):
        raise _malformed(pattern)
    if character == "\\":
        return _literal(pattern, position + 1), position + 2
    return character, position + 1


def _literal(pattern: str, position: int) -> str:
    if position >= len(pattern):
        raise _malformed(pattern)
    return pattern[position]


def _in_class(character: str) -> str:
    return "\\" + character if character in _CLASS_ESCAPES else character


def _malformed(pattern: str) -> PatternError:
    return PatternError(
        "syntax error in pattern",
        hint=f"In {go_quote(pattern)}, close every [ with a ] and put a character behind every "
        "backslash.",
    )
