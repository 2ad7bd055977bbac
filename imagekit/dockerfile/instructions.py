"""One frozen value per Dockerfile instruction.

Strings are as written in the file: quotes, escapes and variables are still in them. What is
expanded when, and with which variables, is decided by who executes the instruction; each class
says which of its fields are words (``imagekit.dockerfile.words.expand``).

Source: Dockerfile reference; BuildKit frontend/dockerfile/instructions.
"""

from typing import ClassVar, TypeAlias

import msgspec

from imagekit.dockerfile.errors import Span


class Heredoc(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A document that follows an instruction.

    ``body`` is the raw text with its final newline; ``content`` is the same without leading tabs
    when the document was written with ``<<-``. Bytes that are not UTF-8 are surrogate escapes.
    ``span`` is from the first line of the body to the line that ends it; None when the document has
    no lines in the file: a word of a JSON array that only looks like a heredoc.
    """

    name: str
    body: str
    expand: bool
    strip_tabs: bool = False
    span: Span | None = None

    @property
    def content(self) -> str:
        """The text of the document as a file would have it."""
        if not self.strip_tabs:
            return self.body
        return "\n".join(line.lstrip("\t") for line in self.body.split("\n"))


class ShellForm(msgspec.Struct, frozen=True, kw_only=True, gc=False):
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


class ExecForm(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A command written as a JSON array, to be used without a shell."""

    args: tuple[str, ...]


Command: TypeAlias = ShellForm | ExecForm


class Origin(msgspec.Struct, frozen=True, kw_only=True, gc=False):
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


class Instruction(msgspec.Struct, frozen=True, kw_only=True):
    """What every instruction has. ``NAME`` is upper case."""

    NAME: ClassVar[str] = ""

    origin: Origin

    @property
    def span(self) -> Span:
        """The lines of the instruction; those of FROM for a trigger."""
        return self.origin.span

    @property
    def column(self) -> int:
        """Where the keyword begins on the first line: 1-based, in characters."""
        return self.origin.source.find(self.origin.keyword) + 1

    def locate(self, text: str) -> Span | None:
        """Return where ``text``, a word as written, stands first; None if nowhere.

        The span is of the one line that has it, with its column.
        """
        for offset, line in enumerate(self.origin.source.split("\n")):
            column = line.find(text) + 1 if text else 0
            if column:
                number = self.span.first_line + offset
                return Span(
                    file_name=self.span.file_name,
                    first_line=number,
                    last_line=number,
                    column=column,
                )
        return None

    @property
    def source(self) -> str:
        """The physical lines, heredocs included, without the last newline."""
        return self.origin.source


class From(Instruction, frozen=True, kw_only=True):
    """``FROM``: begin a stage. ``image`` and ``platform`` are words over global arguments only.

    ``alias`` is the stage's name as spelled; ``as_keyword`` the spelling of AS.
    """

    NAME: ClassVar[str] = "FROM"

    image: str
    platform: str | None = None
    alias: str | None = None
    as_keyword: str | None = None


class Run(Instruction, frozen=True, kw_only=True):
    """``RUN``: execute a command. ``mounts`` are raw values for ``mounts.resolve_mounts``."""

    NAME: ClassVar[str] = "RUN"

    command: Command
    mounts: tuple[str, ...] = ()
    network: str = "default"
    security: str = "sandbox"
    devices: tuple[str, ...] = ()


class Copy(Instruction, frozen=True, kw_only=True):
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


class Add(Instruction, frozen=True, kw_only=True):
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


class Env(Instruction, frozen=True, kw_only=True):
    """``ENV``: (key, value) pairs, both words over the environment before the instruction.

    ``legacy`` is the form ``ENV key value``.
    """

    NAME: ClassVar[str] = "ENV"

    pairs: tuple[tuple[str, str], ...]
    legacy: bool = False


class Arg(Instruction, frozen=True, kw_only=True):
    """``ARG``: (name, default or None) pairs; defaults are words, names are not."""

    NAME: ClassVar[str] = "ARG"

    pairs: tuple[tuple[str, str | None], ...]


class Label(Instruction, frozen=True, kw_only=True):
    """``LABEL``: like ENV, for the labels of the image."""

    NAME: ClassVar[str] = "LABEL"

    pairs: tuple[tuple[str, str], ...]
    legacy: bool = False


class Workdir(Instruction, frozen=True, kw_only=True):
    """``WORKDIR``: ``path`` is a word."""

    NAME: ClassVar[str] = "WORKDIR"

    path: str


class User(Instruction, frozen=True, kw_only=True):
    """``USER``: ``user`` is a word, ``name|uid[:group|gid]``."""

    NAME: ClassVar[str] = "USER"

    user: str


class Expose(Instruction, frozen=True, kw_only=True):
    """``EXPOSE``: words, sorted as raw text; each is expanded with ``words.expand_words``."""

    NAME: ClassVar[str] = "EXPOSE"

    ports: tuple[str, ...]


class Volume(Instruction, frozen=True, kw_only=True):
    """``VOLUME``: each path is a word, in the JSON form too."""

    NAME: ClassVar[str] = "VOLUME"

    paths: tuple[str, ...]


class Cmd(Instruction, frozen=True, kw_only=True):
    """``CMD``: the default command, never expanded by the builder."""

    NAME: ClassVar[str] = "CMD"

    command: Command


class Entrypoint(Instruction, frozen=True, kw_only=True):
    """``ENTRYPOINT``: never expanded by the builder; ``ExecForm(args=())`` clears it."""

    NAME: ClassVar[str] = "ENTRYPOINT"

    command: Command


class Shell(Instruction, frozen=True, kw_only=True):
    """``SHELL``: the program that runs later shell forms."""

    NAME: ClassVar[str] = "SHELL"

    args: tuple[str, ...]


class StopSignal(Instruction, frozen=True, kw_only=True):
    """``STOPSIGNAL``: ``signal`` is a word; check it with ``values.check_signal``."""

    NAME: ClassVar[str] = "STOPSIGNAL"

    signal: str


class Healthcheck(Instruction, frozen=True, kw_only=True):
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


class OnBuild(Instruction, frozen=True, kw_only=True):
    """``ONBUILD``: ``trigger`` is the raw text for the image configuration, heredocs included."""

    NAME: ClassVar[str] = "ONBUILD"

    trigger: str


class Maintainer(Instruction, frozen=True, kw_only=True):
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
