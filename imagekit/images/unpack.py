"""From the layer blobs of an image to snapshots that overlayfs can stack."""

from imagekit.base.streams import CHUNK_BYTES, VerifiedReader
from imagekit.images.errors import LayerMismatchError
from imagekit.images.local import LocalImage
from imagekit.oci.descriptor import Descriptor
from imagekit.oci.digest import Digest
from imagekit.oci.image_config import next_chain_id
from imagekit.oci.mediatype import Compression
from imagekit.store.layout import Store
from imagekit.store.leases import Lease

FEW_LAYERS = 100  # below that nobody has to ask whether overlayfs can stack them


def unpack(
    store: Store,
    image: LocalImage,
    *,
    lease: Lease,
) -> Digest | None:
    """Make every layer of the image a committed snapshot and return the top chain id.

    Idempotent: layers that are unpacked already cost one look-up. The diff id of each layer is
    verified while it is applied; a layer that does not match leaves nothing behind.

    Raises:
        LayerMismatchError: if manifest and config have different numbers of layers.
        LayerLimitError: if there are more layers than overlayfs can stack.
        DigestMismatchError: if a layer's content is not what the config promises.

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
            _unpack_layer(store, layer, diff_id, chain_id, parent, lease)
    return chain_id


def _unpack_layer(
    store: Store,
    layer: Descriptor,
    diff_id: Digest,
    chain_id: Digest,
    parent: Digest | None,
    lease: Lease,
) -> None:
    # Late: most images are unpacked already.
    from imagekit.layers.apply import WhiteoutForm, apply_layer
    from imagekit.layers.compression import open_layer

    snapshot = store.snapshots.prepare(lease)
    try:
        with store.blobs.open(layer.digest) as blob:
            kind, tar = open_layer(blob)
            verified = VerifiedReader(tar, digest=str(diff_id), size=None)
            lowerdirs = store.snapshots.lowerdirs(parent) if parent else ()
            result = apply_layer(
                verified, snapshot.fs, lowerdirs=lowerdirs, form=WhiteoutForm.OVERLAY_TRUSTED
            )
            while verified.read(CHUNK_BYTES):
                pass
            verified.finish()
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
