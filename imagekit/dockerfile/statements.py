"""Logical lines to statements: a name, flags, arguments and heredocs, not yet understood.

Each instruction splits the rest of its line in its own way; the table ``_SPLITTERS`` says which.

Source: BuildKit frontend/dockerfile/parser/line_parsers.go and split_command.go.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from imagekit.dockerfile.characters import SPACE, split_at_blanks, split_first
from imagekit.dockerfile.errors import DockerfileError, DockerfileSyntaxError, Span
from imagekit.dockerfile.instructions import Heredoc, Origin
from imagekit.dockerfile.source import LogicalLine, SourceReader

if TYPE_CHECKING:
    from json import JSONDecoder

_HEREDOC_INSTRUCTIONS = ("RUN", "COPY", "ADD")
_MAX_DEPTH = 50
"""How many ONBUILD in a row are told apart."""


class SplitLine(NamedTuple):
    """One logical line, split but not checked.

    ``name`` is ``keyword`` in upper case and may be unknown. ``words`` are the arguments, from a
    JSON array when ``json`` is set; ENV and LABEL have three per pair: key, value, and ``=`` or
    nothing. ``trigger`` is the inner instruction of ONBUILD. A named tuple, as LogicalLine is.
    """

    keyword: str
    name: str
    flags: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    json: bool = False
    trigger: "SplitLine | None" = None


class Statement(NamedTuple):
    """One instruction of a file, with its place and its heredocs."""

    line: SplitLine
    origin: Origin
    heredocs: tuple[Heredoc, ...] = ()
    has_empty_continuation: bool = False


def read_statements(
    reader: SourceReader, errors: list[DockerfileError] | None = None
) -> Iterator[Statement]:
    """Yield the statements of a file in order.

    With ``errors``, a line that cannot be split is noted there and the next one is read.

    Raises:
        DockerfileSyntaxError: a line cannot be split, or a heredoc does not end.
    """
    while (logical := reader.next_line()) is not None:
        try:
            statement = _statement(logical, reader)
        except DockerfileError as error:
            if errors is None:
                raise
            errors.append(error)
        else:
            yield statement


def split_line(text: str, escape: str, *, depth: int = 0) -> SplitLine:
    """Split one logical line as its instruction wants it.

    Raises:
        DockerfileSyntaxError: ENV, LABEL or a JSON array is malformed. It has no span yet.
    """
    keyword, rest = split_first(text.strip(SPACE))
    flags: tuple[str, ...] = ()
    if "--" in rest:
        flags, rest = split_flags(rest, escape)
    rest = rest.strip(SPACE)
    name = keyword.upper() if keyword.isascii() else keyword
    if name == "ONBUILD":
        return SplitLine(keyword, name, flags, trigger=_trigger(rest, escape, depth + 1))
    splitter = _SPLITTERS.get(name)
    words, json = splitter(rest, escape) if splitter and rest else ((), False)
    return SplitLine(keyword, name, flags, words, json)


def _statement(logical: LogicalLine, reader: SourceReader) -> Statement:
    first, last = logical.first, logical.last
    try:
        line = split_line(logical.text, reader.escape)
    except DockerfileError as error:
        raise error.located(reader.span(first, last)) from error.__cause__
    heredocs: tuple[Heredoc, ...] = ()
    if "<<" in logical.text and _may_announce_heredocs(line):
        from imagekit.dockerfile.heredocs import heredoc_words

        words = heredoc_words(logical.text)
        heredocs = tuple(reader.heredoc(word, first=first) for word in words)
        last = reader.line_number
    origin = Origin(
        span=Span(file_name=reader.file_name, first_line=first, last_line=last),
        keyword=line.keyword,
        source=reader.source(first, last),
        text=logical.text,
        flags=line.flags,
        comments=logical.comments,
    )
    return Statement(line, origin, heredocs, logical.has_empty_continuation)


def _may_announce_heredocs(line: SplitLine) -> bool:
    line = line.trigger or line
    return line.name in _HEREDOC_INSTRUCTIONS and not line.json


def split_flags(rest: str, escape: str) -> tuple[tuple[str, ...], str]:
    """Return the leading ``--`` words, without quotes and escapes, and what follows them.

    A word that is just ``--`` ends the flags and is dropped.
    """
    flags: list[str] = []
    position = 0
    while True:
        while position < len(rest) and rest[position] in SPACE:
            position += 1
        if not rest.startswith("--", position):
            return tuple(flags), rest[position:]
        word, position = _flag_word(rest, position, escape)
        if word == "--":
            return tuple(flags), rest[position:]
        flags.append(word)


def _flag_word(text: str, position: int, escape: str) -> tuple[str, int]:
    if text.isprintable() and text.isascii():
        end = text.find(" ", position)
        word = text[position:] if end < 0 else text[position:end]
        if "'" not in word and '"' not in word and escape not in word:
            return word, len(text) if end < 0 else end
    characters: list[str] = []
    quote = ""
    while position < len(text):
        character = text[position]
        position += 1
        if character == escape:
            characters.append(text[position : position + 1])
            position += 1
        elif quote:
            if character == quote:
                quote = ""
            else:
                characters.append(character)
        elif character in SPACE:
            break
        elif character in "'\"":
            quote = character
        else:
            characters.append(character)
    return "".join(characters), min(position, len(text))


def split_words(rest: str, escape: str) -> tuple[str, ...]:
    """Split at blanks outside quotes; quotes and escapes stay, a trailing escape goes."""
    if escape not in rest and rest.isprintable():
        return tuple(_split_printable(rest))
    words: list[str] = []
    word: list[str] = []
    quote = ""
    position = 0
    while position < len(rest):
        character = rest[position]
        position += 1
        if character == escape and quote != "'":
            if position == len(rest):
                break
            word.append(character + rest[position])
            position += 1
        elif quote:
            word.append(character)
            if character == quote:
                quote = ""
        elif character in SPACE:
            if word:
                words.append("".join(word))
                word = []
        else:
            word.append(character)
            if character in "'\"":
                quote = character
    if word:
        words.append("".join(word))
    return tuple(words)


def _split_printable(rest: str) -> list[str]:
    """Split a text without escapes whose only blanks are spaces: quote by quote."""
    words: list[str] = []
    word = ""
    position = 0
    end = len(rest)
    single = double = -1
    while True:
        if single < position:
            single = rest.find("'", position) % (end + 1)
        if double < position:
            double = rest.find('"', position) % (end + 1)
        quote = min(double, single)
        first, *others = rest[position:quote].split(" ")
        word += first
        for piece in others:
            if word:
                words.append(word)
            word = piece
        if quote == end:
            break
        position = rest.find(rest[quote], quote + 1) + 1 or end
        word += rest[quote:position]
    if word:
        words.append(word)
    return words


def json_array(rest: str) -> tuple[str, ...] | None:
    """Return the strings of a JSON array; None when ``rest`` is not exactly one JSON array.

    Raises:
        DockerfileSyntaxError: it is one, but not of strings only.
    """
    if not rest.startswith("["):
        return None
    try:
        items = _decoder().decode(rest)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(item, str) for item in items):
        raise DockerfileSyntaxError(
            "when using JSON array syntax, arrays must be comprised of strings only"
        )
    return tuple(map(_without_lone_surrogates, items))


@cache
def _decoder() -> "JSONDecoder":
    import json

    return json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):  # Go cannot hold it, and takes the shell form
        raise ValueError(f"{text} is too large")
    return number


def _without_lone_surrogates(text: str) -> str:
    if text.isascii():
        return text
    return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)


_Split: TypeAlias = tuple[tuple[str, ...], bool]
"""Words, and whether they come from a JSON array."""


def _string(rest: str, _escape: str) -> _Split:
    return (rest,), False


def _list(rest: str, _escape: str) -> _Split:
    return tuple(split_at_blanks(rest)), False


def _json_or_string(rest: str, _escape: str) -> _Split:
    items = json_array(rest)
    return ((rest,), False) if items is None else (items, True)


def _json_or_list(rest: str, _escape: str) -> _Split:
    items = json_array(rest)
    return (tuple(split_at_blanks(rest)), False) if items is None else (items, True)


def _words(rest: str, escape: str) -> _Split:
    return split_words(rest, escape), False


def _environment(rest: str, escape: str) -> _Split:
    return _pairs(rest, escape, "ENV"), False


def _labels(rest: str, escape: str) -> _Split:
    return _pairs(rest, escape, "LABEL"), False


def _pairs(rest: str, escape: str, name: str) -> tuple[str, ...]:
    words = split_words(rest, escape)
    if not words:
        return ()
    if "=" not in words[0]:
        key, value = split_first(rest)
        if not value:
            raise DockerfileSyntaxError(
                f"{name} must have two arguments", hint=f"Write {name} {key}=value."
            )
        return key, value, ""
    triples: list[str] = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            from imagekit.dockerfile.quoting import go_quote

            raise DockerfileSyntaxError(
                f"Syntax error - can't find = in {go_quote(word)}. Must be of the form: name=value",
                hint="Put the value in quotes if it contains blanks.",
            )
        triples += (key, value, "=")
    return tuple(triples)


def _health(rest: str, escape: str) -> _Split:
    end = next((index for index, char in enumerate(rest) if char in SPACE), len(rest))
    command = rest[end:].lstrip(SPACE)
    words, json = _json_or_string(command, escape) if command else ((), False)
    return (rest[:end], *words), json


def _trigger(rest: str, escape: str, depth: int) -> SplitLine | None:
    if not rest:
        return None
    if depth > _MAX_DEPTH:  # refused later; thousands of them must not recurse here
        return SplitLine("ONBUILD", "ONBUILD")
    return split_line(rest, escape, depth=depth)


_SPLITTERS: dict[str, Callable[[str, str], _Split]] = {
    "ADD": _json_or_list,
    "ARG": _words,
    "CMD": _json_or_string,
    "COPY": _json_or_list,
    "ENTRYPOINT": _json_or_string,
    "ENV": _environment,
    "EXPOSE": _list,
    "FROM": _list,
    "HEALTHCHECK": _health,
    "LABEL": _labels,
    "MAINTAINER": _string,
    "RUN": _json_or_string,
    "SHELL": _json_or_string,
    "STOPSIGNAL": _string,
    "USER": _string,
    "VOLUME": _json_or_list,
    "WORKDIR": _string,
}

INSTRUCTION_NAMES = (*sorted((*_SPLITTERS, "ONBUILD")),)
"""All names, upper case, sorted."""
