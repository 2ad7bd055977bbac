"""What a container is, decided when it is made and kept in its ``spec.json``."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from imagekit.base.errors import CorruptionError
from imagekit.containers.request import RunRequest
from imagekit.oci.descriptor import Descriptor
from imagekit.oci.digest import Digest
from imagekit.sandbox.spec import (
    Limits,
    Mount,
    MountKind,
    OverlayRoot,
    ProcessSpec,
    PublishedPort,
    SandboxSpec,
)

if TYPE_CHECKING:
    from imagekit.images.local import LocalImage


class MountPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Something mounted into a container. ``kind`` is "bind", "volume" or "tmpfs".

    ``source`` is a host path, empty for tmpfs; ``name`` is of a volume. An ``anonymous`` volume is
    removed with its container. ``size_bytes``, ``mode`` and ``no_exec`` are of a tmpfs.
    """

    kind: str
    target: str
    source: str = ""
    name: str = ""
    read_only: bool = False
    anonymous: bool = False
    size_bytes: int | None = None
    mode: int = 0o1777
    no_exec: bool = False


class ImageRef(msgspec.Struct, frozen=True, kw_only=True):
    """The image a container was made from, by content: its name may belong to another by now."""

    id: str
    media_type: str
    digest: str
    size: int
    chain_id: str | None

    @classmethod
    def of(cls, image: "LocalImage") -> Self:
        """Return what is to be remembered of ``image``."""
        return cls(
            id=str(image.id),
            media_type=image.descriptor.media_type,
            digest=str(image.descriptor.digest),
            size=image.descriptor.size,
            chain_id=None if image.chain_id is None else str(image.chain_id),
        )

    @property
    def descriptor(self) -> Descriptor:
        """The descriptor of its manifest."""
        return Descriptor(
            media_type=self.media_type, digest=Digest.parse(self.digest), size=self.size
        )


class ContainerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The request with everything filled in that the image, docker's defaults and chance decide.

    ``entrypoint`` and ``command`` together are the ``argv`` of ``process``.
    """

    id: str
    name: str
    image: ImageRef
    created: str
    request: RunRequest
    process: ProcessSpec
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    mounts: tuple[MountPoint, ...] = ()
    labels: dict[str, str] = {}
    exposed_ports: tuple[str, ...] = ()
    stop_signal: str = "SIGTERM"

    def to_json(self) -> bytes:
        """Return it as a JSON object."""
        return msgspec.json.encode(self)

    @classmethod
    def parse(cls, raw: bytes) -> "ContainerSpec":
        """Return what ``to_json`` wrote.

        Raises:
            CorruptionError: if ``raw`` is something else.

        """
        try:
            return msgspec.json.decode(raw, type=cls)
        except msgspec.DecodeError as error:
            raise CorruptionError(f"the spec of a container cannot be read: {error}") from error

    @property
    def anonymous_volumes(self) -> Iterator[Path]:
        """The directories that are removed with the container."""
        return (Path(point.source) for point in self.mounts if point.anonymous)

    @property
    def short_id(self) -> str:
        """The first 12 hex digits: the host name, and the name of the cgroup."""
        return self.id[:12]


def sandbox_spec(
    spec: ContainerSpec, *, directory: Path, lowerdirs: tuple[Path, ...]
) -> SandboxSpec:
    """Return how the container is run; ``directory`` holds its ``fs`` and ``work``.

    The overlay of a container that is removed when it ends is volatile: flushing what is about to
    be deleted would cost up to 200 ms. Any other keeps what its programs flush, as with docker.
    """
    request = spec.request
    return SandboxSpec(
        id=spec.short_id,
        root=OverlayRoot(
            lowerdirs=lowerdirs,
            upperdir=directory / "fs",
            workdir=directory / "work",
            volatile=request.remove,
        ),
        process=spec.process,
        mounts=tuple(map(_mount, spec.mounts)),
        hostname=request.hostname,
        network=request.network,
        limits=Limits(
            memory_bytes=request.memory_bytes,
            memory_swap_bytes=request.memory_swap_bytes,
            cpus=request.cpus,
            pids=request.pids_limit,
        ),
        capabilities=_capabilities(request.cap_add, request.cap_drop),
        privileged=request.privileged,
        seccomp="seccomp=unconfined" not in request.security_opt,
        read_only_root=request.read_only,
        add_hosts=tuple((name, address) for name, _, address in map(_split, request.add_hosts)),
        dns=request.dns,
        publish=tuple(
            PublishedPort(
                container_port=port.container_port,
                host_port=port.host_port,
                host_address=port.host_ip,
                protocol=port.protocol,
            )
            for port in request.publish
        ),
        init=request.init,
    )


def _capabilities(added: tuple[str, ...], dropped: tuple[str, ...]) -> frozenset[str] | None:
    """Return docker's capabilities with some added and some dropped; ALL is a name for all."""
    if not added and not dropped:
        return None
    from imagekit.linux.capabilities import NAMES
    from imagekit.sandbox.defaults import CAPABILITIES

    plus, minus = (
        {name.upper().removeprefix("CAP_") for name in names} for names in (added, dropped)
    )
    base = frozenset(NAMES) if "ALL" in plus else CAPABILITIES
    kept = frozenset() if "ALL" in minus else base - minus
    return kept | (plus - {"ALL"} - (frozenset() if "ALL" in minus else minus))


def _split(host: str) -> tuple[str, str, str]:
    return host.partition(":")


def _mount(point: MountPoint) -> Mount:
    if point.kind == "tmpfs":
        return Mount(
            target=point.target,
            kind=MountKind.TMPFS,
            read_only=point.read_only,
            no_exec=point.no_exec,
            mode=point.mode,
            size_bytes=point.size_bytes,
        )
    return Mount(
        target=point.target,
        kind=MountKind.BIND,
        source=Path(point.source),
        read_only=point.read_only,
    )
