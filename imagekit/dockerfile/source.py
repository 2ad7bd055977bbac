"""Physical lines to logical lines: comments, blank lines, continuations, heredoc bodies.

Source: Dockerfile reference, "Format" and "Here-Documents"; BuildKit frontend/dockerfile/parser.
"""

from typing import NamedTuple

import msgspec

from imagekit.dockerfile.characters import SPACE
from imagekit.dockerfile.directives import DirectiveReader, Directives
from imagekit.dockerfile.errors import DockerfileSyntaxError, ExpansionError, Span
from imagekit.dockerfile.instructions import Heredoc
from imagekit.dockerfile.words import lex_words

_MAX_LINE_BYTES = 65536
_QUOTES = "'\""


class LogicalLine(NamedTuple):
    """One instruction's text, joined from the lines ``first`` to ``last`` (1-based).

    ``comments`` are the comment lines since the previous instruction, without ``#``. A named tuple
    because there is one per line: a frozen dataclass takes five times as long to make.
    """

    text: str
    first: int
    last: int
    comments: tuple[str, ...]
    has_empty_continuation: bool


class HeredocWord(msgspec.Struct, frozen=True, kw_only=True):
    """The announcement of a heredoc: ``<<NAME``, ``<<-NAME``, ``<<"NAME"``, ``3<<NAME``."""

    name: str
    expand: bool
    strip_tabs: bool


class SourceReader:
    """Reads the logical lines of one file in order; heredoc bodies on demand, between them."""

    def __init__(self, text: str, *, file_name: str) -> None:
        text = text.removeprefix("\ufeff")
        self.file_name = file_name
        self._lines = text.split("\n")
        self._ends_in_newline = self._lines[-1] == ""
        if self._ends_in_newline:
            del self._lines[-1]
        self._next = 0
        self._directives = DirectiveReader()
        self._comments: list[str] = []
        if len(text) >= _MAX_LINE_BYTES // 4:
            self._check_line_lengths()

    @property
    def escape(self) -> str:
        """The escape character, as far as it is known."""
        return self._directives.escape

    @property
    def directives(self) -> Directives:
        """The parser directives; complete once the first logical line has been read."""
        return self._directives.directives()

    @property
    def line_number(self) -> int:
        """How many physical lines have been consumed."""
        return self._next

    def span(self, first: int, last: int | None = None, *, column: int | None = None) -> Span:
        """Return a span of this file."""
        return Span(
            file_name=self.file_name, first_line=first, last_line=last or first, column=column
        )

    def source(self, first: int, last: int) -> str:
        """Return physical lines as they stand, without the last newline."""
        return "\n".join(self._lines[first - 1 : last])

    def next_line(self) -> LogicalLine | None:
        """Return the next instruction's text; None at the end of the file.

        Raises:
            DockerfileSyntaxError: a parser directive is malformed.
        """
        while self._next < len(self._lines):
            line = self._lines[self._next].rstrip("\r").lstrip(SPACE)
            self._next += 1
            if line.startswith("#"):
                self._comment(line)
                continue
            self._directives.accept(line)
            if line:
                return self._continued(line)
        return None

    def heredoc(self, word: HeredocWord, *, first: int) -> Heredoc:
        """Return the document announced by ``word``, whose body begins at the current line.

        Raises:
            DockerfileSyntaxError: the file ends before the document does.
        """
        start = self._next
        lines = self._lines
        while self._next < len(lines):
            line = lines[self._next].rstrip("\r")
            self._next += 1
            if (line.lstrip("\t") if word.strip_tabs else line) == word.name:
                body = "".join(f"{line}\n" for line in lines[start : self._next - 1])
                return Heredoc(
                    name=word.name, body=body, expand=word.expand, strip_tabs=word.strip_tabs
                )
        raise DockerfileSyntaxError(
            "unterminated heredoc",
            span=self.span(first, self._next),
            hint=f"End the document with a line that holds only {word.name}.",
        )

    def _comment(self, line: str) -> None:
        try:
            is_directive = self._directives.accept(line)
        except DockerfileSyntaxError as error:
            raise error.located(self.span(self._next)) from None
        if is_directive:
            return
        comment = line[1:].strip(SPACE)
        if comment:
            self._comments.append(comment)
        else:
            self._comments.clear()

    def _continued(self, line: str) -> LogicalLine:
        first = self._next
        escape = self._directives.escape
        piece, continues = _continuation(line, escape)
        pieces = [piece]
        has_empty = False
        while continues and self._next < len(self._lines):
            line = self._lines[self._next].rstrip("\r")
            self._next += 1
            stripped = line.lstrip(SPACE)
            if stripped.startswith("#"):
                continue
            if not stripped:
                has_empty = True
                continue
            piece, continues = _continuation(line, escape)
            pieces.append(piece)
        comments = tuple(self._comments)
        self._comments.clear()
        return LogicalLine(
            text="".join(pieces),
            first=first,
            last=self._next,
            comments=comments,
            has_empty_continuation=has_empty,
        )

    def _check_line_lengths(self) -> None:
        last = len(self._lines)
        for number, line in enumerate(self._lines, start=1):
            if len(line) < _MAX_LINE_BYTES // 4:
                continue
            newline = number < last or self._ends_in_newline
            if len(line.encode("utf-8", "surrogatepass")) + newline > _MAX_LINE_BYTES:
                raise DockerfileSyntaxError(
                    f"dockerfile line greater than max allowed size of {_MAX_LINE_BYTES - 1}",
                    span=self.span(number),
                )


def heredoc_words(line: str) -> tuple[HeredocWord, ...]:
    """Return the heredocs that a logical line announces; none when the line is unbalanced."""
    try:
        words = lex_words(line)
    except ExpansionError:
        return ()
    found = (heredoc_word(word) for word in words)
    return tuple(word for word in found if word is not None)


def heredoc_word(word: str) -> HeredocWord | None:
    """Return what ``word`` announces when it is ``[fd]<<[-][blanks]delimiter``, else None."""
    descriptor, angles, rest = word.partition("<<")
    if not angles or "<" in rest or not _is_file_descriptor(descriptor):
        return None
    strip_tabs = rest.startswith("-")
    rest = rest[strip_tabs:].lstrip("\t\n\f\r ")
    try:
        pieces = lex_words(rest)
    except ExpansionError:
        return None
    if len(pieces) != 1:
        return None
    name, quoted = _without_quotes(pieces[0])
    return HeredocWord(name=name, expand=not quoted, strip_tabs=strip_tabs)


def _is_file_descriptor(text: str) -> bool:
    return not text or (text.isascii() and text.isdecimal())


def _without_quotes(word: str) -> tuple[str, bool]:
    name = word
    for quote in _QUOTES:
        name = name.replace(quote, "")
    return name, name != word


def _continuation(line: str, escape: str) -> tuple[str, bool]:
    r"""Return the line without its continuation mark, and whether it had one.

    Two marks in a row are no continuation, nor are three: nothing is counted.
    """
    if escape not in line:
        return line, False
    bare = line.rstrip(" \t")
    if not bare.endswith(escape) or bare.endswith(escape * 2):
        return line, False
    return bare[:-1], True
