"""The text of a Dockerfile to stages of checked instructions.

Source: BuildKit frontend/dockerfile/parser and instructions.
"""

from msgspec.structs import replace

from imagekit.dockerfile.callable_module import make_callable
from imagekit.dockerfile.document import Dockerfile, ParseWarning, Stage
from imagekit.dockerfile.errors import DockerfileError, DockerfileSyntaxError, Span
from imagekit.dockerfile.instructions import AnyInstruction, Arg, From
from imagekit.dockerfile.source import SourceReader
from imagekit.dockerfile.statements import Statement, read_statements
from imagekit.dockerfile.typed import NO_TRIGGERS, UnknownInstructionError, typed

_MAX_ERRORS = 20

make_callable(__name__)


def parse(text: str | bytes, *, file_name: str = "Dockerfile") -> Dockerfile:
    """Return the stages of a Dockerfile. Pure: nothing is read, expanded or looked up.

    ``text`` may be bytes in UTF-8. ``file_name`` is for messages and spans only.

    Raises:
        DockerfileSyntaxError: the text is not a Dockerfile; its span says where.
    """
    source = text.decode("utf-8", "surrogateescape") if isinstance(text, bytes) else text
    whole = Span(file_name=file_name, first_line=1, last_line=1)
    if not source:
        raise DockerfileSyntaxError(
            "the Dockerfile cannot be empty", span=whole, hint="Begin with a FROM instruction."
        )
    reader = SourceReader(source, file_name=file_name)
    errors: list[DockerfileError] = []
    statements = list(read_statements(reader, errors))
    if not statements and not errors:
        raise DockerfileSyntaxError(
            "file with no instructions", span=whole, hint="Begin with a FROM instruction."
        )
    found = _Collected()
    for statement in statements:
        found.add(statement)
    errors += found.errors
    if not errors and not found.stages:
        errors.append(
            DockerfileSyntaxError(
                "dockerfile contains no stages to build",
                span=whole,
                hint="Add a FROM instruction.",
            )
        )
    if errors:
        raise _combined(errors)
    return Dockerfile(
        file_name=file_name,
        text=source,
        directives=reader.directives,
        global_args=tuple(found.global_args),
        stages=_numbered(found.stages),
        warnings=tuple(found.warnings),
    )


class _Collected:
    """What the statements of a file come to, and what is wrong with them."""

    def __init__(self) -> None:
        self.global_args: list[Arg] = []
        self.stages: list[tuple[From, list[AnyInstruction]]] = []
        self.warnings: list[ParseWarning] = []
        self.errors: list[DockerfileError] = []
        self._has_from = False
        self._last_is_unknown = False

    def add(self, statement: Statement) -> None:
        """Take the next statement. Errors that follow from earlier ones are not noted."""
        if statement.has_empty_continuation:
            self.warnings.append(_empty_continuation(statement))
        self._has_from = self._has_from or statement.line.name == "FROM"
        try:
            if not statement.origin.text.isprintable():
                _check_characters(statement)
            instruction = _instruction(statement)
        except DockerfileError as error:
            # After one unknown name the next is likely the rest of the same lost text.
            is_unknown = isinstance(error, UnknownInstructionError)
            if not (is_unknown and self._last_is_unknown):
                self.errors.append(error)
            self._last_is_unknown = is_unknown
            return
        self._last_is_unknown = False
        if isinstance(instruction, From):
            self.stages.append((instruction, []))
        elif self.stages:
            self.stages[-1][1].append(instruction)
        elif isinstance(instruction, Arg):
            self.global_args.append(instruction)
        elif not self._has_from:
            self._has_from = True
            self.errors.append(
                DockerfileSyntaxError(
                    "no build stage in current context",
                    span=statement.origin.span,
                    hint="Put a FROM instruction before it; only ARG may come first.",
                )
            )


def _combined(errors: list[DockerfileError]) -> DockerfileError:
    """The first error, which is the one that BuildKit reports, with the others in it."""
    first, *others = errors
    by_line = sorted(others, key=lambda error: error.span.first_line if error.span else 0)
    first.others = tuple(by_line[: _MAX_ERRORS - 1])
    return first


def parse_trigger(text: str, *, span: Span) -> AnyInstruction:
    r"""Return the instruction in an ONBUILD trigger, as stored in an image configuration.

    The escape character is always ``\``. ``span`` is the FROM line that ran into the trigger;
    errors and the instruction carry it.

    Raises:
        DockerfileSyntaxError: it is not exactly one valid instruction.
    """
    reader = SourceReader(text, file_name=span.file_name)
    try:
        statements = list(read_statements(reader))
    except DockerfileError as error:
        raise DockerfileSyntaxError(
            f"invalid ONBUILD trigger {_quoted(text)}: {error.reason}", span=span
        ) from error
    if len(statements) != 1:
        raise DockerfileSyntaxError(
            f"invalid ONBUILD trigger {_quoted(text)}: not a single expression",
            span=span,
        )
    statement = statements[0]
    if statement.line.name in ("ONBUILD", *NO_TRIGGERS):
        raise DockerfileSyntaxError(
            f"{statement.line.name} isn't allowed as an ONBUILD trigger", span=span
        )
    origin = replace(statement.origin, span=span, comments=())
    return _instruction(Statement(line=statement.line, origin=origin, heredocs=statement.heredocs))


def _quoted(text: str) -> str:
    from imagekit.dockerfile.quoting import go_quote

    return go_quote(text)


def _numbered(stages: list[tuple[From, list[AnyInstruction]]]) -> tuple[Stage, ...]:
    return tuple(
        Stage(
            index=index,
            name=base.alias.lower() if base.alias else None,
            base=base,
            instructions=tuple(instructions),
            display_name=base.alias.lower()
            if base.alias
            else (f"stage-{index}" if len(stages) > 1 else ""),
        )
        for index, (base, instructions) in enumerate(stages)
    )


def _empty_continuation(statement: Statement) -> ParseWarning:
    span = statement.origin.span
    return ParseWarning(
        rule="NoEmptyContinuation",
        message="Empty continuation line",
        span=Span(file_name=span.file_name, first_line=span.last_line, last_line=span.last_line),
    )


def _check_characters(statement: Statement) -> None:
    """Refuse what no kernel and no image configuration can hold: NUL, and bytes not UTF-8."""
    text = statement.origin.text
    if "\0" in text:
        raise DockerfileSyntaxError(
            "instruction contains a NUL character", span=statement.origin.span
        )
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise DockerfileSyntaxError("instruction is not valid UTF-8", span=statement.origin.span)


def _instruction(statement: Statement) -> AnyInstruction:
    try:
        return typed(statement)
    except DockerfileError as error:
        prefix = f"dockerfile parse error on line {statement.origin.span.first_line}: "
        raise error.located(_place(statement, error), prefix=prefix) from error.__cause__


def _place(statement: Statement, error: DockerfileError) -> Span:
    """The statement's span, with the column of what is complained of, if its first line has it."""
    origin = statement.origin
    line = origin.source.split("\n", 1)[0]
    named = [flag.partition("=")[0] for flag in origin.flags]
    sought = [name for name in named if name in error.reason]
    sought += error.reason.split('"')[1:2]
    for text in (*sought, origin.keyword):
        column = line.find(text) + 1 if text else 0
        if column:
            return replace(origin.span, column=column)
    return origin.span
