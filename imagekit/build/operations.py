"""What a step does to the file system, as values; metadata steps have none of these."""

import msgspec

from imagekit.dockerfile.errors import Span
from imagekit.dockerfile.instructions import Run


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A file whose content stands in the Dockerfile."""

    name: str
    content: bytes


class CopyOperation(msgspec.Struct, frozen=True, kw_only=True):
    """COPY and ADD, expanded. ``from_`` is a stage index, a name of something outside, or None.

    ``destination`` is absolute; a trailing slash has been kept. ``owner`` is the text of --chown.
    """

    sources: tuple[str, ...]
    documents: tuple[Document, ...]
    destination: str
    from_stage: int | None = None
    from_name: str | None = None
    owner: str | None = None
    mode: str | None = None
    exclude: tuple[str, ...] = ()
    link: bool = False
    parents: bool = False
    is_add: bool = False
    unpack: bool | None = None
    checksum: str | None = None


class RunOperation(msgspec.Struct, frozen=True, kw_only=True):
    """RUN: ``argv`` in an environment. ``run_env`` includes proxies, ``key_env`` does not."""

    instruction: Run
    argv: tuple[str, ...]
    key_env: tuple[str, ...]
    run_env: tuple[str, ...]
    build_env: tuple[tuple[str, str], ...]
    cwd: str
    user: str
    script: Document | None = None


class WorkdirOperation(msgspec.Struct, frozen=True, kw_only=True):
    """WORKDIR: make ``path`` unless it is there, owned by ``user``."""

    path: str
    user: str


Operation = CopyOperation | RunOperation | WorkdirOperation


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One instruction of a stage, planned.

    ``created_by`` is its history line, None for none; ``operation`` None for metadata. ``text`` is
    what the user sees; ``span`` where it stands.
    """

    text: str
    span: Span
    created_by: str | None
    operation: Operation | None = None
