"""What `build` reads before the engine is asked: secrets, Dockerfile, context on stdin."""

import contextlib
import io
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from imagekit.base.errors import UserError
from imagekit.base.record import Record

if TYPE_CHECKING:
    from imagekit.build.request import Secret
    from imagekit.layers.limits import Limits

MAX_DOCKERFILE_BYTES = 16 << 20
MAX_SECRET_BYTES = 500 << 10
_TAR_MAGIC_AT = 257
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
_REMOTE = ("http://", "https://", "git://", "git@", "ssh://", "github.com/")


class BuildSource(Record):
    """Where the files and the text of a build come from, as ``BuildRequest`` takes them."""

    context: Path
    dockerfile: Path | None = None
    dockerfile_text: str | None = None


@contextlib.contextmanager
def open_source(
    context: str,
    dockerfile: str | None,
    stdin: BinaryIO,
    *,
    directory: Path,
    limits: "Callable[[], Limits | None]" = lambda: None,
) -> Iterator[BuildSource]:
    """Yield the source of a build; what came by standard input is gone afterwards.

    ``-`` as context is a Dockerfile, or a tar archive that holds one; ``-`` as Dockerfile is its
    text. Relative paths are below ``directory``.

    Raises:
        UserError: if both are ``-``, or the context is not a directory.

    """
    if context == "-" and dockerfile == "-":
        raise UserError(
            "cannot read both the context and the Dockerfile from standard input",
            hint="Give one of them as a path.",
        )
    if context.startswith(_REMOTE) or context.endswith(".git"):
        raise UserError(
            f"cannot use {context!r} as a build context: only local directories are read",
            hint="Clone or download it first, then name the directory.",
        )
    if context != "-":
        root = directory / context
        if not root.is_dir():
            kind = "is not a directory" if root.exists() else "does not exist"
            raise UserError(
                f"build context {context!r} {kind}",
                hint="Name a directory; the Dockerfile is given with -f.",
            )
        if dockerfile == "-":
            yield BuildSource(context=root, dockerfile_text=_read_text(stdin))
        else:
            yield BuildSource(
                context=root, dockerfile=directory / dockerfile if dockerfile else None
            )
        return
    import tempfile

    with tempfile.TemporaryDirectory(prefix="imagekit-context-") as name:
        yield _source_from(stdin, Path(name), dockerfile, limits)


def _source_from(
    stdin: BinaryIO, target: Path, dockerfile: str | None, limits: "Callable[[], Limits | None]"
) -> BuildSource:
    head = stdin.read(512)
    if not (head.startswith(_PACKED) or head[_TAR_MAGIC_AT : _TAR_MAGIC_AT + 5] == b"ustar"):
        return BuildSource(context=target, dockerfile_text=_read_text(stdin, head))
    from imagekit.layers.apply import extract_archive
    from imagekit.layers.errors import LayerError

    try:
        owner = (os.geteuid(), os.getegid())  # COPY does not look at it
        extract_archive(_Rejoined(head, stdin), target, "/", owner=owner, limits=limits())
    except LayerError as error:
        raise UserError(
            f"cannot unpack the build context on standard input: {error.message}"
        ) from error
    return BuildSource(context=target, dockerfile=target / dockerfile if dockerfile else None)


class _Rejoined(io.BytesIO):
    """A stream whose beginning has been read already."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        super().__init__()
        self._head = head
        self._rest = rest

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to ``size`` bytes."""
        if not self._head:
            return self._rest.read(-1 if size is None else size)
        if size is None or size < 0:
            head, self._head = self._head, b""
            return head + self._rest.read()
        head, self._head = self._head[:size], self._head[size:]
        return head


def _read_text(stdin: BinaryIO, head: bytes = b"") -> str:
    data = head + stdin.read(MAX_DOCKERFILE_BYTES + 1 - len(head))
    if len(data) > MAX_DOCKERFILE_BYTES:
        raise UserError("the Dockerfile on standard input is larger than 16 MiB")
    return data.decode("utf-8", "surrogateescape")  # the parser tells where it must not be so


def read_secret(fields: Mapping[str, str], environ: Mapping[str, str], directory: Path) -> "Secret":
    """Return the secret of ``id=ID[,src=FILE|,env=NAME]``; ID alone is a variable or else a file.

    Raises:
        UserError: naming the secret, never its value, if it cannot be read.

    """
    from imagekit.build.request import Secret

    known = {"id", "src", "source", "env", "type"}
    unknown = sorted(fields.keys() - known)
    if unknown:
        raise UserError(
            f"secret: unknown field {unknown[0]!r}", hint="Known are id, src, env and type."
        )
    identifier = fields.get("id", "")
    file = fields.get("src") or fields.get("source") or ""
    variable = fields.get("env", "")
    if fields.get("type") == "env" and file and not variable:
        file, variable = "", file
    if not identifier:
        identifier = Path(file).name if file else variable
    if not identifier:
        raise UserError("secret: id is missing", hint="Write it as id=token,src=token.txt.")
    if not file and not variable:
        file, variable = ("", identifier) if identifier in environ else (identifier, "")
    if variable:
        if variable not in environ:
            raise UserError(f"secret {identifier!r}: the variable {variable} is not set")
        return Secret(id=identifier, value=environ[variable].encode("utf-8", "surrogateescape"))
    return Secret(id=identifier, value=_read_secret_file(identifier, directory / file))


def _read_secret_file(identifier: str, path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            value = stream.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise UserError(f"secret {identifier!r}: cannot read {path}: {error.strerror}") from error
    if len(value) > MAX_SECRET_BYTES:
        raise UserError(f"secret {identifier!r}: {path} is larger than 500 KiB")
    return value
