"""Snapshots: layer directories, each on top of a parent, named by their chain id.

A snapshot is prepared (a directory that only a lease knows), filled by whoever mounts or unpacks
there, and committed (a row). Rows appear at once; the files reach the disk with ``flush``, once
for many snapshots, because a syncfs(2) costs 40 to 190 ms. A killed process loses nothing by that.
After a power cut the rows that were not flushed are dropped by the next ``Store.open``.
"""

import contextlib
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from imagekit.base.clock import Clock
from imagekit.base.fds import OwnedFd
from imagekit.base.tokens import token_hex
from imagekit.oci.digest import Digest
from imagekit.store.disk import disk_usage
from imagekit.store.errors import (
    FSCK_HINT,
    ContentNotFoundError,
    SnapshotInUseError,
    StoreCorruptError,
    StoreUnavailableError,
    host_errors,
)
from imagekit.store.leases import Lease, add_item, drop_item
from imagekit.store.metadata import Database, Row, Transaction
from imagekit.store.owner import Owner
from imagekit.store.removal import Trash

MAX_DEPTH = 1000
_COLUMNS = "chain_id, id, parent, diff_id, size_bytes, created, used, durable"


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A directory being filled: ``fs`` is overlayfs' upperdir, ``work`` its workdir."""

    id: str
    path: Path
    lease: Lease

    @property
    def fs(self) -> Path:
        """The layer directory, in overlayfs' own form."""
        return self.path / "fs"

    @property
    def work(self) -> Path:
        """The overlay's workdir; empty until it is mounted."""
        return self.path / "work"


class CommittedSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A layer that never changes any more. ``size_bytes`` is None until it has been measured."""

    chain_id: Digest
    id: str
    path: Path
    parent: Digest | None
    diff_id: Digest
    size_bytes: int | None
    created: datetime
    used: datetime
    durable: bool

    @property
    def fs(self) -> Path:
        """The layer directory, in overlayfs' own form."""
        return self.path / "fs"


