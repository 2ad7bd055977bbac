"""The first look: how each instruction of the file is spelled, in unused stages too.

Most of it happens while BuildKit parses, so what stands before a mistake is still reported.

Source: BuildKit frontend/dockerfile/instructions/parse.go (ParseInstructionWithLinter) and
frontend/dockerfile/dockerfile2llb/validations.go (validateStageNames, validateCommandCasing).
"""

from collections.abc import Iterable, Sequence

from imagekit.dockerfile.document import Dockerfile
from imagekit.dockerfile.errors import DockerfileError, Span
from imagekit.dockerfile.instructions import Instruction
from imagekit.dockerfile.lint import rules
from imagekit.dockerfile.lint.findings import Findings
from imagekit.dockerfile.lint.options import CheckOptions, comment_check_options
from imagekit.dockerfile.quoting import go_quote
from imagekit.dockerfile.statements import Statement

_RESERVED_NAMES = ("context", "scratch")


class Checks:
    """Where findings go: only those of rules that are on, for the file or for one instruction."""

    def __init__(self, findings: Findings, options: CheckOptions) -> None:
        self._findings = findings
        self.options = options

    def above(self, comments: tuple[str, ...]) -> "Checks":
        """Return the checks for the instruction below ``comments``."""
        if not comments:
            return self
        options = comment_check_options(comments)
        return Checks(self._findings, self.options.merged(options))

    def report(self, rule: rules.Rule, span: Span, message: str) -> None:
        """Add a finding if ``rule`` is on."""
        if self.options.runs(rule):
            self._findings.add(rule, span, message)


def check_continuations(statements: Iterable[Statement], checks: Checks) -> None:
    """NoEmptyContinuation: once per instruction, at its last line."""
    for statement in statements:
        if statement.has_empty_continuation:
            span = statement.origin.span
            last = Span(
                file_name=span.file_name, first_line=span.last_line, last_line=span.last_line
            )
            checks.report(rules.NO_EMPTY_CONTINUATION, last, "Empty continuation line")


def check_statements(
    statements: Sequence[Statement], checks: Checks, *, error: DockerfileError | None
) -> None:
    """Rules on single statements, as far as the one that ``error`` is about, itself included."""
    bad = None if error is None else _place_of(error, statements)
    for index, statement in enumerate(statements):
        own = checks.above(statement.origin.comments)
        words = statement.line.words
        match statement.line.name:
            case "MAINTAINER":
                own.report(
                    rules.MAINTAINER_DEPRECATED,
                    statement.origin.span,
                    "Maintainer instruction is deprecated in favor of using label",
                )
            case "FROM":
                _check_from(statement, own)
                if index != bad and len(words) == 3:
                    _check_description("FROM", [words[2].lower()], statement, own)
            case "ARG" if index != bad:
                names = [word.partition("=")[0] for word in words]
                _check_description("ARG", names, statement, own)
            case _:
                pass
        if index == bad:
            return


def _place_of(error: DockerfileError, statements: Sequence[Statement]) -> int | None:
    """The index of the statement that parsing stopped at; None when it read them all."""
    if not error.prefix and all(statement.line.name == "ARG" for statement in statements):
        return None  # no stages: the whole file is to blame
    lines = [statement.origin.span.first_line for statement in statements]
    line = error.span.first_line if error.span is not None else 0
    return lines.index(line) if line in lines else None


def _check_from(statement: Statement, checks: Checks) -> None:
    line, span = statement.line, statement.origin.span
    if len(line.words) == 3 and line.words[2] != line.words[2].lower():
        checks.report(
            rules.STAGE_NAME_CASING, span, f"Stage name '{line.words[2]}' should be lowercase"
        )
    if len(line.words) < 3:
        return
    keyword, word = line.keyword, line.words[1]
    if keyword == keyword.lower():
        matches = word == word.lower()
    elif keyword == keyword.upper():
        matches = word == word.upper()
    else:  # ConsistentInstructionCasing has its say about FROM itself
        matches = True
    if not matches:
        checks.report(
            rules.FROM_AS_CASING, span, f"'{word}' and '{keyword}' keywords' casing do not match"
        )


def _check_description(
    instruction: str, names: list[str], statement: Statement, checks: Checks
) -> None:
    comments = statement.origin.comments
    if not comments or not names or comments[-1].partition(" ")[0] in names:
        return
    example = names[0] if len(names) == 1 else "<arg_key>"
    checks.report(
        rules.INVALID_DEFINITION_DESCRIPTION,
        statement.origin.span,
        f"Comment for {instruction} should follow the format: `# {example} <description>`",
    )


def check_stage_names(dockerfile: Dockerfile, checks: Checks) -> None:
    """ReservedStageName and DuplicateStageName."""
    seen: set[str] = set()
    for stage in dockerfile.stages:
        if stage.name is None:
            continue
        if stage.name in _RESERVED_NAMES:
            checks.report(
                rules.RESERVED_STAGE_NAME,
                stage.base.span,
                f"Stage name should not use the same name as reserved stage {go_quote(stage.name)}",
            )
        if stage.name in seen:
            checks.report(
                rules.DUPLICATE_STAGE_NAME,
                stage.base.span,
                f"Duplicate stage name {go_quote(stage.name)}, stage names should be unique",
            )
        seen.add(stage.name)


def majority_is_lower(dockerfile: Dockerfile) -> bool:
    """Return whether more instructions are all lower than all upper; global ARGs do not vote."""
    keywords = [item.origin.keyword for item in _in_stages(dockerfile)]
    lower = sum(keyword == keyword.lower() for keyword in keywords)
    upper = sum(keyword == keyword.upper() for keyword in keywords)
    return lower > upper


def check_casing(dockerfile: Dockerfile, checks: Checks) -> None:
    """ConsistentInstructionCasing, for all instructions of all stages."""
    is_lower = majority_is_lower(dockerfile)
    casing = "lowercase" if is_lower else "uppercase"
    for item in _in_stages(dockerfile):
        keyword = item.origin.keyword
        if keyword != (keyword.lower() if is_lower else keyword.upper()):
            checks.report(
                rules.CONSISTENT_INSTRUCTION_CASING,
                item.span,
                f"Command '{keyword}' should match the case of the command majority ({casing})",
            )


def _in_stages(dockerfile: Dockerfile) -> Iterable[Instruction]:
    for stage in dockerfile.stages:
        yield stage.base
        yield from stage.instructions
