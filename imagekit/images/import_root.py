"""A root file system from outside, as a directory or a tar archive, becomes an image."""

from collections.abc import Callable
from pathlib import Path

from imagekit.base.clock import Clock, rfc3339
from imagekit.base.streams import Readable
from imagekit.images.commit import store_image, store_layer
from imagekit.images.local import LocalImage
from imagekit.layers.apply import WhiteoutForm, apply_layer
from imagekit.layers.compression import open_layer
from imagekit.layers.diff import overlay_changes, tree_entries
from imagekit.layers.limits import Limits
from imagekit.oci.image_config import ContainerConfig, History, ImageConfig
from imagekit.oci.mediatype import Compression
from imagekit.oci.platform import Platform
from imagekit.store.layout import Store
from imagekit.store.leases import Lease


def import_root(
    store: Store,
    source: Path | Readable,
    *,
    name: str | None,
    lease: Lease,
    clock: Clock,
    edit: Callable[[ContainerConfig], ContainerConfig] | None = None,
    message: str = "",
    platform: Platform | None = None,
    compression: Compression = Compression.GZIP,
    form: WhiteoutForm = WhiteoutForm.OVERLAY_TRUSTED,
    limits: Limits | None = None,
) -> LocalImage:
    """Return a new image of one layer.

    ``source`` is a directory, or a stream of a tar archive, packed by gzip, zstd, bzip2, xz or not
    at all. An archive is unpacked once, safely, and that directory is both the snapshot and what
    the layer is made from.
    """
    if isinstance(source, Path):
        layer = store_layer(store, tree_entries(source), lease=lease, compression=compression)
    else:
        snapshot = store.snapshots.prepare(lease)
        try:
            _, tar = open_layer(source, limits=limits)
            apply_layer(tar, snapshot.fs, form=form, limits=limits)
            entries = overlay_changes(snapshot.fs, ())
            layer = store_layer(store, entries, lease=lease, compression=compression)
        except BaseException:
            store.snapshots.discard(snapshot)
            raise
        lease.add("chain", str(layer.diff_id))
        store.snapshots.commit(
            snapshot, chain_id=layer.diff_id, parent_chain_id=None, diff_id=layer.diff_id
        )
    created = rfc3339(clock.now())
    config = ImageConfig(
        platform=platform or Platform.host(),
        config=edit(ContainerConfig()) if edit else ContainerConfig(),
        diff_ids=(layer.diff_id,),
        history=(History(created=created, comment=message or "imported"),),
        created=created,
    )
    return store_image(
        store, config, (layer.descriptor,), lease=lease, names=(name,) if name else ()
    )
