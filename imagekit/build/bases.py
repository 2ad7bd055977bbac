"""What stages start from and copy from besides each other: images, scratch, named contexts."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from imagekit.base.errors import ImagekitError, RemoteError, UserError
from imagekit.build.environment import StageEnvironment
from imagekit.build.errors import BaseImageError, BaseImageFetchError
from imagekit.build.plan import StageState
from imagekit.build.request import BuildRequest
from imagekit.build.result import BuiltLayer, LayerHandle, StageResult
from imagekit.dockerfile.stages import SCRATCH
from imagekit.dockerfile.suggestions import did_you_mean
from imagekit.images.errors import ImageNotFoundError
from imagekit.images.local import LocalImage, LocalImages
from imagekit.images.unpack import unpack
from imagekit.oci.image_config import ContainerConfig, chain_ids
from imagekit.oci.platform import Platform
from imagekit.store.layout import Store
from imagekit.store.leases import Lease

IMAGE_CONTEXT = "docker-image://"

PullImage = Callable[[str, Platform | None], LocalImage]


if TYPE_CHECKING:
    from imagekit.layers.limits import Limits


class StageByName(Protocol):
    """Finds the finished stage of a name; None if there is no such stage."""

    def __call__(self, name: str, /) -> StageResult | None:
        """Wait for the stage and return it."""


class Bases(msgspec.Struct, kw_only=True):
    """Images and named contexts of one build, each fetched and unpacked once."""

    store: Store
    images: LocalImages
    pull: PullImage
    request: BuildRequest
    lease: Lease
    escape: str
    stage_names: tuple[str, ...] = ()
    limits: "Callable[[], Limits] | None" = None
    _found: dict[tuple[str, str], StageResult] = msgspec.field(default_factory=dict)
    _locks: dict[tuple[str, str], threading.Lock] = msgspec.field(default_factory=dict)
    _guard: threading.Lock = msgspec.field(default_factory=threading.Lock)

    @property
    def contexts(self) -> Mapping[str, str]:
        """The named contexts of the request."""
        return self.request.build_contexts

    def start(self, name: str, platform: Platform | None) -> StageResult:
        """Return what ``FROM name`` starts with.

        Raises:
            BaseImageError: if the image cannot be had.

        """
        context = self.contexts.get(name)
        if context is not None:
            if not context.startswith(IMAGE_CONTEXT):
                raise BaseImageError(
                    f"build context {name!r} is a directory and cannot follow FROM",
                    hint="Use COPY --from for directories, or docker-image:// for an image.",
                )
            name = context.removeprefix(IMAGE_CONTEXT)
        return self.scratch() if name == SCRATCH else self._image(name, platform)

    def outside(self, name: str, stage: StageByName) -> StageResult | Path:
        """Return what a name after --from stands for: a named context, a stage, or an image.

        Raises:
            BaseImageError: if it is an image and cannot be had.

        """
        context = self.contexts.get(name)
        if context is None:
            return stage(name) or self.start(name, self.request.platform)
        if context.startswith(IMAGE_CONTEXT):
            return self.start(name, self.request.platform)
        return Path(context.removeprefix("local:"))

    def scratch(self) -> StageResult:
        """Return the start of a stage from nothing."""
        environment = StageEnvironment.from_image((), escape=self.escape)
        config = ContainerConfig(working_dir="/", env=environment.image_env())
        state = StageState(config=config, environment=environment)
        return StageResult(base=None, layers=(), history=(), state=state)

    def _image(self, name: str, platform: Platform | None) -> StageResult:
        key = (name, str(platform or ""))
        with self._guard:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            found = self._found.get(key)
            if found is None:
                found = self._found[key] = self._unpacked(self._get(name, platform))
            return found

    def _get(self, name: str, platform: Platform | None) -> LocalImage:
        if not self.request.pull:
            try:
                image = self.images.resolve(name)
            except ImageNotFoundError:
                pass
            else:
                if platform is None or platform.matches(image.config.platform):
                    return image
        try:
            return self.pull(name, platform)
        except ImagekitError as error:
            meant = did_you_mean(name, self.stage_names)
            message = f"{name}: {error.message}{meant}"
            if isinstance(error, RemoteError):
                raise BaseImageFetchError(message, hint=error.hint) from error
            if isinstance(error, UserError):
                raise BaseImageError(message, hint=error.hint) from error
            raise

    def _unpacked(self, image: LocalImage) -> StageResult:
        store = self.store
        self.lease.add("blob", str(image.descriptor.digest))
        unpack(store, image, lease=self.lease, limits=self.limits)
        layers = []
        for chain_id, diff_id, descriptor in zip(
            chain_ids(image.config.diff_ids),
            image.config.diff_ids,
            image.manifest.layers,
            strict=True,
        ):
            snapshot = store.snapshots.get(chain_id)
            assert snapshot is not None
            layer = BuiltLayer(
                chain_id=chain_id,
                diff_id=diff_id,
                descriptor=descriptor,
                created=snapshot.created,
            )
            layers.append(LayerHandle.ready(snapshot.fs, layer))
        config = image.config.config
        environment = StageEnvironment.from_image(config.env or (), escape=self.escape)
        state = StageState(config=config, environment=environment, author=image.config.author)
        return StageResult(
            base=image,
            layers=tuple(layers),
            history=(),
            state=state,
            base_history=image.config.history,
            is_image=True,
        )
