"""Logical lines to statements: a name, flags, arguments and heredocs, not yet understood.

Each instruction splits the rest of its line in its own way; the table ``_SPLITTERS`` says which.

Source: BuildKit frontend/dockerfile/parser/line_parsers.go and split_command.go.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from imagekit.dockerfile.characters import SPACE, split_at_blanks
from imagekit.dockerfile.errors import DockerfileError, DockerfileSyntaxError, Span
from imagekit.dockerfile.instructions import Heredoc
from imagekit.dockerfile.quoting import go_quote
from imagekit.dockerfile.source import LogicalLine, SourceReader, heredoc_words

_HEREDOC_INSTRUCTIONS = ("RUN", "COPY", "ADD")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """The split rest of a line. ``json`` tells a JSON array from words.

    ENV and LABEL have three words per pair: key, value, and ``=`` or nothing.
    """

    words: tuple[str, ...] = ()
    json: bool = False
    trigger: "Statement | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One instruction, split but not checked. ``name`` is upper case and may be unknown."""

    keyword: str
    name: str
    flags: tuple[str, ...]
    arguments: Arguments
    text: str
    span: Span
    source: str = ""
    comments: tuple[str, ...] = ()
    heredocs: tuple[Heredoc, ...] = ()
    has_empty_continuation: bool = False


def read_statements(reader: SourceReader) -> Iterator[Statement]:
    """Yield the statements of a file in order.

    Raises:
        DockerfileSyntaxError: a line cannot be split, or a heredoc does not end.
    """
    while (line := reader.next_line()) is not None:
        yield _statement(line, reader)


def split_statement(text: str, *, span: Span, escape: str) -> Statement:
    """Return the statement in one logical line.

    Raises:
        DockerfileSyntaxError: ENV, LABEL or a JSON array is malformed.
    """
    pieces = split_at_blanks(text.strip(SPACE), 2)
    keyword = pieces[0]
    rest = pieces[1] if len(pieces) == 2 else ""
    flags: tuple[str, ...] = ()
    if rest.lstrip(SPACE).startswith("--"):
        flags, rest = split_flags(rest, escape)
    name = keyword.upper() if keyword.isascii() else keyword
    splitter = _SPLITTERS.get(name)
    try:
        arguments = splitter(rest.strip(SPACE), escape, span) if splitter else Arguments()
    except DockerfileError as error:
        raise error.located(span) from None
    return Statement(
        keyword=keyword, name=name, flags=flags, arguments=arguments, text=text, span=span
    )


def _statement(line: LogicalLine, reader: SourceReader) -> Statement:
    directives = reader.directives
    first = line.first
    span = reader.span(first, line.last)
    statement = split_statement(line.text, span=span, escape=directives.escape)
    heredocs: tuple[Heredoc, ...] = ()
    last = line.last
    if "<<" in line.text and _may_announce_heredocs(statement):
        heredocs = tuple(reader.heredoc(word, first=first) for word in heredoc_words(line.text))
        last = reader.line_number
    return Statement(
        keyword=statement.keyword,
        name=statement.name,
        flags=statement.flags,
        arguments=statement.arguments,
        text=line.text,
        span=reader.span(first, last),
        source=reader.source(first, last),
        comments=line.comments,
        heredocs=heredocs,
        has_empty_continuation=line.has_empty_continuation,
    )


def _may_announce_heredocs(statement: Statement) -> bool:
    inner = statement.arguments.trigger
    if statement.name == "ONBUILD" and inner is not None:
        statement = inner
    return statement.name in _HEREDOC_INSTRUCTIONS and not statement.arguments.json


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
    if "'" not in rest and '"' not in rest and escape not in rest and rest.isprintable():
        return tuple(rest.split(" ")) if "  " not in rest else tuple(filter(None, rest.split(" ")))
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


def json_array(rest: str) -> tuple[str, ...] | None:
    """Return the strings of a JSON array; None when ``rest`` is not exactly one JSON array.

    Raises:
        DockerfileSyntaxError: it is one, but not of strings only.
    """
    if not rest.startswith("["):
        return None
    import json

    try:
        items = json.loads(rest, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(item, str) for item in items):
        raise DockerfileSyntaxError(
            "when using JSON array syntax, arrays must be comprised of strings only"
        )
    return tuple(map(_without_lone_surrogates, items))


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _without_lone_surrogates(text: str) -> str:
    if text.isascii():
        return text
    return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)


def _string(rest: str, _escape: str, _span: Span) -> Arguments:
    return Arguments(words=(rest,) if rest else ())


def _list(rest: str, _escape: str, _span: Span) -> Arguments:
    return Arguments(words=tuple(split_at_blanks(rest)) if rest else ())


def _json_or_string(rest: str, _escape: str, _span: Span) -> Arguments:
    items = json_array(rest)
    if items is not None:
        return Arguments(words=items, json=True)
    return Arguments(words=(rest,) if rest else ())


def _json_or_list(rest: str, _escape: str, _span: Span) -> Arguments:
    items = json_array(rest)
    if items is not None:
        return Arguments(words=items, json=True)
    return Arguments(words=tuple(split_at_blanks(rest)) if rest else ())


def _words(rest: str, escape: str, _span: Span) -> Arguments:
    return Arguments(words=split_words(rest, escape))


def _environment(rest: str, escape: str, _span: Span) -> Arguments:
    return _pairs(rest, escape, "ENV")


def _labels(rest: str, escape: str, _span: Span) -> Arguments:
    return _pairs(rest, escape, "LABEL")


def _pairs(rest: str, escape: str, name: str) -> Arguments:
    words = split_words(rest, escape)
    if not words:
        return Arguments()
    if "=" not in words[0]:
        pieces = split_at_blanks(rest, 2)
        if len(pieces) < 2:
            raise DockerfileSyntaxError(
                f"{name} must have two arguments", hint=f"Write {name} {pieces[0]}=value."
            )
        return Arguments(words=(pieces[0], pieces[1], ""))
    triples: list[str] = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise DockerfileSyntaxError(
                f"Syntax error - can't find = in {go_quote(word)}. Must be of the form: name=value",
                hint="Put the value in quotes if it contains blanks.",
            )
        triples += (key, value, "=")
    return Arguments(words=tuple(triples))


def _health(rest: str, escape: str, span: Span) -> Arguments:
    end = next((index for index, char in enumerate(rest) if char in SPACE), len(rest))
    if end == 0:
        return Arguments()
    command = _json_or_string(rest[end:].lstrip(SPACE), escape, span)
    return Arguments(words=(rest[:end], *command.words), json=command.json)


def _trigger(rest: str, escape: str, span: Span) -> Arguments:
    if not rest:
        return Arguments()
    keyword = split_at_blanks(rest, 2)[0]
    if keyword.upper() == "ONBUILD":  # refused later; thousands of them must not recurse here
        return Arguments(
            trigger=Statement(
                keyword=keyword,
                name="ONBUILD",
                flags=(),
                arguments=Arguments(),
                text=rest,
                span=span,
            )
        )
    return Arguments(trigger=split_statement(rest, span=span, escape=escape))


_SPLITTERS: dict[str, Callable[[str, str, Span], Arguments]] = {
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
    "ONBUILD": _trigger,
    "RUN": _json_or_string,
    "SHELL": _json_or_string,
    "STOPSIGNAL": _string,
    "USER": _string,
    "VOLUME": _json_or_list,
    "WORKDIR": _string,
}
