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
