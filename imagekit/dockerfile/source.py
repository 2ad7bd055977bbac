"""Physical lines to logical lines: comments, blank lines, continuations, heredoc bodies.

Source: Dockerfile reference, "Format" and "Here-Documents"; BuildKit frontend/dockerfile/parser.
"""

from typing import TYPE_CHECKING, NamedTuple

from imagekit.dockerfile.characters import SPACE
from imagekit.dockerfile.directives import DirectiveReader, Directives
from imagekit.dockerfile.errors import DockerfileSyntaxError, Span
from imagekit.dockerfile.instructions import Heredoc

if TYPE_CHECKING:
    from imagekit.dockerfile.heredocs import HeredocWord

_MAX_LINE_BYTES = 65536
"""With the newline; a last line without one must be a byte shorter still, as Go's scanner wants."""

_MAX_PIECES = 65536
"""BuildKit has no such limit, but no kernel takes a command that long either."""


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


class SourceReader:
    """Reads the logical lines of one file in order; heredoc bodies on demand, between them."""

    def __init__(self, text: str, *, file_name: str) -> None:
        text = text.removeprefix("\ufeff")
        self.file_name = file_name
        self._lines = text.split("\n")
        if self._lines[-1] == "":
            del self._lines[-1]
        self._next = 0
        self._is_past_directives = False
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
        if first == last:
            return self._lines[first - 1]
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
            if not self._is_past_directives:
                self._is_past_directives = True
                self._directives.accept(line, self._next)
            if line:
                return self._continued(line)
        return None

    def heredoc(self, word: "HeredocWord", *, first: int) -> Heredoc:
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
                    name=word.name,
                    body=body,
                    expand=word.expand,
                    strip_tabs=word.strip_tabs,
                    span=self.span(start + 1, self._next),
                )
        raise DockerfileSyntaxError(
            "unterminated heredoc",
            span=self.span(first, self._next),
            hint=f"End the document with a line that holds only {word.name}.",
        )

    def _comment(self, line: str) -> None:
        try:
            is_directive = self._directives.accept(line, self._next)
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
            if len(pieces) > _MAX_PIECES:
                raise DockerfileSyntaxError(
                    f"instruction is continued over more than {_MAX_PIECES} lines",
                    span=self.span(first, self._next),
                    hint="Move long text to a file in the build context.",
                )
        comments: tuple[str, ...] = ()
        if self._comments:
            comments = tuple(self._comments)
            self._comments.clear()
        text = piece if len(pieces) == 1 else "".join(pieces)
        return LogicalLine(text, first, self._next, comments, has_empty)

    def _check_line_lengths(self) -> None:
        for number, line in enumerate(self._lines, start=1):
            if len(line) < _MAX_LINE_BYTES // 4:
                continue
            size = len(line)
            if size < _MAX_LINE_BYTES:
                size = len(line.encode("utf-8", "surrogatepass"))
            if size >= _MAX_LINE_BYTES:
                raise DockerfileSyntaxError(
                    f"dockerfile line greater than max allowed size of {_MAX_LINE_BYTES - 1}",
                    span=self.span(number),
                    hint="Break the line with the escape character, or move it to a file.",
                )


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
