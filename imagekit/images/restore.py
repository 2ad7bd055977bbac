"""Making a lost layer blob again from the files that it was unpacked to.

The tar writer and the compressors are deterministic, so for a layer that was packed here with the
usual level the result is the very blob; its digest decides.
"""

from collections.abc import Iterable

from imagekit.layers.diff import overlay_changes
from imagekit.layers.errors import LayerError
from imagekit.layers.pack import pack
from imagekit.store.errors import BlobMismatchError, StoreCorruptError
from imagekit.store.layer_blobs import LayerBlob
from imagekit.store.layout import Store
from imagekit.store.leases import Lease
from imagekit.store.verify import SnapshotRow


def restore_blob(
    store: Store, lease: Lease, layer: LayerBlob, snapshots: Iterable[SnapshotRow]
) -> bool:
    """Pack the layer from one of ``snapshots`` that has its diff id; tell whether it is here again.

    Nothing is stored that is not the blob.
    """
    for snapshot in snapshots:
        if snapshot.diff_id != layer.diff_id:
            continue
        lease.add("chain", str(snapshot.chain_id))
        try:
            fs, *below = store.snapshots.lowerdirs(snapshot.chain_id)
            with store.blobs.writer(layer.digest, layer.size) as writer:
                pack(overlay_changes(fs, below), writer, compression=layer.compression)
                writer.commit()
        except (BlobMismatchError, LayerError, StoreCorruptError):
            continue  # of another tool, of another level, or damaged too
        store.layers.record(
            diff_id=layer.diff_id,
            digest=layer.digest,
            compression=layer.compression,
            size=layer.size,
            uncompressed_size=layer.uncompressed_size,
        )
        return True
    return False
