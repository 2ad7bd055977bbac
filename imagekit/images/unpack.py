"""From the layer blobs of an image to snapshots that overlayfs can stack."""

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from imagekit.base.streams import HashingReader
from imagekit.images.errors import DiffIdMismatchError, LayerMismatchError, UnsupportedLayerError
from imagekit.images.local import LocalImage
from imagekit.oci import mediatype
from imagekit.oci.content import BlobReader
from imagekit.oci.descriptor import Descriptor
from imagekit.oci.digest import Digest
from imagekit.oci.image_config import next_chain_id
from imagekit.oci.mediatype import Compression
from imagekit.store.layout import Store
from imagekit.store.leases import Lease

if TYPE_CHECKING:
    from imagekit.layers.limits import Limits

FEW_LAYERS = 100  # below that nobody has to ask whether overlayfs can stack them


def unpack(
    store: Store,
    image: LocalImage,
    *,
    lease: Lease,
    limits: "Callable[[], Limits] | None" = None,
    open_blob: Callable[[Descriptor], BlobReader] | None = None,
) -> Digest | None:
    """Make every layer of the image a committed snapshot and return the top chain id.

    Idempotent: layers that are unpacked already cost one look-up. The diff id of each layer is
    verified while it is applied; a layer that does not match leaves nothing behind. How a layer is
    packed is seen from its first bytes, whatever its media type says, as docker does. ``limits`` is
    asked only if there is a layer to unpack. ``open_blob`` opens a layer (the stored one if None).

    Raises:
        LayerMismatchError: if manifest and config have different numbers of layers.
        LayerLimitError: if there are more layers than overlayfs can stack.
        UnsupportedLayerError: if the media type of a layer is none of a file system.
        DiffIdMismatchError: if a layer's content is not what the config promises.
        BlobMissingError, BlobDamagedError: if a stored layer is not what it was.
        LayerError: from a layer's archive; the message names layer and image.

    """
    layers, diff_ids = image.manifest.layers, image.config.diff_ids
    if len(layers) != len(diff_ids):
        raise LayerMismatchError(
            f"image {image.id} has {len(layers)} layers but {len(diff_ids)} diff ids"
        )
    if len(layers) > FEW_LAYERS:
        from imagekit.layers.overlay import check_depth

        check_depth(len(layers), f"image {image.id} has")
    chain_id: Digest | None = None
    for layer, diff_id in zip(layers, diff_ids, strict=True):
        parent, chain_id = chain_id, next_chain_id(chain_id, diff_id)
        lease.add("chain", str(chain_id))
        if store.snapshots.get(chain_id) is None:
            _unpack_layer(store, image, layer, diff_id, chain_id, parent, lease, limits, open_blob)
    if chain_id is not None:
        store.snapshots.lowerdirs(chain_id)  # or it says which directory is missing
    return chain_id


def _unpack_layer(
    store: Store,
    image: LocalImage,
    layer: Descriptor,
    diff_id: Digest,
    chain_id: Digest,
    parent: Digest | None,
    lease: Lease,
    limits: "Callable[[], Limits] | None",
    open_blob: Callable[[Descriptor], BlobReader] | None,
) -> None:
    # Late, here and below: most images are unpacked already.
    from imagekit.images.damage import layer_blamed, shown_name

    if not mediatype.is_layer(layer.media_type):
        raise UnsupportedLayerError(
            f"layer {layer.digest} of image {shown_name(image.name, image.id)} has the media type"
            f" {layer.media_type!r}, which is no file system",
            hint="An artifact cannot be run; an encrypted image has to be decrypted first.",
        )
    bounds = limits() if limits else None
    with layer_blamed(store, image, layer):
        blob = open_blob(layer) if open_blob else store.blobs.open(layer.digest)
        with contextlib.closing(blob):
            _apply(store, layer, blob, diff_id, chain_id, parent, lease, bounds)


def _apply(
    store: Store,
    layer: Descriptor,
    blob: BlobReader,
    diff_id: Digest,
    chain_id: Digest,
    parent: Digest | None,
    lease: Lease,
    limits: "Limits | None",
) -> None:
    from imagekit.layers.apply import WhiteoutForm, apply_layer
    from imagekit.layers.compression import open_layer
    from imagekit.layers.pipeline import ReadAhead

    snapshot = store.snapshots.prepare(lease)
    try:
        kind, tar = open_layer(blob, limits=limits)
        content = HashingReader(tar, diff_id.algorithm)
        lowerdirs = store.snapshots.lowerdirs(parent) if parent else ()
        with ReadAhead(content) as ahead:  # to its end
            result = apply_layer(
                ahead,
                snapshot.fs,
                lowerdirs=lowerdirs,
                form=WhiteoutForm.OVERLAY_TRUSTED,
                limits=limits,
            )
        check_diff_id(Digest(diff_id.algorithm, content.hexdigest()), diff_id)
    except BaseException:
        store.snapshots.discard(snapshot)
        raise
    # Old archives have layers packed by bzip2 or xz; they are taken but never offered again.
    if kind in list(Compression):
        store.layers.record(
            diff_id=diff_id,
            digest=layer.digest,
            compression=Compression(kind),
            size=layer.size,
            uncompressed_size=result.unpacked_bytes,
        )
    store.snapshots.commit(snapshot, chain_id=chain_id, parent_chain_id=parent, diff_id=diff_id)


def check_diff_id(found: Digest, promised: Digest) -> None:
    """Raise DiffIdMismatchError if a layer has other content than the config says."""
    if found != promised:
        raise DiffIdMismatchError(
            f"it unpacks to {found}, while the image's config promises {promised}"
        )
