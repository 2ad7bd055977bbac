"""The image config: how to run an image, which layers it has, and how it was made.

Source: OCI image-spec config.md; the Healthcheck, OnBuild, Shell and ArgsEscaped fields are
docker's (moby image/spec). Field names in Go's spelling are renamed at this border.
"""

import hashlib
from collections.abc import Sequence
from typing import Self

import msgspec
from msgspec.structs import replace

from imagekit.oci.digest import Digest
from imagekit.oci.documents import decode, encode
from imagekit.oci.errors import InvalidDocumentError, InvalidReferenceError
from imagekit.oci.platform import Platform

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Healthcheck(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    rename={
        "test": "Test",
        "interval_ns": "Interval",
        "timeout_ns": "Timeout",
        "start_period_ns": "StartPeriod",
        "start_interval_ns": "StartInterval",
        "retries": "Retries",
    },
):
    """How to ask a container whether it is well; durations in nanoseconds."""

    test: tuple[str, ...] = ()
    interval_ns: int = 0
    timeout_ns: int = 0
    start_period_ns: int = 0
    start_interval_ns: int = 0
    retries: int = 0


class ContainerConfig(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    rename={
        "user": "User",
        "exposed_ports": "ExposedPorts",
        "env": "Env",
        "entrypoint": "Entrypoint",
        "cmd": "Cmd",
        "healthcheck": "Healthcheck",
        "args_escaped": "ArgsEscaped",
        "volumes": "Volumes",
        "working_dir": "WorkingDir",
        "on_build": "OnBuild",
        "labels": "Labels",
        "stop_signal": "StopSignal",
        "shell": "Shell",
    },
):
    """The defaults of a container made from the image. ``env`` holds ``KEY=value`` strings."""

    user: str = ""
    exposed_ports: dict[str, dict[str, str]] | None = None
    env: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    healthcheck: Healthcheck | None = None
    args_escaped: bool = False
    volumes: dict[str, dict[str, str]] | None = None
    working_dir: str = ""
    on_build: tuple[str, ...] | None = None
    labels: dict[str, str] | None = None
    stop_signal: str = ""
    shell: tuple[str, ...] | None = None


class History(msgspec.Struct, frozen=True, omit_defaults=True):
    """What made one layer, or, with ``empty_layer``, only changed the config."""

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class _RootFs(msgspec.Struct):
    type: str
    diff_ids: list[str]


class _RawConfig(msgspec.Struct, omit_defaults=True, rename={"os_version": "os.version"}):
    architecture: str = ""
    author: str = ""
    config: ContainerConfig | None = None
    created: str | None = None
    history: list[History] | None = None
    os: str = ""
    rootfs: _RootFs | None = None
    variant: str = ""
    os_version: str = ""


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True):
    """An image config as a value. ``diff_ids`` are of uncompressed layers, bottom first."""

    platform: Platform
    config: ContainerConfig = msgspec.field(default_factory=ContainerConfig)
    diff_ids: tuple[Digest, ...] = ()
    history: tuple[History, ...] = ()
    created: str | None = None
    author: str = ""

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Return the config in ``raw``.

        Raises:
            InvalidDocumentError: if it breaks the specification.

        """
        document = decode(raw, _RawConfig, "image config")
        rootfs = document.rootfs or _RootFs("layers", [])
        if rootfs.type != "layers":
            raise InvalidDocumentError(f"invalid image config: rootfs of type {rootfs.type!r}")
        try:
            diff_ids = tuple(map(Digest.parse, rootfs.diff_ids))
        except InvalidReferenceError as error:
            raise InvalidDocumentError(f"invalid image config: {error.message}") from error
        return cls(
            platform=Platform.normalised(
                document.os or "linux",
                document.architecture,
                document.variant,
                document.os_version or None,
            ),
            config=document.config or ContainerConfig(),
            diff_ids=diff_ids,
            history=tuple(document.history or ()),
            created=document.created,
            author=document.author,
        )

    def to_json(self) -> bytes:
        """Return the document; equal values give equal bytes."""
        config = self.config
        return encode(
            _RawConfig(
                architecture=self.platform.architecture,
                author=self.author,
                config=msgspec.structs.replace(
                    config,
                    labels=dict(sorted(config.labels.items())) if config.labels else None,
                    exposed_ports=_sorted_set(config.exposed_ports),
                    volumes=_sorted_set(config.volumes),
                ),
                created=self.created,
                history=list(self.history) or None,
                os=self.platform.os,
                rootfs=_RootFs("layers", [str(diff_id) for diff_id in self.diff_ids]),
                variant=self.platform.variant or "",
                os_version=self.platform.os_version or "",
            )
        )

    @property
    def chain_id(self) -> Digest | None:
        """The identity of the whole root file system, None when it is empty."""
        chain = chain_ids(self.diff_ids)
        return chain[-1] if chain else None

    def with_layer(self, diff_id: Digest, history: History) -> Self:
        """Return it with one more layer on top."""
        return replace(self, diff_ids=(*self.diff_ids, diff_id), history=(*self.history, history))


def chain_ids(diff_ids: Sequence[Digest]) -> tuple[Digest, ...]:
    """Return the chain id of each layer with everything below it, bottom first.

    Source: OCI image-spec config.md "Layer ChainID".
    """
    chain: list[Digest] = []
    for diff_id in diff_ids:
        chain.append(next_chain_id(chain[-1] if chain else None, diff_id))
    return tuple(chain)


def next_chain_id(parent: Digest | None, diff_id: Digest) -> Digest:
    """Return the chain id of ``diff_id`` on top of ``parent``."""
    if parent is None:
        return diff_id
    return Digest("sha256", hashlib.sha256(f"{parent} {diff_id}".encode()).hexdigest())


def _sorted_set(value: dict[str, dict[str, str]] | None) -> dict[str, dict[str, str]] | None:
    return dict(sorted(value.items())) if value else None
