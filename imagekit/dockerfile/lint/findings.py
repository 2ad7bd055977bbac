"""What linting a file gives: findings, and the error that would stop the build."""

import msgspec

from imagekit.dockerfile.errors import DockerfileError, Span
from imagekit.dockerfile.lint.rules import RULES, Rule

_BY_NAME = {rule.name: rule for rule in RULES}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One rule that was broken at one place: all lines of an instruction, heredocs included.

    ``message`` is the reference's text, word for word.
    """

    rule: str
    message: str
    span: Span

    @property
    def about(self) -> Rule:
        """The rule with its description and address."""
        return _BY_NAME[self.rule]

    @property
    def detail(self) -> str:
        """The message, under the name that the reference's JSON has for it."""
        return self.message

    @property
    def short(self) -> str:
        """One line, as progress output shows it: ``Rule: message (line N)``."""
        return f"{self.rule}: {self.message} (line {self.span.first_line})"


class BuildError(msgspec.Struct, frozen=True, kw_only=True):
    """Why the file cannot be built. ``span`` is None when no place is to blame.

    ``others`` are what else is wrong with it; the reference tells the first error only.
    """

    message: str
    span: Span | None = None
    hint: str | None = None
    others: tuple["BuildError", ...] = ()

    @classmethod
    def of(cls, error: DockerfileError) -> "BuildError":
        """Return what ``error`` says, as a value."""
        return cls(
            message=str(error),
            span=error.span,
            hint=error.hint,
            others=tuple(map(cls.of, error.others)),
        )


class LintReport(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one file. ``findings`` are in the order in which they were made.

    ``text`` is the whole file, for excerpts. ``is_error`` tells that ``error=true`` stands there;
    ``error`` then says which rules were broken, unless something worse came first.
    ``unknown_images`` are the base images of which nothing is known: variables that they set count
    as undefined.
    """

    file_name: str
    text: str
    findings: tuple[Finding, ...] = ()
    error: BuildError | None = None
    is_error: bool = False
    unknown_images: tuple[str, ...] = ()

    @property
    def is_clean(self) -> bool:
        """Whether ``--check`` succeeds: no finding and no error."""
        return not self.findings and self.error is None

    @property
    def by_line(self) -> tuple[Finding, ...]:
        """The findings by first line, in order of making within one line."""
        return tuple(sorted(self.findings, key=lambda finding: finding.span.first_line))


class Findings:
    """Collects what a run over one file finds."""

    def __init__(self) -> None:
        self._found: list[Finding] = []

    def add(self, rule: Rule, span: Span, message: str) -> None:
        """Remember that ``rule`` was broken at ``span``."""
        self._found.append(Finding(rule=rule.name, message=message, span=span))

    def all(self) -> tuple[Finding, ...]:
        """Return the findings so far."""
        return tuple(self._found)
