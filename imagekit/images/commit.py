"""From changed files to a layer blob, and from a layer to a new image."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from imagekit.base.clock import Clock, rfc3339
from imagekit.images.local import LocalImage
from imagekit.oci.descriptor import Descriptor
from imagekit.oci.digest import Digest
from imagekit.oci.image_config import ContainerConfig, History, ImageConfig
from imagekit.oci.manifest import Manifest
from imagekit.oci.mediatype import OCI_CONFIG, Compression, layer_media_type
from imagekit.oci.reference import Reference
from imagekit.store.layout import Store
from imagekit.store.leases import Lease

if TYPE_CHECKING:
    from imagekit.layers.entry import Entry


class StoredLayer(msgspec.Struct, frozen=True, kw_only=True):
    """A layer blob in the store and the identity of its content."""

    descriptor: Descriptor
    diff_id: Digest
    uncompressed_size: int


def store_layer(
    store: Store,
    entries: "Iterable[Entry]",
    *,
    lease: Lease,
    compression: Compression = Compression.GZIP,
    clamp_mtime: int | None = None,
) -> StoredLayer:
    """Write entries as one layer blob, in one pass over their content."""
    from imagekit.layers.pack import pack  # late: a build from the cache packs nothing

    with store.blobs.writer() as writer:
        packed = pack(entries, writer, compression=compression, clamp_mtime=clamp_mtime)
        lease.add("blob", str(packed.digest))
        digest = writer.commit()
    store.layers.record(
        diff_id=packed.diff_id,
        digest=digest,
        compression=compression,
        size=packed.size,
        uncompressed_size=packed.uncompressed_size,
    )
    return StoredLayer(
        descriptor=Descriptor(
            media_type=layer_media_type(compression), digest=digest, size=packed.size
        ),
        diff_id=packed.diff_id,
        uncompressed_size=packed.uncompressed_size,
    )


def store_image(
    store: Store,
    config: ImageConfig,
    layers: Sequence[Descriptor],
    *,
    lease: Lease,
    names: Sequence[str] = (),
) -> LocalImage:
    """Write config and manifest, then move the names to the new image."""
    raw = config.to_json()
    config_descriptor = Descriptor(media_type=OCI_CONFIG, digest=Digest.of(raw), size=len(raw))
    manifest = Manifest.build(config=config_descriptor, layers=layers)
    lease.add("blob", str(config_descriptor.digest))
    lease.add("blob", str(manifest.descriptor.digest))
    store.blobs.put(raw)
    store.blobs.put(manifest.raw)
    full_names = [str(Reference.parse(name).with_default_tag()) for name in names]
    for name in full_names:
        store.images.set(name, manifest.descriptor)
    return LocalImage(
        name=full_names[0] if full_names else None,
        descriptor=manifest.descriptor,
        manifest=manifest,
        config=config,
    )


def commit_changes(
    store: Store,
    image: LocalImage,
    *,
    upperdir: Path,
    lowerdirs: Sequence[Path],
    history: History,
    clock: Clock,
    lease: Lease,
    name: str | None = None,
    edit: Callable[[ContainerConfig], ContainerConfig] | None = None,
    compression: Compression = Compression.GZIP,
    author: str = "",
    userxattr: bool = False,
) -> LocalImage:
    """Return a new image: ``image`` with the changes in ``upperdir`` as one more layer.

    ``lowerdirs`` are the layers below, topmost first. ``history.created`` is filled in when empty.
    """
    from imagekit.layers.diff import overlay_changes

    entries = overlay_changes(upperdir, lowerdirs, userxattr=userxattr)
    layer = store_layer(store, entries, lease=lease, compression=compression)
    created = history.created or rfc3339(clock.now())
    entry = History(
        created=created,
        created_by=history.created_by,
        author=author or history.author,
        comment=history.comment,
    )
    config = replace(
        image.config.with_layer(layer.diff_id, entry),
        created=created,
        author=author or image.config.author,
        config=edit(image.config.config) if edit else image.config.config,
    )
    return store_image(
        store,
        config,
        (*image.manifest.layers, layer.descriptor),
        lease=lease,
        names=(name,) if name else (),
    )
