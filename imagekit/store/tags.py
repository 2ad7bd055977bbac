"""Tags: the names of images."""

from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from imagekit.base.clock import Clock
from imagekit.oci.descriptor import Descriptor, RawDescriptor
from imagekit.oci.digest import Digest
from imagekit.oci.documents import decode, encode
from imagekit.store.blobs import BlobStore
from imagekit.store.errors import ContentNotFoundError
from imagekit.store.metadata import Database, Transaction


class TaggedImage(msgspec.Struct, frozen=True, kw_only=True):
    """A name, the manifest or index it stands for, and since when."""

    name: str
    descriptor: Descriptor
    updated: datetime


class Tags:
    """Names to descriptors. ``changed`` is called after each change, outside the transaction."""

    def __init__(
        self, database: Database, blobs: BlobStore, clock: Clock, changed: Callable[[], None]
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._clock = clock
        self._changed = changed

    def set(self, name: str, descriptor: Descriptor) -> None:
        """Make ``name`` stand for ``descriptor``, whatever it stood for; atomic.

        Raises:
            ContentNotFoundError: if the descriptor's blob is not in the store.

        """
        self._blobs.sync()
        with self._database.write() as transaction:
            changed = self._put(transaction, name, descriptor)
        if changed:
            self._changed()

    def move(self, name: str, expected: Digest | None, new: Descriptor) -> bool:
        """Make ``name`` stand for ``new`` if it stands for ``expected`` (None: for nothing) now.

        Return whether it did; of several processes that expect the same, exactly one succeeds.

        Raises:
            ContentNotFoundError: if the new descriptor's blob is not in the store.

        """
        self._blobs.sync()
        with self._database.write() as transaction:
            row = transaction.row("SELECT digest FROM images WHERE name = ?", name)
            if (None if row is None else row[0]) != (None if expected is None else str(expected)):
                return False
            self._put(transaction, name, new)
        self._changed()
        return True

    def get(self, name: str) -> TaggedImage | None:
        """Return what ``name`` stands for."""
        row = self._database.row("SELECT descriptor, updated FROM images WHERE name = ?", name)
        return None if row is None else _image(name, row[0], row[1])

    def delete(self, name: str) -> bool:
        """Forget ``name`` and tell whether it was known; its content goes with the next prune."""
        with self._database.write() as transaction:
            known = transaction.run("DELETE FROM images WHERE name = ?", name) > 0
        if known:
            self._changed()
        return known

    def all(self) -> list[TaggedImage]:
        """Return all tags, sorted by name."""
        rows = self._database.rows("SELECT name, descriptor, updated FROM images ORDER BY name")
        return [_image(*row) for row in rows]

    def _put(self, transaction: Transaction, name: str, descriptor: Descriptor) -> bool:
        # Under the write lock no prune is deleting: what is here now stays.
        if not self._blobs.has(descriptor.digest):
            raise ContentNotFoundError(
                f"tag {name}: {descriptor.digest} is not in the store",
                hint="Hold a lease from before the content is written until it is tagged.",
            )
        raw = encode(descriptor.to_raw())
        now = self._clock.now().timestamp()
        row = transaction.row("SELECT descriptor FROM images WHERE name = ?", name)
        if row is not None and row[0] == raw:
            transaction.run("UPDATE images SET updated = ? WHERE name = ?", now, name)
            return False
        transaction.run(
            "INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?)",
            name,
            raw,
            str(descriptor.digest),
            now,
        )
        return True


def _image(name: str, descriptor: bytes, updated: float) -> TaggedImage:
    return TaggedImage(
        name=name,
        descriptor=Descriptor.from_raw(decode(descriptor, RawDescriptor, f"tag {name}")),
        updated=datetime.fromtimestamp(updated, UTC),
    )
