"""One frozen value per Dockerfile instruction.

Strings are as written in the file: quotes, escapes and variables are still in them. What is
expanded when, and with which variables, is decided by who executes the instruction; each class
says which of its fields are words (``imagekit.dockerfile.words.expand``).

Source: Dockerfile reference; BuildKit frontend/dockerfile/instructions.
"""

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from imagekit.dockerfile.errors import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Heredoc:
    """A document that follows an instruction.

    ``body`` is the raw text with its final newline; ``content`` is the same without leading tabs
    when the document was written with ``<<-``. Bytes that are not UTF-8 are surrogate escapes.
    """

    name: str
    body: str
    expand: bool
    strip_tabs: bool = False

    @property
    def content(self) -> str:
        """The text of the document as a file would have it."""
        if not self.strip_tabs:
            return self.body
        return "\n".join(line.lstrip("\t") for line in self.body.split("\n"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellForm:
    """A command for the stage's shell: ``text``, and the documents that its line announces.

    ``document`` is set when the whole command is one heredoc; the text of the document is then the
    command itself.
    """

    text: str
    heredocs: tuple[Heredoc, ...] = ()
    document: Heredoc | None = None

    @property
    def script(self) -> Heredoc | None:
        """The document to run as a program of its own, when it begins with ``#!``."""
        if self.document is not None and self.document.content.startswith("#!"):
            return self.document
        return None

    @property
    def shell_text(self) -> str:
        """What follows ``/bin/sh -c``: the document, or the line with its documents put back."""
        if self.document is not None:
            return self.document.content
        return self.text + "".join(
            f"\n{document.body}{document.name}" for document in self.heredocs
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecForm:
    """A command written as a JSON array, to be used without a shell."""

    args: tuple[str, ...]


Command: TypeAlias = ShellForm | ExecForm


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where an instruction came from, and how it was spelled there.

    ``keyword`` is the name as spelled in the file; ``source`` the physical lines, heredocs
    included; ``text`` the logical line, continuations joined; ``flags`` the raw ``--name=value``
    words; ``comments`` the comment lines above, without ``#``.
    """

    span: Span
    keyword: str
    source: str
    text: str
    flags: tuple[str, ...] = ()
    comments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """What every instruction has. ``NAME`` is upper case."""

    NAME: ClassVar[str] = ""

    origin: Origin

    @property
    def span(self) -> Span:
        """The lines of the instruction; those of FROM for a trigger."""
        return self.origin.span

    @property
    def source(self) -> str:
        """The physical lines, heredocs included, without the last newline."""
        return self.origin.source


@dataclass(frozen=True, slots=True, kw_only=True)
class From(Instruction):
    """``FROM``: begin a stage. ``image`` and ``platform`` are words over global arguments only.

    ``alias`` is the stage's name as spelled; ``as_keyword`` the spelling of AS.
    """

    NAME: ClassVar[str] = "FROM"

    image: str
    platform: str | None = None
    alias: str | None = None
    as_keyword: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Instruction):
    """``RUN``: execute a command. ``mounts`` are raw values for ``mounts.resolve_mounts``."""

    NAME: ClassVar[str] = "RUN"

    command: Command
    mounts: tuple[str, ...] = ()
    network: str = "default"
    security: str = "sandbox"
    devices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy(Instruction):
    """``COPY``: sources, destination, chown and chmod are words; ``exclude`` and ``from_`` not.

    ``heredocs`` are sources too, used after ``sources``; their ``content`` is expanded with
    ``words.expand_document`` when ``expand`` says so. ``from_`` is None for the build context.
    """

    NAME: ClassVar[str] = "COPY"

    sources: tuple[str, ...]
    destination: str
    heredocs: tuple[Heredoc, ...] = ()
    from_: str | None = None
    chown: str | None = None
    chmod: str | None = None
    link: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Add(Instruction):
    """``ADD``: like COPY, plus ``checksum`` (a word). Unset switches are None."""

    NAME: ClassVar[str] = "ADD"

    sources: tuple[str, ...]
    destination: str
    heredocs: tuple[Heredoc, ...] = ()
    chown: str | None = None
    chmod: str | None = None
    link: bool = False
    exclude: tuple[str, ...] = ()
    keep_git_dir: bool | None = None
    checksum: str | None = None
    unpack: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Env(Instruction):
    """``ENV``: (key, value) pairs, both words over the environment before the instruction.

    ``legacy`` is the form ``ENV key value``.
    """

    NAME: ClassVar[str] = "ENV"

    pairs: tuple[tuple[str, str], ...]
    legacy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Arg(Instruction):
    """``ARG``: (name, default or None) pairs; defaults are words, names are not."""

    NAME: ClassVar[str] = "ARG"

    pairs: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Label(Instruction):
    """``LABEL``: like ENV, for the labels of the image."""

    NAME: ClassVar[str] = "LABEL"

    pairs: tuple[tuple[str, str], ...]
    legacy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Workdir(Instruction):
    """``WORKDIR``: ``path`` is a word."""

    NAME: ClassVar[str] = "WORKDIR"

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class User(Instruction):
    """``USER``: ``user`` is a word, ``name|uid[:group|gid]``."""

    NAME: ClassVar[str] = "USER"

    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Expose(Instruction):
    """``EXPOSE``: words, sorted as raw text; each is expanded with ``words.expand_words``."""

    NAME: ClassVar[str] = "EXPOSE"

    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume(Instruction):
    """``VOLUME``: each path is a word, in the JSON form too."""

    NAME: ClassVar[str] = "VOLUME"

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cmd(Instruction):
    """``CMD``: the default command, never expanded by the builder."""

    NAME: ClassVar[str] = "CMD"

    command: Command


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrypoint(Instruction):
    """``ENTRYPOINT``: never expanded by the builder; ``ExecForm(args=())`` clears it."""

    NAME: ClassVar[str] = "ENTRYPOINT"

    command: Command


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell(Instruction):
    """``SHELL``: the program that runs later shell forms."""

    NAME: ClassVar[str] = "SHELL"

    args: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StopSignal(Instruction):
    """``STOPSIGNAL``: ``signal`` is a word; check it with ``values.check_signal``."""

    NAME: ClassVar[str] = "STOPSIGNAL"

    signal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck(Instruction):
    """``HEALTHCHECK``: ``test`` as the image configuration has it, durations in nanoseconds.

    ``test`` is ``("NONE",)``, ``("CMD", ...)`` or ``("CMD-SHELL", text)``; zero means "unset".
    """

    NAME: ClassVar[str] = "HEALTHCHECK"

    test: tuple[str, ...]
    interval_ns: int = 0
    timeout_ns: int = 0
    start_period_ns: int = 0
    start_interval_ns: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OnBuild(Instruction):
    """``ONBUILD``: ``trigger`` is the raw text for the image configuration, heredocs included."""

    NAME: ClassVar[str] = "ONBUILD"

    trigger: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintainer(Instruction):
    """``MAINTAINER``: the author of the image."""

    NAME: ClassVar[str] = "MAINTAINER"

    name: str


AnyInstruction: TypeAlias = (
    From
    | Run
    | Copy
    | Add
    | Env
    | Arg
    | Label
    | Workdir
    | User
    | Expose
    | Volume
    | Cmd
    | Entrypoint
    | Shell
    | StopSignal
    | Healthcheck
    | OnBuild
    | Maintainer
)
