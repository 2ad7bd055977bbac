"""Making a container: from a request and an image to a row, a directory and a specification."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from imagekit.base.clock import Clock, rfc3339
from imagekit.base.events import EventSink
from imagekit.base.tokens import choice, token_hex
from imagekit.containers.errors import InvalidRunRequestError, NameConflictError
from imagekit.containers.files import ContainerFiles
from imagekit.containers.model import ContainerState
from imagekit.containers.names import random_name
from imagekit.containers.processes import ProcessIdentity
from imagekit.containers.records import Container
from imagekit.containers.request import RunRequest
from imagekit.containers.signals import signal_number
from imagekit.containers.spec import ContainerSpec, ImageRef, MountPoint
from imagekit.containers.volumes import Volumes, copy_from_image
from imagekit.images.local import LocalImage, LocalImages
from imagekit.images.process import merged_environment, process_spec
from imagekit.sandbox.spec import ProcessSpec
from imagekit.store.containers import ContainerRow
from imagekit.store.errors import ContentNotFoundError, NameInUseError
from imagekit.store.layout import Store

if TYPE_CHECKING:
    from imagekit.layers.limits import Limits

_NAME_ATTEMPTS = 8


class Created(msgspec.Struct, frozen=True, kw_only=True):
    """A container that is ready to be started; ``lowerdirs`` are its image, topmost first."""

    row: ContainerRow
    spec: ContainerSpec
    files: ContainerFiles
    lowerdirs: tuple[Path, ...]


class Creator:
    """Makes containers in a store."""

    def __init__(
        self,
        store: Store,
        images: LocalImages,
        volumes: Volumes,
        repair: Callable[[], object],
        *,
        clock: Clock,
        events: EventSink,
        limits: "Callable[[], Limits] | None" = None,
    ) -> None:
        self._limits = limits
        self._repair = repair
        self._store = store
        self._images = images
        self._volumes = volumes
        self._clock = clock
        self._events = events

    def create(self, request: RunRequest) -> Created:
        """Make a container; nothing of it is left when that fails.

        Raises:
            ImageNotFoundError: if the image is not in the store.
            NameConflictError: if the name is in use.
            InvalidRunRequestError: if the request makes no sense.

        """
        request.check()
        image = self._images.resolve(request.image)
        identifier = token_hex(32)
        config = image.config.config
        process = process_spec(
            config,
            command=request.command,
            entrypoint=request.entrypoint,
            env=request.env,
            workdir=request.workdir,
            user=request.user,
            tty=request.tty,
        )
        entrypoint = config.entrypoint or () if request.entrypoint is None else request.entrypoint
        stop_signal = request.stop_signal or config.stop_signal or "SIGTERM"
        signal_number(stop_signal)
        files = ContainerFiles(self._store.containers.directory(identifier))
        try:  # an interrupt may come as soon as the row is there
            row = self._reserve(identifier, request, image)
            # From here on the row keeps the image's snapshots; what is missing is unpacked again.
            lowerdirs = self.lowerdirs(image)
            spec = ContainerSpec(
                id=identifier,
                name=row.name,
                image=ImageRef.of(image),
                created=rfc3339(self._clock.now()),
                request=request,
                process=_completed(process, request, identifier),
                entrypoint=entrypoint,
                command=process.argv[len(entrypoint) :],
                mounts=self._mount_points(request, image, lowerdirs, files),
                labels={**(config.labels or {}), **request.labels},
                exposed_ports=tuple(sorted(config.exposed_ports or {})),
                stop_signal=stop_signal,
            )
            files.create(spec.to_json())
        except BaseException:
            for volume in files.noted_volumes():
                self._volumes.remove(volume)
            self._store.containers.remove(identifier)
            raise
        return Created(row=row, spec=spec, files=files, lowerdirs=lowerdirs)

    def again(self, container: Container) -> Created:
        """Return a container that exists, ready to be started another time.

        Raises:
            ImageNotFoundError: if its image is not in the store any more.

        """
        spec = container.spec
        lowerdirs = self.lowerdirs(self._images.load(spec.image.descriptor, spec.request.image))
        container.files.forget_end()
        return Created(row=container.row, spec=spec, files=container.files, lowerdirs=lowerdirs)

    def lowerdirs(self, image: LocalImage) -> tuple[Path, ...]:
        """Return the directories of the image's layers, topmost first; unpack if need be."""
        chain_id = image.chain_id
        if chain_id is None:
            return ()
        try:
            return self._store.snapshots.lowerdirs(chain_id)
        except ContentNotFoundError:
            # Late: the layer code is not needed when the image has been used before.
            from imagekit.images.unpack import unpack

            with self._store.leases.hold(f"unpack {image.name}") as lease:
                unpack(self._store, image, lease=lease, limits=self._limits)
                return self._store.snapshots.lowerdirs(chain_id)

    def _reserve(self, identifier: str, request: RunRequest, image: LocalImage) -> ContainerRow:
        """Add the row under the wanted name, or under one that is free."""
        creator = ContainerState(owner=ProcessIdentity.of(os.getpid()))
        name = ""
        for attempt in range(_NAME_ATTEMPTS):
            name = request.name or random_name(choice, attempt=attempt)
            try:
                return self._store.containers.add(
                    id=identifier,
                    name=name,
                    # Ends in a digest: so the store keeps the manifest, for commit.
                    image=f"{request.image}@{image.descriptor.digest}",
                    chain_id=image.chain_id,
                    state=creator.to_json().decode(),
                )
            except NameInUseError:
                if attempt and request.name is not None:
                    break
                self._repair()  # the name may be that of a container that removed itself
        raise NameConflictError(
            f"the container name {name!r} is in use",
            hint=f"Choose another name, or remove it first: imagekit rm {name}",
        )

    def _mount_points(
        self,
        request: RunRequest,
        image: LocalImage,
        lowerdirs: tuple[Path, ...],
        files: ContainerFiles,
    ) -> tuple[MountPoint, ...]:
        """Return all mounts, parents before what is mounted below them; make volumes and paths.

        Volumes that are removed with the container are noted in ``files`` before they come to be.
        """
        points: dict[str, MountPoint] = {}
        for text in request.tmpfs:
            point = _tmpfs(text)
            points[point.target] = point
        for volume in request.volumes:
            target = _normal(volume.target)
            if volume.source.startswith("/"):
                source = Path(volume.source)
                if not source.exists():
                    source.mkdir(parents=True)  # as docker does for -v
                points[target] = MountPoint(
                    kind="bind", target=target, source=str(source), read_only=volume.read_only
                )
                continue
            points[target] = self._volume(
                target, volume.source, lowerdirs, files, read_only=volume.read_only
            )
        for declared in image.config.config.volumes or ():
            if (target := _normal(declared)) not in points:
                points[target] = self._volume(target, "", lowerdirs, files, read_only=False)
        return tuple(sorted(points.values(), key=lambda point: point.target.split("/")))

    def _volume(
        self,
        target: str,
        source: str,
        lowerdirs: tuple[Path, ...],
        files: ContainerFiles,
        *,
        read_only: bool,
    ) -> MountPoint:
        name = source or token_hex(32)
        if not source:
            files.note_volume(name)
        path = self._volumes.ensure(
            name,
            lambda fresh: copy_from_image(lowerdirs, target, fresh, self._store.paths.temporary),
        )
        return MountPoint(
            kind="volume",
            target=target,
            source=str(path),
            name=name,
            read_only=read_only,
            anonymous=not source,
        )


