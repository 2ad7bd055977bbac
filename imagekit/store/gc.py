"""Removing what nothing needs.

The order makes a crash harmless. First one durable transaction deletes rows (cache records over
budget, snapshots that nothing reaches): from then on nobody can find those directories. Then the
directories go. Last, under the write lock, where nobody can begin to rely on a blob, the blobs that
nothing reaches are unlinked. Whatever a crash leaves is without a row, and the next prune takes it.
"""

import contextlib
import math
import os
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from imagekit.oci.digest import Digest
from imagekit.store.blobs import BlobStore
from imagekit.store.cache_mounts import CacheMounts
from imagekit.store.disk import BLOCK_BYTES, DiskMeter, disk_usage
from imagekit.store.errors import StorageFullError, host_errors
from imagekit.store.locks import Locks
from imagekit.store.metadata import Database, Transaction
from imagekit.store.paths import StorePaths
from imagekit.store.plan import LabelFilter, Mount, Plan, Policy, Sizes, make_plan
from imagekit.store.reach import Documents, Reach
from imagekit.store.recovery import Recovery
from imagekit.store.removal import Trash, remove_tree
from imagekit.store.reserve import Reserve
from imagekit.store.snapshots import Snapshots
from imagekit.store.usage import Accountant, StoreSizes, Usage
from imagekit.store.verify import Issue, Verifier

# Inode times come from a clock that ticks every few milliseconds.
CLOCK_SLACK_S = 1.0
SMALL_BATCH = 64


class PruneReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a prune removed, or would have removed; ``freed_bytes`` are bytes on the disk."""

    blobs: tuple[Digest, ...]
    snapshots: tuple[Digest, ...]
    cache_records: tuple[str, ...]
    cache_mounts: int
    freed_bytes: int
    images: tuple[str, ...] = ()


class Collector:
    """Prune and usage; made by ``Store`` from its parts."""

    def __init__(
        self,
        *,
        database: Database,
        paths: StorePaths,
        blobs: BlobStore,
        snapshots: Snapshots,
        cache_mounts: CacheMounts,
        locks: Locks,
        trash: Trash,
        reserve: Reserve,
        recovery: Recovery,
        verifier: Verifier,
    ) -> None:
        self._database = database
        self._paths = paths
        self._blobs = blobs
        self._snapshots = snapshots
        self._cache_mounts = cache_mounts
        self._locks = locks
        self._trash = trash
        self._reserve = reserve
        self._recovery = recovery
        self._verifier = verifier

    def prune(
        self,
        *,
        everything: bool = False,
        images: bool = False,
        dry_run: bool = False,
        keep_cache_bytes: int | None = None,
        unused_since: datetime | None = None,
        labels: Iterable[LabelFilter] = (),
        spared: Iterable[Digest] = (),
    ) -> PruneReport:
        """Remove what tags, containers, leases and cache records do not reach.

        ``everything`` drops the build cache: its records, its mounts unless some work is running,
        and the stat cache. ``keep_cache_bytes`` leaves that much of it, the most recently used.
        ``images`` takes away the names of images that no container was made from and that all
        ``labels`` accept. With ``unused_since`` nothing goes that was named, used or written later,
        and the cache that was not used since then goes. Safe beside any other use of the store.
        ``spared`` manifests count as tagged. ``dry_run`` removes nothing and reports the same.

        Raises:
            CorruptionError: if a tagged document cannot be read; then nothing is removed.

        """
        policy = Policy(
            everything=everything,
            images=images,
            keep_cache_bytes=keep_cache_bytes,
            unused_since=None if unused_since is None else unused_since.timestamp(),
            labels=tuple(labels),
            spared=tuple(spared),
        )
        with self._locks.exclusive("gc"):
            if dry_run:
                return self._planned(policy)
            try:
                report = self._removed(policy, batch=None)
            except StorageFullError:
                # The log had no room for all rows at once; after some are gone, it has more.
                self._reserve.spend()
                report = self._removed(policy, batch=SMALL_BATCH)
            self._reserve.restore()
            return report

    def _planned(self, policy: Policy) -> PruneReport:
        self._recovery.run()
        self._snapshots.measure()
        sizes = self._sizes(policy)
        listed = self._directories()
        with self._database.snapshot() as transaction:
            plan = make_plan(transaction, Documents(self._blobs), policy, sizes)
            blobs = self._unreached(transaction, plan.kept, policy)
            keep_mounts = _is_working(transaction)
            orphans = _orphans(transaction, listed)
        mounts = [] if keep_mounts else [mount.size_bytes for mount in plan.mounts]
        return _report(plan, blobs, mounts, sum(map(disk_usage, orphans)))

    def _removed(self, policy: Policy, *, batch: int | None) -> PruneReport:
        self._recovery.run()
        self._snapshots.measure()
        # One reading of the documents serves all passes: what is read never changes.
        documents = Documents(self._blobs)
        sizes = self._sizes(policy)
        plan, lost_bytes = self._remove_rows(documents, policy, sizes, batch)
        blobs = self._remove_blobs(documents, policy)
        mounts = self._remove_cache_mounts(plan.mounts, policy)
        self._recovery.refresh_index()
        return _report(plan, blobs, mounts, lost_bytes)

    def usage(self) -> Usage:
        """Return what takes how much space: images, containers, build cache, mounts, the rest."""
        return self._accountant().usage()

    def sizes(self) -> StoreSizes:
        """Return how much space the store takes as a whole; quicker than ``usage``."""
        return self._accountant().sizes()

    def verify(self) -> list[Issue]:
        """Recompute every promise and return those that are broken. Reads every blob."""
        return self._verifier.verify()

    def _accountant(self) -> Accountant:
        return Accountant(
            database=self._database,
            paths=self._paths,
            blobs=self._blobs,
            snapshots=self._snapshots,
            cache_mounts=self._cache_mounts,
        )

    def _sizes(self, policy: Policy) -> Sizes:
        if not policy.drops_cache:
            return Sizes(blobs={})
        meter = DiskMeter()
        mounts = [
            Mount(path=m.path, size_bytes=meter.tree(m.path), used=m.used)
            for m in self._cache_mounts.all()
        ]
        return Sizes(blobs=self._blobs.disk_sizes(), mounts=mounts)

    def _directories(self) -> list[Path]:
        """Return every directory of a snapshot or a container, whoever made it.

        To be listed before the rows are read: a directory that appears later cannot be taken for
        an orphan, and one that was there has had its row or lease item first.
        """
        parents = (self._paths.snapshots, self._paths.containers)
        with host_errors(f"list {self._paths.root}"):
            return [parent / name for parent in parents for name in os.listdir(parent)]

    def _remove_rows(
        self, documents: Documents, policy: Policy, sizes: Sizes, batch: int | None
    ) -> tuple[Plan, int]:
        """Drop rows, then the directories that no row and no lease knows; return their bytes.

        With ``batch`` not more than so many rows of a kind in one transaction.
        """
        listed = self._directories()
        done: Plan | None = None
        lost_bytes = 0
        while True:
            with self._database.write(durable=True) as transaction:
                # Made anew each time: somebody may have leased what was to go next.
                plan = make_plan(transaction, documents, policy, sizes)
                now = plan if batch is None else plan.first(batch)
                orphans = _orphans(transaction, listed)
                transaction.run_many(
                    "DELETE FROM images WHERE name = ?", [(name,) for name in now.images]
                )
                transaction.run_many(
                    "DELETE FROM cache_records WHERE key = ?", [(key,) for key in now.cache_records]
                )
                dropped = self._snapshots.delete_rows(
                    transaction, [one for one, _ in now.snapshots]
                )
            self._snapshots.remove_directories(dropped)
            lost_bytes += sum(map(self._remove_tree, orphans))
            done = now if done is None else done.and_then(now)
            if now.rows == plan.rows:
                return done, lost_bytes

    def _remove_blobs(self, documents: Documents, policy: Policy) -> list[tuple[Digest, int]]:
        keep_all = Policy(spared=policy.spared)
        with self._database.write(durable=True) as transaction:
            # Again, because somebody may have tagged or leased since the rows went; cache records
            # that came since then keep what they need.
            kept = make_plan(transaction, documents, keep_all, Sizes(blobs={})).kept
            before = _oldest_work(transaction, policy)
            gone = [
                (digest, size)
                for digest, size in self._unreached(transaction, kept, policy)
                if self._blobs.delete_older(digest, before)
            ]
            transaction.run_many(
                "DELETE FROM layers WHERE digest = ?", [(str(digest),) for digest, _ in gone]
            )
        return gone

    def _remove_cache_mounts(self, mounts: Sequence[Mount], policy: Policy) -> list[int]:
        forgets = policy.everything and policy.unused_since is None
        if not mounts and not forgets:
            return []
        taken: list[Path] = []
        try:
            with self._database.write() as transaction:
                if _is_working(transaction):
                    return []
                if forgets:
                    transaction.run("DELETE FROM stat_cache")
                # Out of sight under the lock, where no build can begin; removed after it.
                for mount in filter(_is_unused_since, mounts):
                    path = self._trash.take(mount.path)
                    taken += [path] if path is not None else []
        finally:  # also when a full disk refuses the transaction: what is taken is gone
            sizes = [self._remove_taken(path) for path in taken]
        return sizes

    def _remove_tree(self, path: Path) -> int:
        taken = self._trash.take(path)
        return 0 if taken is None else self._remove_taken(taken)

    @staticmethod
    def _remove_taken(path: Path) -> int:
        size = disk_usage(path)
        remove_tree(path)
        return size

    def _unreached(
        self, transaction: Transaction, kept: Reach, policy: Policy
    ) -> list[tuple[Digest, int]]:
        """Return the blobs to delete, with their sizes: not kept, and older than any lease."""
        before = _oldest_work(transaction, policy)
        gone = []
        for digest in self._blobs.all():
            if str(digest) in kept.blobs:
                continue
            with contextlib.suppress(FileNotFoundError):
                status = self._blobs.path(digest).stat()
                if status.st_ctime < before:
                    gone.append((digest, status.st_blocks * BLOCK_BYTES))
        return gone


def _orphans(transaction: Transaction, listed: Iterable[Path]) -> list[Path]:
    """Return those of the directories that neither a row nor a lease knows."""
    known = {
        str(row[0])
        for row in transaction.rows(
            "SELECT id FROM snapshots UNION SELECT id FROM containers"
            " UNION SELECT value FROM lease_items WHERE kind = 'snapshot'"
        )
    }
    return [path for path in listed if path.name not in known]


def _is_working(transaction: Transaction) -> bool:
    return transaction.row("SELECT 1 FROM leases LIMIT 1") is not None


def _oldest_work(transaction: Transaction, policy: Policy) -> float:
    """Return since when blobs may be needed: by work that still runs, or by the policy."""
    ((oldest,),) = transaction.rows("SELECT min(created) FROM leases")
    work = math.inf if oldest is None else oldest - CLOCK_SLACK_S
    return work if policy.unused_since is None else min(work, policy.unused_since)


def _is_unused_since(mount: Mount) -> bool:
    """Tell whether nobody has used a cache mount since it was measured."""
    try:
        return mount.path.stat().st_mtime <= mount.used
    except FileNotFoundError:
        return False


def _report(
    plan: Plan, blobs: Sequence[tuple[Digest, int]], mounts: Sequence[int], lost_bytes: int
) -> PruneReport:
    freed = sum(size for _, size in (*plan.snapshots, *blobs)) + sum(mounts) + lost_bytes
    return PruneReport(
        blobs=tuple(digest for digest, _ in blobs),
        snapshots=tuple(Digest.parse(chain_id) for chain_id, _ in plan.snapshots),
        cache_records=plan.cache_records,
        cache_mounts=len(mounts),
        freed_bytes=freed,
        images=plan.images,
    )
