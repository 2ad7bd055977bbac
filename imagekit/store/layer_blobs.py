"""What is known about layers: which blobs hold which uncompressed content."""

import msgspec

from imagekit.oci.digest import Digest
from imagekit.oci.mediatype import Compression
from imagekit.store.metadata import Database, Row


class LayerBlob(msgspec.Struct, frozen=True, kw_only=True):
    """A layer as a blob: ``digest`` and ``size`` of the bytes stored, ``diff_id`` of the tar."""

    digest: Digest
    diff_id: Digest
    compression: Compression
    size: int
    uncompressed_size: int


class LayerBlobs:
    """Digests of layers to diff ids and back. Knowing a blob does not mean that it is here."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(
        self,
        *,
        diff_id: Digest,
        digest: Digest,
        compression: Compression,
        size: int,
        uncompressed_size: int,
    ) -> None:
        """Remember that blob ``digest`` unpacks to ``diff_id``; sizes in bytes. Idempotent."""
        with self._database.write() as transaction:
            transaction.run(
                "INSERT OR REPLACE INTO layers VALUES (?, ?, ?, ?, ?)",
                str(digest),
                str(diff_id),
                compression.value,
                size,
                uncompressed_size,
            )

    def blobs_of(self, diff_id: Digest) -> list[LayerBlob]:
        """Return every known blob of this content, sorted by digest."""
        rows = self._database.rows(
            "SELECT * FROM layers WHERE diff_id = ? ORDER BY digest", str(diff_id)
        )
        return list(map(_layer, rows))

    def uncompressed_sizes(self) -> dict[str, int]:
        """Return the bytes of every known layer's content by the text of its diff id."""
        return dict(self._database.rows("SELECT diff_id, uncompressed_bytes FROM layers"))

    def get(self, digest: Digest) -> LayerBlob | None:
        """Return what is known about one blob."""
        row = self._database.row("SELECT * FROM layers WHERE digest = ?", str(digest))
        return None if row is None else _layer(row)

    def diff_id_of(self, digest: Digest) -> Digest | None:
        """Return the diff id of a layer blob."""
        layer = self.get(digest)
        return None if layer is None else layer.diff_id


def _layer(row: Row) -> LayerBlob:
    digest, diff_id, compression, size, uncompressed_size = row
    return LayerBlob(
        digest=Digest.parse(str(digest)),
        diff_id=Digest.parse(str(diff_id)),
        compression=Compression(compression),
        size=size,
        uncompressed_size=uncompressed_size,
    )
