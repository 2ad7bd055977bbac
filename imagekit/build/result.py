"""What stages give: stacks of layers, some of them still being packed."""

from datetime import datetime
from pathlib import Path

import msgspec

from imagekit.base.promise import Pending, Promise
from imagekit.build.plan import StageState
from imagekit.images.local import LocalImage
from imagekit.oci.descriptor import Descriptor
from imagekit.oci.digest import Digest
from imagekit.oci.image_config import History


class BuiltLayer(msgspec.Struct, frozen=True, kw_only=True):
    """A layer with all its names. ``created`` is when the step ran, also when cached."""

    chain_id: Digest
    diff_id: Digest
    descriptor: Descriptor
    created: datetime


class LayerHandle(msgspec.Struct, frozen=True, kw_only=True):
    """A layer that can be stacked at once; what it is called may be known only later.

    ``fs`` is its directory in overlayfs' form. ``built`` ends with the error of packing it.
    """

    fs: Path
    built: Pending[BuiltLayer]

    @classmethod
    def ready(cls, fs: Path, layer: BuiltLayer) -> "LayerHandle":
        """Return the handle of a layer that is in the store."""
        promise: Promise[BuiltLayer] = Promise()
        promise.set_result(layer)
        return cls(fs=fs, built=promise)


class HistoryLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the new history; ``layer`` is None for a step that only changed the config."""

    created_by: str
    layer: LayerHandle | None


class StageResult(msgspec.Struct, frozen=True, kw_only=True):
    """A finished stage: layers bottom first, and what the config and history will be.

    ``base`` is the image below everything, None for scratch; its layers and history come first.
    ``is_image`` tells that image itself from a stage that started from it.
    """

    base: LocalImage | None
    layers: tuple[LayerHandle, ...]
    history: tuple[HistoryLine, ...]
    state: StageState
    base_history: tuple[History, ...] = ()
    is_image: bool = False

    @property
    def lowerdirs(self) -> tuple[Path, ...]:
        """The layer directories, topmost first, as overlayfs wants them."""
        return tuple(layer.fs for layer in reversed(self.layers))

    def chain_id(self) -> Digest | None:
        """Return the identity of the root file system; waits for layers that are being packed."""
        return self.layers[-1].built.result().chain_id if self.layers else None