class Snapshots:
    """The layer directories below ``directory`` and their rows."""

    def __init__(
        self, database: Database, directory: Path, trash: Trash, clock: Clock, owner: Owner
    ) -> None:
        self._database = database
        self._directory = directory
        self._trash = trash
        self._clock = clock
        self._boot = owner.boot
        self.has_grown = False
        """Whether a snapshot has come in that was not here, through this object."""

    def prepare(self, lease: Lease) -> Snapshot:
        """Return a new empty directory that lives as long as the lease, unless committed."""
        identifier = token_hex(8)
        # Leased before it exists: a prune lists directories first and reads leases second.
        lease.add("snapshot", identifier)
        snapshot = Snapshot(id=identifier, path=self._directory / identifier, lease=lease)
        with host_errors(f"create snapshot {snapshot.path}"):
            snapshot.path.mkdir(mode=0o700)
            snapshot.fs.mkdir()
            snapshot.work.mkdir(mode=0o700)
            snapshot.fs.chmod(0o755)
        return snapshot

    def commit(
        self,
        snapshot: Snapshot,
        *,
        chain_id: Digest,
        parent_chain_id: Digest | None,
        diff_id: Digest,
        size_bytes: int | None = None,
        keep_duplicate: bool = False,
    ) -> CommittedSnapshot:
        """Make the directory the snapshot ``chain_id``; its lease then keeps that chain.

        It must not be written to any more. If the chain id is there already (another process was
        first) the existing one is returned and the new directory removed, or, with
        ``keep_duplicate``, left to its lease: it may be a layer below something mounted. Atomic.

        Raises:
            ContentNotFoundError: if the parent is not in the store.

        """
        now = self._clock.now().timestamp()
        with self._database.write() as transaction:
            add_item(transaction, snapshot.lease.id, "chain", str(chain_id))
            existing = self._select(transaction, chain_id)
            if existing is None:
                if parent_chain_id is not None and not self._has(transaction, parent_chain_id):
                    raise _not_found(parent_chain_id)
                transaction.run(
                    f"INSERT INTO snapshots ({_COLUMNS}, boot) VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?)",  # noqa: S608 (a constant)
                    str(chain_id),
                    snapshot.id,
                    None if parent_chain_id is None else str(parent_chain_id),
                    str(diff_id),
                    size_bytes,
                    now,
                    now,
                    self._boot,
                )
                drop_item(transaction, snapshot.lease.id, "snapshot", snapshot.id)
        if existing is not None:
            if not keep_duplicate:
                self.discard(snapshot)
            return existing
        self.has_grown = True
        moment = datetime.fromtimestamp(now, UTC)
        return CommittedSnapshot(
            chain_id=chain_id,
            id=snapshot.id,
            path=snapshot.path,
            parent=parent_chain_id,
            diff_id=diff_id,
            size_bytes=size_bytes,
            created=moment,
            used=moment,
            durable=False,
        )

    def discard(self, snapshot: Snapshot) -> None:
        """Remove a prepared directory; idempotent. It must not be mounted any more.

        What cannot be removed now is left to the end of the lease.
        """
        with contextlib.suppress(StoreUnavailableError):
            self._trash.remove(snapshot.path)
            snapshot.lease.drop("snapshot", snapshot.id)

    def get(self, chain_id: Digest) -> CommittedSnapshot | None:
        """Return the snapshot, None if it is not in the store."""
        row = self._database.row(
            f"SELECT {_COLUMNS} FROM snapshots WHERE chain_id = ?",  # noqa: S608 (a constant)
            str(chain_id),
        )
        return None if row is None else self._committed(row)

    def lowerdirs(self, chain_id: Digest) -> tuple[Path, ...]:
        """Return the layer directories of the chain, topmost first.

        Raises:
            ContentNotFoundError: if the snapshot is not in the store.
            StoreCorruptError: if a directory is missing.

        """
        rows = self._database.rows(
            "WITH RECURSIVE chain (id, parent, depth) AS ("
            " SELECT id, parent, 0 FROM snapshots WHERE chain_id = ?"
            " UNION ALL"
            " SELECT s.id, s.parent, depth + 1"
            " FROM snapshots s JOIN chain ON s.chain_id = chain.parent"
            " WHERE depth < ?"  # a damaged database may have a circle
            ") SELECT id, parent FROM chain ORDER BY depth",
            str(chain_id),
            MAX_DEPTH,
        )
        if not rows:
            raise _not_found(chain_id)
        if rows[-1][1] is not None:
            raise StoreCorruptError(
                f"snapshot {rows[-1][1]} below {chain_id} is missing", hint=FSCK_HINT
            )
        directories = tuple(self._directory / str(row[0]) / "fs" for row in rows)
        for directory in directories:
            # Mounting would say no more than that something is not there.
            if not os.path.isdir(directory):
                raise StoreCorruptError(
                    f"the files of snapshot {chain_id} are damaged: {directory} is missing",
                    hint=FSCK_HINT,
                )
        return directories

    def all(self) -> list[CommittedSnapshot]:
        """Return all snapshots, sorted by chain id."""
        rows = self._database.rows(
            f"SELECT {_COLUMNS} FROM snapshots ORDER BY chain_id"  # noqa: S608 (a constant)
        )
        return list(map(self._committed, rows))

    def mark_used(self, *chain_ids: Digest) -> None:
        """Note that these were used now; one transaction for all."""
        now = self._clock.now().timestamp()
        with self._database.write() as transaction:
            for chain_id in chain_ids:
                transaction.run(
                    "UPDATE snapshots SET used = ? WHERE chain_id = ?", now, str(chain_id)
                )

    def remove(self, chain_id: Digest) -> None:
        """Remove a snapshot and the cache records that lead to it; idempotent.

        Raises:
            SnapshotInUseError: if another snapshot, a container or a lease needs it.

        """
        with self._database.write(durable=True) as transaction:
            user = transaction.row(
                "SELECT 'snapshot ' || chain_id FROM snapshots WHERE parent = ?"
                " UNION ALL SELECT 'container ' || name FROM containers WHERE chain_id = ?"
                " UNION ALL SELECT 'lease ' || reason FROM lease_items JOIN leases ON lease = id"
                " WHERE kind = 'chain' AND value = ?",
                *[str(chain_id)] * 3,
            )
            if user is not None:
                raise SnapshotInUseError(f"remove snapshot {chain_id}: {user[0]} needs it")
            identifiers = self.delete_rows(transaction, [str(chain_id)])
        self.remove_directories(identifiers)

    def flush(self, *, min_age_s: float = 0.0) -> None:
        """Bring every committed snapshot of any process to the disk; one syncfs(2) for all.

        Without pending snapshots it costs nothing. With ``min_age_s`` it also does nothing while
        all pending ones are younger: by then the kernel has written most of them by itself, and
        what a power cut takes before is unpacked or built again.
        """
        pending = self._database.rows(
            "SELECT id FROM snapshots WHERE durable = 0 AND created <= ?",
            self._clock.now().timestamp() - min_age_s,
        )
        if not pending:
            return
        # Late, because starting up without it is faster and most commands never flush.
        from imagekit.linux.files import syncfs

        with host_errors(f"flush {self._directory}"):
            fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            with OwnedFd(fd) as directory:
                syncfs(directory.fileno())
        with self._database.write(durable=True) as transaction:
            transaction.run_many("UPDATE snapshots SET durable = 1 WHERE id = ?", pending)

    def drop_lost(self) -> int:
        """Drop what a power cut may have damaged, and all that stands on it; return how many.

        Those are the snapshots that were committed in another boot and never flushed.
        """
        with self._database.write(durable=True) as transaction:
            rows = transaction.rows(
                "WITH RECURSIVE lost (chain_id) AS ("
                " SELECT chain_id FROM snapshots WHERE durable = 0 AND boot != ?"
                " UNION"
                " SELECT s.chain_id FROM snapshots s JOIN lost ON s.parent = lost.chain_id"
                ") SELECT chain_id FROM lost",
                self._boot,
            )
            identifiers = self.delete_rows(transaction, [str(row[0]) for row in rows])
        self.remove_directories(identifiers)
        return len(identifiers)

    def measure(self) -> None:
        """Fill in the sizes of all snapshots that nobody has measured yet."""
        rows = self._database.rows("SELECT id FROM snapshots WHERE size_bytes IS NULL")
        sizes: Sequence[Row] = [
            (disk_usage(self._directory / str(identifier)), identifier) for (identifier,) in rows
        ]
        if sizes:
            with self._database.write() as transaction:
                transaction.run_many("UPDATE snapshots SET size_bytes = ? WHERE id = ?", sizes)

    def total_bytes(self) -> int:
        """Return the size of all snapshots that have been measured."""
        ((total,),) = self._database.rows("SELECT coalesce(sum(size_bytes), 0) FROM snapshots")
        return int(total)

    def directories(self) -> list[str]:
        """Return the names of all directories, committed or not."""
        with host_errors(f"list {self._directory}"):
            return os.listdir(self._directory)

    def remove_unfinished(self, identifiers: Sequence[str]) -> None:
        """Remove those of the directories that nobody came to commit."""
        self.remove_directories(
            [
                identifier
                for identifier in identifiers
                if not self._database.row("SELECT 1 FROM snapshots WHERE id = ?", identifier)
            ]
        )

    def remove_directories(self, identifiers: Sequence[str]) -> None:
        """Remove directories that no row and no lease knows."""
        for identifier in identifiers:
            self._trash.remove(self._directory / identifier)

    @staticmethod
    def delete_rows(transaction: Transaction, chain_ids: Sequence[str]) -> list[str]:
        """Delete rows, with the cache records that lead there; return their directories' names."""
        identifiers = []
        for chain_id in chain_ids:
            transaction.run("DELETE FROM cache_records WHERE chain_id = ?", chain_id)
            rows = transaction.rows("SELECT id FROM snapshots WHERE chain_id = ?", chain_id)
            transaction.run("DELETE FROM snapshots WHERE chain_id = ?", chain_id)
            identifiers += [str(row[0]) for row in rows]
        return identifiers

    def _select(self, transaction: Transaction, chain_id: Digest) -> CommittedSnapshot | None:
        row = transaction.row(
            f"SELECT {_COLUMNS} FROM snapshots WHERE chain_id = ?",  # noqa: S608 (a constant)
            str(chain_id),
        )
        return None if row is None else self._committed(row)

    @staticmethod
    def _has(transaction: Transaction, chain_id: Digest) -> bool:
        row = transaction.row("SELECT 1 FROM snapshots WHERE chain_id = ?", str(chain_id))
        return row is not None

    def _committed(self, row: Row) -> CommittedSnapshot:
        chain_id, identifier, parent, diff_id, size_bytes, created, used, durable = row
        return CommittedSnapshot(
            chain_id=Digest.parse(str(chain_id)),
            id=str(identifier),
            path=self._directory / str(identifier),
            parent=None if parent is None else Digest.parse(str(parent)),
            diff_id=Digest.parse(str(diff_id)),
            size_bytes=size_bytes,
            created=datetime.fromtimestamp(created, UTC),
            used=datetime.fromtimestamp(used, UTC),
            durable=bool(durable),
        )


def _not_found(chain_id: Digest) -> ContentNotFoundError:
    return ContentNotFoundError(f"snapshot {chain_id} is not in the store")