def _completed(process: ProcessSpec, request: RunRequest, identifier: str) -> ProcessSpec:
    """Add what docker adds to the process of a container: HOSTNAME, and the security options."""
    host = f"HOSTNAME={request.hostname or identifier[:12]}"
    env = merged_environment((host,), process.env)
    privileges = {"no-new-privileges", "no-new-privileges:true"} & set(request.security_opt)
    return replace(process, env=env, no_new_privileges=bool(privileges))


def _normal(target: str) -> str:
    return "/" + "/".join(part for part in target.split("/") if part not in ("", "."))


def _tmpfs(text: str) -> MountPoint:
    """Return the mount written as ``/target[:option,...]``, docker's defaults filled in.

    Source: mount(8) tmpfs; docker adds noexec, nosuid and nodev.
    """
    target, _, options = text.partition(":")
    if not target.startswith("/"):
        raise InvalidRunRequestError(
            f"invalid tmpfs target {target!r}", hint="Give an absolute path."
        )
    point = MountPoint(kind="tmpfs", target=_normal(target), no_exec=True)
    for option in filter(None, options.split(",")):
        key, _, value = option.partition("=")
        try:
            match key:
                case "size":
                    point = msgspec.structs.replace(point, size_bytes=_size(value))
                case "mode":
                    point = msgspec.structs.replace(point, mode=int(value, 8))
                case "ro" | "rw":
                    point = msgspec.structs.replace(point, read_only=key == "ro")
                case "exec" | "noexec":
                    point = msgspec.structs.replace(point, no_exec=key == "noexec")
                case "nosuid" | "nodev":
                    pass  # always
                case _:
                    raise ValueError(key)
        except ValueError as error:
            raise InvalidRunRequestError(
                f"invalid tmpfs option {option!r}", hint="Write it as /target:size=64m,mode=1777."
            ) from error
    return point


def _size(text: str) -> int:
    digits = text.rstrip("kmgKMG")
    return int(digits) << {"": 0, "k": 10, "m": 20, "g": 30}[text[len(digits) :].lower()[:1]]
