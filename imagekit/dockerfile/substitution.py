r"""Patterns inside ``${name#pattern}``, ``${name%pattern}`` and ``${name/pattern/text}``.

``*`` is any run and ``?`` any one character, neither of them a newline; there are no classes.
``\*``, ``\?`` and ``\\`` are literal; ``\}`` and ``\/`` only shield the delimiter.

Matching walks a set of positions, so its time is bounded by value times pattern: a backtracking
regular expression could be made to run for ever by a pattern of many stars.
"""

from enum import Enum

import msgspec

from imagekit.dockerfile.errors import ExpansionError


class _Wildcard(Enum):
    ANY_RUN = "*"
    ANY_ONE = "?"


_Token = str | _Wildcard


class _Match(msgspec.Struct, frozen=True, kw_only=True):
    start: int
    end: int


def trim_prefix(value: str, pattern: str, *, longest: bool) -> str:
    """Return ``value`` without the shortest or longest prefix that matches.

    Raises:
        ExpansionError: the pattern has an invalid escape.
    """
    end = _match_end(_tokens(pattern), value, 0, longest=longest)
    return value if end is None else value[end:]


def trim_suffix(value: str, pattern: str, *, longest: bool) -> str:
    """Return ``value`` without the shortest or longest suffix that matches.

    Raises:
        ExpansionError: the pattern has an invalid escape.
    """
    end = _match_end(_tokens(pattern)[::-1], value[::-1], 0, longest=longest)
    return value if end is None else value[: len(value) - end]


def replace(value: str, pattern: str, text: str, *, every: bool) -> str:
    """Return ``value`` with the first or every longest match of ``pattern`` replaced.

    An empty pattern matches before each character and at the end. With ``every``, ``$name`` and
    ``$1`` in ``text`` vanish and ``$0`` is the match: that is BuildKit's, by way of Go's templates.

    Raises:
        ExpansionError: the pattern has an invalid escape.
    """
    tokens = _tokens(pattern)
    pieces: list[str] = []
    done = 0
    for match in _matches(tokens, value, every=every):
        pieces.append(value[done : match.start])
        pieces.append(_template(text, value[match.start : match.end]) if every else text)
        done = match.end
    pieces.append(value[done:])
    return "".join(pieces)


def _tokens(pattern: str) -> list[_Token]:
    tokens: list[_Token] = []
    characters = iter(pattern)
    for character in characters:
        if character == "*":
            tokens.append(_Wildcard.ANY_RUN)
        elif character == "?":
            tokens.append(_Wildcard.ANY_ONE)
        elif character == "\\":
            escaped = next(characters, "\ufffd")
            if escaped not in ("*", "?", "\\", "}", "/"):
                raise ExpansionError(
                    f"invalid pattern ({pattern}) in substitution: invalid escape '\\{escaped}'"
                )
            tokens.append(escaped)
        else:
            tokens.append(character)
    return tokens


def _matches(tokens: list[_Token], value: str, *, every: bool) -> list[_Match]:
    found: list[_Match] = []
    position = 0
    last_end = 0
    while position <= len(value):
        end = _match_end(tokens, value, position, longest=True)
        if end is None:
            position += 1
            continue
        # An empty match directly behind another match does not count.
        if end > last_end or position == 0:
            found.append(_Match(start=position, end=end))
            last_end = end
            if not every:
                break
        position = end if end > position else position + 1
    return found


def _match_end(tokens: list[_Token], value: str, start: int, *, longest: bool) -> int | None:
    """Where the shortest or longest match that begins at ``start`` ends."""
    states = _with_empty_runs({0}, tokens)
    best: int | None = None
    position = start
    while states:
        if len(tokens) in states:
            best = position
            if not longest:
                break
        if position >= len(value):
            break
        states = _with_empty_runs(_advance(states, tokens, value[position]), tokens)
        position += 1
    return best


def _advance(states: set[int], tokens: list[_Token], character: str) -> set[int]:
    following: set[int] = set()
    for state in states:
        if state == len(tokens):
            continue
        token = tokens[state]
        if token is _Wildcard.ANY_RUN:
            if character != "\n":
                following.add(state)
        elif token is _Wildcard.ANY_ONE:
            if character != "\n":
                following.add(state + 1)
        elif token == character:
            following.add(state + 1)
    return following


def _with_empty_runs(states: set[int], tokens: list[_Token]) -> set[int]:
    """Add the states reached because a ``*`` may match nothing."""
    for state in tuple(states):
        behind = state
        while behind < len(tokens) and tokens[behind] is _Wildcard.ANY_RUN:
            behind += 1
            states.add(behind)
    return states


def _template(text: str, match: str) -> str:
    """Expand Go's replacement template: the pattern has no groups, so only ``$0`` has a value."""
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
        elif name.isdecimal() and int(name) == 0:
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
