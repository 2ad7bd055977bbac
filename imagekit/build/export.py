"""From a finished stage to an image: config, history, manifest, names.

Source: BuildKit exporter/containerimage; OCI image-spec config.md.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from msgspec.structs import replace

from imagekit.base.clock import Clock, rfc3339
from imagekit.build.cachekey import printable
from imagekit.build.request import BuildRequest
from imagekit.build.result import BuiltLayer, StageResult
from imagekit.images.commit import store_image
from imagekit.images.local import LocalImage
from imagekit.oci.descriptor import Descriptor
from imagekit.oci.image_config import ContainerConfig, History, ImageConfig
from imagekit.oci.mediatype import is_layer, layer_compression, layer_media_type
from imagekit.oci.platform import Platform
from imagekit.store.layout import Store
from imagekit.store.leases import Lease

COMMENT = "buildkit.dockerfile.v0"
EXPORTER_COMMENT = "buildkit.exporter.image.v0"


def export(
    store: Store, result: StageResult, request: BuildRequest, *, lease: Lease, clock: Clock
) -> LocalImage:
    """Store the image of a stage and give it the names of the request.

    Waits for layers that are still being packed. The same layers and the same config give the same
    bytes, whenever they are exported.
    """
    built = [layer.built.result() for layer in result.layers]
    base = result.base.config if result.base is not None else None
    history = _history(result, request.source_date_epoch, clock)
    if history:
        created = history[-1].created
    else:
        created = (base.created if base else None) or _now(request.source_date_epoch, clock)
    image_config = ImageConfig(
        platform=base.platform if base else request.platform or Platform.host(),
        config=_printable(_labelled(result.state.config, request)),
        diff_ids=tuple(layer.diff_id for layer in built),
        history=_fitted((*result.base_history, *history), built),
        created=created,
        author=printable(result.state.author),
    )
    layers = [_oci(layer.descriptor) for layer in built]
    return store_image(store, image_config, layers, lease=lease, names=request.tags)


def _labelled(config: ContainerConfig, request: BuildRequest) -> ContainerConfig:
    labels = {**(config.labels or {}), **request.labels}
    return msgspec.structs.replace(config, labels=labels or None)


def _printable(config: ContainerConfig) -> ContainerConfig:
    """Return a config that JSON can hold: a Dockerfile may have bytes that are not UTF-8."""
    changes: dict[str, object] = {}
    for name in config.__struct_fields__:
        value = getattr(config, name)
        if isinstance(value, str):
            changes[name] = printable(value)
        elif isinstance(value, tuple):
            changes[name] = tuple(map(printable, value))
        elif isinstance(value, dict):
            changes[name] = {
                printable(key): printable(item) if isinstance(item, str) else item
                for key, item in value.items()
            }
    return msgspec.structs.replace(config, **changes)


def _oci(descriptor: Descriptor) -> Descriptor:
    """Return the descriptor of a layer as an OCI manifest has it, for bases in docker's form."""
    if "docker" not in descriptor.media_type or not is_layer(descriptor.media_type):
        return descriptor
    media_type = layer_media_type(layer_compression(descriptor.media_type))
    return replace(descriptor, media_type=media_type)


def _now(epoch: int | None, clock: Clock) -> str:
    if epoch is None:
        return rfc3339(clock.now())
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _fitted(history: Sequence[History], layers: Sequence[BuiltLayer]) -> tuple[History, ...]:
    """Return a history with as many lines that are not empty as there are layers.

    A base image may have come without its history, or with too much of it.
    """
    lines = list(history)
    missing = len(layers) - sum(not line.empty_layer for line in lines)
    unnamed = layers[len(layers) - missing :] if missing > 0 else ()
    lines += [
        History(created=rfc3339(layer.created), comment=EXPORTER_COMMENT) for layer in unnamed
    ]
    for position, line in enumerate(lines):
        if missing < 0 and not line.empty_layer:
            lines[position] = msgspec.structs.replace(line, empty_layer=True)
            missing += 1
    return tuple(lines)


def _history(result: StageResult, epoch: int | None, clock: Clock) -> Sequence[History]:
    """Return the new history: layers at the time they were made, the rest with the one before.

    Steps before the first new layer take that layer's time, so that a build that is all cached
    gives the same bytes again.
    """
    times = [
        None if line.layer is None else rfc3339(line.layer.built.result().created)
        for line in result.history
    ]
    current = next((time for time in times if time is not None), None)
    if current is None and result.base is not None:
        current = result.base.config.created
    current = current or _now(None, clock)
    fixed = None if epoch is None else _now(epoch, clock)
    lines = []
    for line, time in zip(result.history, times, strict=True):
        current = time or current
        lines.append(
            History(
                created=fixed or current,
                created_by=printable(line.created_by),
                comment=COMMENT,
                empty_layer=line.layer is None,
            )
        )
    return lines
