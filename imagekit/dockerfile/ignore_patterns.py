r"""One pattern of an ignore file, compiled.

    *  ?  [a-z]  \\c      as in a wildcard, but a class may match a slash
    **/                  any directories or none
    **                   anything, at the end; any directories or none, elsewhere

A regular expression backtracks: with each further star its time would grow by a power of the path's
length. Patterns of more than two stars walk a set of positions instead, if the literal text that
they need is in the path at all.

Source: moby/patternmatcher, Pattern.compile.
"""

import re
from typing import Final

import msgspec

from imagekit.dockerfile.globs import read_class

META: Final = frozenset("*?[]\\")
_ANY_DIRECTORIES = "(?:.*/)?"
_ANYTHING = ".*"
_NO_SLASH = "[^/]*"
_VARIABLE = (_ANY_DIRECTORIES, _ANYTHING, _NO_SLASH)
_PREFIX = r"[\s\S]*"
_MAX_VARIABLE = 2


class IgnoreExpression(msgspec.Struct, frozen=True, kw_only=True):
    """How to match a pattern with wildcards.

    ``of_path`` is for whole paths and None for a slow pattern. ``of_name`` is set when the pattern
    is ``**/`` and one more part: then that part alone is matched with the last part of the path.
    ``pieces`` are single characters and runs, for the slow way; ``needed`` is in what matches.
    """

    of_path: str | None
    of_name: str | None = None
    pieces: tuple[str, ...] = ()
    needed: str = ""

    @property
    def is_slow(self) -> bool:
        """Whether there is no regular expression that is safe."""
        return self.of_path is None

    def matches(self, path: str) -> bool:
        """Return whether the whole ``path`` matches."""
        if self.of_path is not None:
            return re.fullmatch(self.of_path, path) is not None
        return self.needed in path and _walk(self.pieces, path)


def compile_pattern(text: str) -> IgnoreExpression:
    """Translate a cleaned pattern. A lone ``**`` at one end just compares prefix or suffix."""
    if text.endswith("**") and META.isdisjoint(text[:-2]):
        return IgnoreExpression(of_path=re.escape(text[:-2]) + _PREFIX)
    if text.startswith("**") and META.isdisjoint(text[2:]):
        suffix = text[2:]
        if not suffix.startswith("/"):
            return IgnoreExpression(of_path=_PREFIX + re.escape(suffix))
        return IgnoreExpression(of_path=f"(?:{_PREFIX}/)?{re.escape(suffix[1:])}")
    pieces, needed = _pieces(text)
    variable = sum(piece in _VARIABLE for piece in pieces)
    if variable > _MAX_VARIABLE:
        return IgnoreExpression(of_path=None, pieces=pieces, needed=needed)
    of_name: str | None = None
    rest = text[3:]
    if text.startswith("**/") and "**" not in rest and not set("/[\\") & set(rest):
        of_name = "".join(pieces[1:])
    return IgnoreExpression(of_path="".join(pieces), of_name=of_name)


def _pieces(text: str) -> tuple[tuple[str, ...], str]:
    """Return the pattern piece by piece, and the longest text that is in all that matches."""
    pieces: list[str] = []
    position = 0
    literal = needed = ""
    while position < len(text):
        start = position
        piece, position = _piece(text, position)
        literal = literal + text[start] if piece == re.escape(text[start]) else ""
        needed = max(needed, literal, key=len)
        # Repeating these changes nothing but the time that matching takes.
        if not pieces or piece != pieces[-1] or piece not in _VARIABLE:
            pieces.append(piece)
    return tuple(pieces), needed


def _piece(text: str, position: int) -> tuple[str, int]:
    character = text[position]
    position += 1
    match character:
        case "*" if text.startswith("*", position):
            position += 1
            position += text.startswith("/", position)
            return (_ANYTHING if position == len(text) else _ANY_DIRECTORIES), position
        case "*":
            return _NO_SLASH, position
        case "?":
            return "[^/]", position
        case "[":
            return read_class(text, position)
        case "\\":
            return re.escape(text[position]), position + 1
        case "^":  # not quoted by the reference either: nothing can stand before it
            return "^", position
        case _:
            return re.escape(character), position


def _walk(pieces: tuple[str, ...], path: str) -> bool:
    """Match by keeping all positions in the pattern that the path so far can have led to."""
    singles = [None if piece in _VARIABLE else re.compile(piece) for piece in pieces]
    states = _with_empty({(0, False)}, pieces)
    for character in path:
        following: set[tuple[int, bool]] = set()
        for index, _ in states:
            if index == len(pieces):
                continue
            single = singles[index]
            if single is not None:
                if single.fullmatch(character):
                    following.add((index + 1, False))
            elif pieces[index] == _NO_SLASH:
                if character != "/":
                    following.add((index, True))
            elif character != "\n":
                following.add((index, True))
                if character == "/" and pieces[index] == _ANY_DIRECTORIES:
                    following.add((index + 1, False))
        states = _with_empty(following, pieces)
        if not states:
            return False
    return any(index == len(pieces) for index, _ in states)


def _with_empty(states: set[tuple[int, bool]], pieces: tuple[str, ...]) -> set[tuple[int, bool]]:
    """Add the positions behind runs that may be empty, or that may end anywhere.

    A state is a piece and whether it has taken a character. Directories that have begun end at a
    slash only.
    """
    found = set(states)
    waiting = list(states)
    while waiting:
        index, has_begun = waiting.pop()
        if index == len(pieces) or pieces[index] not in _VARIABLE:
            continue
        if has_begun and pieces[index] == _ANY_DIRECTORIES:
            continue
        behind = (index + 1, False)
        if behind not in found:
            found.add(behind)
            waiting.append(behind)
    return found
