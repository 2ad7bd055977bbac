"""What the user asks a build for, as one frozen value."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from imagekit.oci.mediatype import Compression
from imagekit.oci.platform import Platform


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """A secret for ``RUN --mount=type=secret``; never in a key, a layer, the history or a log."""

    id: str
    value: bytes

    def __repr__(self) -> str:
        """Return everything but the value."""
        return f"Secret(id={self.id!r})"


class BuildRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A build: a context directory, a Dockerfile and the options of the command line.

    ``dockerfile`` defaults to ``Dockerfile`` in the context; ``dockerfile_text`` replaces it
    (standard input). ``network`` is the default of RUN steps: ``default``, ``none`` or ``host``.
    ``build_contexts`` maps a name to a directory or to ``docker-image://reference``.
    ``source_date_epoch`` (seconds) clamps the times of new layers and of the config.
    """

    context: Path
    dockerfile: Path | None = None
    dockerfile_text: str | None = None
    tags: tuple[str, ...] = ()
    build_args: Mapping[str, str] = msgspec.field(default_factory=dict)
    target: str | None = None
    platform: Platform | None = None
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    no_cache: bool = False
    no_cache_stages: tuple[str, ...] = ()
    pull: bool = False
    network: str = "default"
    secrets: tuple[Secret, ...] = ()
    add_hosts: tuple[str, ...] = ()
    build_contexts: Mapping[str, str] = msgspec.field(default_factory=dict)
    memory_bytes: int | None = None
    cpus: float | None = None
    compression: Compression = Compression.GZIP
    source_date_epoch: int | None = None
    reproducible: bool = False
