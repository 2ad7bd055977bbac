"""What is wrong with a Dockerfile, and where.

DockerfileError             anything about a Dockerfile or a .dockerignore file
├── DockerfileSyntaxError   the text is not a Dockerfile
├── ExpansionError          a word with variables cannot be expanded
├── StageError              a stage is missing, later than its use, or depends on itself
├── MountError              RUN --mount cannot be understood
├── ValueFormatError        a port, mode, duration, signal or similar value is malformed
└── PatternError            a .dockerignore or --exclude pattern is malformed
"""

from typing import Self

import msgspec

from imagekit.base.errors import UserError

_CONTEXT_LINES_OF_ONE_LINE = 2
_CONTEXT_LINES_OF_MANY = 1
_RULE = "-" * 20
_MAX_SHOWN = 100
_SHOWN_LAST = 5
_MAX_WIDTH = 2000
_OMISSION = "     | ..."


class Span(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where something stands: 1-based lines, both inclusive.

    ``column`` is 1-based, counts characters, belongs to ``first_line``, and is None when only the
    lines are known.
    """

    file_name: str
    first_line: int
    last_line: int
    column: int | None = None

    def __str__(self) -> str:
        return f"{self.file_name}:{self.first_line}"


class DockerfileError(UserError):
    """A Dockerfile cannot be used as it stands.

    ``message`` is the whole text; ``reason`` is the same without a prefix such as "dockerfile parse
    error on line 3: ". ``span`` is None only until somebody who knows the place calls ``located``.
    ``others`` are further errors of the same file, in the order of their lines; the error that
    carries them is the one that BuildKit reports.
    """

    code = "dockerfile"

    def __init__(
        self,
        reason: str,
        *,
        span: Span | None = None,
        hint: str | None = None,
        prefix: str = "",
    ) -> None:
        super().__init__(prefix + reason, hint=hint)
        self.reason = reason
        self.span = span
        self.prefix = prefix
        self.others: tuple[DockerfileError, ...] = ()

    def located(self, span: Span, *, prefix: str = "") -> Self:
        """Return this error at ``span``; one that already has a place is returned unchanged."""
        if self.span is not None:
            return self
        return type(self)(self.reason, span=span, hint=self.hint, prefix=prefix or self.prefix)


class DockerfileSyntaxError(DockerfileError):
    """The text is not a Dockerfile: an unknown instruction or flag, a wrong number of arguments."""

    code = "dockerfile-syntax"


class ExpansionError(DockerfileError):
    """A word is unbalanced, uses an unknown modifier, or demands a variable that is not set."""

    code = "dockerfile-expansion"


class StageError(DockerfileError):
    """A stage does not exist, is used before it is defined, or depends on itself."""

    code = "dockerfile-stage"


class MountError(DockerfileError):
    """The value of RUN --mount is not a valid mount."""

    code = "dockerfile-mount"


class ValueFormatError(DockerfileError):
    """A port, mode, duration or signal is malformed."""

    code = "dockerfile-value"


class PatternError(DockerfileError):
    """A pattern of .dockerignore, --exclude or a wildcard is malformed."""

    code = "dockerignore-pattern"


def render_excerpt(text: str, span: Span) -> str:
    """Return the lines round ``span`` with its own lines marked, without a final newline.

    One line of ``span`` shows two lines of context on each side, several show one. A caret line
    follows the first marked line when the column is known. Of very many lines the middle is left
    out, of a very long line the end.
    """
    lines = text.removeprefix("\ufeff").split("\n")
    first = max(1, min(span.first_line, len(lines)))
    last = max(first, min(span.last_line, len(lines)))
    context = _CONTEXT_LINES_OF_ONE_LINE if first == last else _CONTEXT_LINES_OF_MANY
    rendered = [f"{span.file_name}:{first}", _RULE]
    shown = range(max(1, first - context), min(len(lines), last + context) + 1)
    for number in (*shown[:_MAX_SHOWN], *shown[_MAX_SHOWN:][-_SHOWN_LAST:]):
        if len(shown) > _MAX_SHOWN + _SHOWN_LAST and number == shown[-_SHOWN_LAST]:
            rendered.append(_OMISSION)
        line = lines[number - 1].rstrip("\r")
        if len(line) > _MAX_WIDTH:
            line = f"{line[:_MAX_WIDTH]}..."
        mark = ">>>" if first <= number <= last else "   "
        rendered.append(f" {number:3d} | {mark} {line}")
        if number == first and span.column is not None and span.column <= _MAX_WIDTH:
            rendered.append(f"     |     {_blank(line[: span.column - 1])}^")
    rendered.append(_RULE)
    return "\n".join(rendered)


def render_errors(error: DockerfileError, text: str) -> str:
    """Return ``error`` and its ``others``: message, hint and excerpt of each, a blank line between.

    ``text`` is the whole file that they are about.
    """
    blocks: list[str] = []
    for one in (error, *error.others):
        lines = [one.message]
        if one.hint:
            lines.append(f"hint: {one.hint}")
        if one.span is not None:
            lines.append(render_excerpt(text, one.span))
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _blank(text: str) -> str:
    return "".join("\t" if character == "\t" else " " for character in text)
