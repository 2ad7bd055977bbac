"""Setting right what ended processes, and power cuts, left behind."""

import contextlib
import os

from imagekit.oci.descriptor import RawDescriptor
from imagekit.oci.documents import decode, encode
from imagekit.store.errors import StorageFullError, host_errors
from imagekit.store.leases import Leases
from imagekit.store.locks import Locks
from imagekit.store.metadata import Database
from imagekit.store.owner import Owner
from imagekit.store.paths import StorePaths
from imagekit.store.removal import Trash
from imagekit.store.snapshots import Snapshots

INDEX_IS_STALE = "index"
"""The key in ``meta`` that every change of the tags sets, see the schema's triggers."""
_INDEX = (
    b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[%s]}'
)
REFERENCE_ANNOTATION = "org.opencontainers.image.ref.name"


class Recovery:
    """What ``Store.open`` and prune do first. Idempotent; any number of processes may run it."""

    def __init__(
        self,
        *,
        database: Database,
        paths: StorePaths,
        snapshots: Snapshots,
        leases: Leases,
        locks: Locks,
        trash: Trash,
        owner: Owner,
    ) -> None:
        self._database = database
        self._paths = paths
        self._snapshots = snapshots
        self._leases = leases
        self._locks = locks
        self._trash = trash
        self._owner = owner

    def run(self) -> None:
        """End dead leases, sweep ``tmp``, and after a reboot drop unflushed snapshots."""
        facts: dict[str, str] = dict(self._database.rows("SELECT key, value FROM meta"))
        is_first = facts.get("boot") != self._owner.boot
        if is_first:
            self._after_reboot()
        dead = self._leases.dead()
        if dead:
            # A disk too full to tidy is no reason not to read.
            with contextlib.suppress(StorageFullError):
                self._leases.end(dead)
        if is_first or INDEX_IS_STALE in facts:
            # A process died, or the disk was full, between a tag and the index.
            self.tags_changed()
        self._trash.sweep()

    def tags_changed(self) -> None:
        """Write index.json if there is room; if not, a later process does.

        The tags themselves are in the database: it is no failure of who changed them.
        """
        with contextlib.suppress(StorageFullError):
            self.refresh_index()

    def refresh_index(self) -> None:
        """Write index.json of the image layout from the tags; readers see the old or the new.

        Source: OCI image-spec image-layout.md "index.json", annotations.md.
        """
        target = self._paths.content / "index.json"
        with self._locks.exclusive("index"):
            with self._database.snapshot() as transaction:
                mark = transaction.row("SELECT value FROM meta WHERE key = ?", INDEX_IS_STALE)
                rows = transaction.rows("SELECT name, descriptor FROM images ORDER BY name")
            document = _INDEX % b",".join(
                _entry(str(name), raw) for name, raw in rows if _is_object(raw)
            )
            # In tmp, where a killed process's file is swept; not flushed, as it can be made again.
            temporary = self._trash.new_path("index")
            with host_errors(f"write {target}"):
                try:
                    temporary.write_bytes(document)
                    temporary.rename(target)
                except BaseException:
                    temporary.unlink(missing_ok=True)
                    raise
            if mark is not None:
                # Only that mark: a tag that came after the rows were read has set another.
                with self._database.write() as transaction:
                    transaction.run(
                        "DELETE FROM meta WHERE key = ? AND value = ?", INDEX_IS_STALE, mark[0]
                    )

    def _after_reboot(self) -> None:
        self._snapshots.drop_lost()
        with self._database.write() as transaction:
            transaction.run("INSERT OR REPLACE INTO meta VALUES ('boot', ?)", self._owner.boot)
            # It was not flushed, or there is none yet.
            transaction.run("INSERT OR REPLACE INTO meta VALUES (?, '')", INDEX_IS_STALE)


def _is_object(raw: object) -> bool:
    """Tell whether a row has a descriptor; one that has not, in a damaged database, fsck tells."""
    return isinstance(raw, bytes) and raw.startswith(b"{") and raw.endswith(b"}")


def _entry(name: str, raw: bytes) -> bytes:
    """Return a tag's descriptor, which is JSON, with its name among the annotations."""
    if b'"annotations"' not in raw:
        # As text: with a thousand tags, reading and writing each would cost more than all else.
        return b'%s,"annotations":%s}' % (raw[:-1], encode({REFERENCE_ANNOTATION: name}))
    descriptor = decode(raw, RawDescriptor, f"tag {name}")
    descriptor.annotations = {**(descriptor.annotations or {}), REFERENCE_ANNOTATION: name}
    return encode(descriptor)


def make_directories(paths: StorePaths) -> None:
    """Create the tree of a store; does nothing to what is there.

    Raises:
        StoreUnavailableError: if it cannot be created.

    """
    with host_errors(f"create the store {paths.root}"):
        if not paths.root.is_dir():
            paths.root.mkdir(parents=True, exist_ok=True)
            os.chmod(paths.root, 0o711)  # noqa: S103 (overlay mounts of other users pass through)
        for directory in paths.private_directories:
            directory.mkdir(mode=0o700, exist_ok=True)
