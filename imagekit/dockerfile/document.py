"""A parsed Dockerfile as a value."""

import msgspec

from imagekit.dockerfile.directives import Directives
from imagekit.dockerfile.errors import Span
from imagekit.dockerfile.instructions import AnyInstruction, Arg, From


class ParseWarning(msgspec.Struct, frozen=True, kw_only=True):
    """Something legal that is worth a word. ``rule`` is the name of BuildKit's lint rule."""

    rule: str
    message: str
    span: Span


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """One FROM and the instructions up to the next. ``name`` is lower case, None without AS.

    ``display_name`` is for progress and messages: the name, ``stage-N``, or nothing when the file
    has one stage without a name.
    """

    index: int
    name: str | None
    base: From
    instructions: tuple[AnyInstruction, ...]
    display_name: str

    @property
    def span(self) -> Span:
        """From FROM to the end of the last instruction."""
        first = self.base.span
        last = self.instructions[-1].span if self.instructions else first
        return Span(
            file_name=first.file_name, first_line=first.first_line, last_line=last.last_line
        )


class Dockerfile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that parsed: at least one stage. ``text`` is all of it, for error excerpts."""

    file_name: str
    text: str
    directives: Directives
    global_args: tuple[Arg, ...]
    stages: tuple[Stage, ...]
    warnings: tuple[ParseWarning, ...] = ()

    @property
    def escape(self) -> str:
        """The character for ``words.expand``."""
        return self.directives.escape

    @property
    def span(self) -> Span:
        """From the first to the last instruction."""
        first = (self.global_args or (self.stages[0].base,))[0].span
        return Span(
            file_name=self.file_name,
            first_line=first.first_line,
            last_line=self.stages[-1].span.last_line,
        )
