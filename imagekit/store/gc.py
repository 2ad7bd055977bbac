"""Removing what nothing needs, counting what there is.

The order makes a crash harmless. First one durable transaction deletes rows (cache records over
budget, snapshots that nothing reaches): from then on nobody can find those directories. Then the
directories go. Last, under the write lock, where nobody can begin to rely on a blob, the blobs that
nothing reaches are unlinked. Whatever a crash leaves is without a row, and the next prune takes it.
"""

import contextlib
import math
import os
from collections.abc import Iterable, Mapping

import msgspec

from imagekit.oci.digest import Digest
from imagekit.store.blobs import BlobStore
from imagekit.store.cache_mounts import CacheMounts
from imagekit.store.errors import ContentNotFoundError, host_errors
from imagekit.store.locks import Locks
from imagekit.store.metadata import Database, Transaction
from imagekit.store.paths import StorePaths
from imagekit.store.reach import Reach, roots, snapshot_parents
from imagekit.store.recovery import Recovery
from imagekit.store.removal import Trash, remove_tree
from imagekit.store.snapshots import Snapshots, disk_usage
from imagekit.store.verify import Issue, Verifier

# Inode times come from a clock that ticks every few milliseconds.
CLOCK_SLACK_S = 1.0
NO_CACHE = -1


class PruneReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a prune removed, or would have removed."""

    blobs: tuple[Digest, ...]
    snapshots: tuple[Digest, ...]
    cache_records: tuple[str, ...]
    cache_mounts: int
    freed_bytes: int


class UsageRow(msgspec.Struct, frozen=True, kw_only=True):
    """One line of ``system df``; the rows do not overlap, so that sizes add up.

    ``active`` counts what something else relies on, ``reclaimable_bytes`` is what
    ``prune(everything=True)`` frees.
    """

    kind: str
    count: int
    active: int
    size_bytes: int
    reclaimable_bytes: int


class _Plan(msgspec.Struct, frozen=True):
    """What to keep, and which rows to drop to get there."""

    kept: Reach
    cache_records: tuple[str, ...]
    snapshots: tuple[str, ...]
    snapshot_bytes: int


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
        self._recovery = recovery
        self._verifier = verifier

    def prune(
        self,
        *,
        everything: bool = False,
        dry_run: bool = False,
        keep_cache_bytes: int | None = None,
    ) -> PruneReport:
        """Remove what tags, containers, leases and cache records do not reach.

        ``keep_cache_bytes`` bounds what is kept for the sake of cache records only; the least
        recently used go first, None keeps all. ``everything`` drops the whole build cache, and the
        cache mounts and the stat cache too unless some work is running. Safe beside any other use
        of the store. ``dry_run`` removes nothing and reports the same.

        Raises:
            CorruptionError: if a tagged document cannot be read; then nothing is removed.

        """
        budget = NO_CACHE if everything else keep_cache_bytes
        with self._locks.exclusive("gc"):
            self._recovery.run()
            self._snapshots.measure()
            if dry_run:
                with self._database.snapshot() as transaction:
                    plan = self._plan(transaction, budget)
                    blobs = self._unreached(transaction, plan.kept)
                    keep_mounts = not everything or _is_working(transaction)
                mounts = [] if keep_mounts else self._cache_mounts.sizes()
                return _report(plan, blobs, mounts)
            plan = self._remove_rows(budget)
            blobs = self._remove_blobs(budget)
            mounts = self._remove_cache_mounts() if everything else []
            self._recovery.refresh_index()
            return _report(plan, blobs, mounts)

    def usage(self) -> list[UsageRow]:
        """Return what takes how much space: images, containers, build cache, mounts, the rest."""
        self._snapshots.measure()
        mounts = self._cache_mounts.sizes()
        with self._database.snapshot() as transaction:
            used = roots(transaction, self._blobs)
            kept = self._plan(transaction, None).kept
            sizes = _snapshot_sizes(transaction)
            tags = transaction.rows("SELECT name, digest FROM images")
            container_images = [str(r[0]) for r in transaction.rows("SELECT image FROM containers")]
            container_ids = [str(row[0]) for row in transaction.rows("SELECT id FROM containers")]
            records = transaction.rows("SELECT chain_id FROM cache_records")
        blob_sizes = dict(self._blob_sizes())
        in_use = sum(
            1 for name, digest in tags if any(i in (name, digest) for i in container_images)
        )
        image_bytes = _total(blob_sizes, used.blobs) + _total(sizes, used.chains)
        cache_bytes = _total(blob_sizes, kept.blobs) + _total(sizes, kept.chains) - image_bytes
        container_bytes = sum(disk_usage(self._paths.containers / name) for name in container_ids)
        lost_blobs = blob_sizes.keys() - kept.blobs
        lost_snapshots = sizes.keys() - kept.chains
        lost = _total(blob_sizes, lost_blobs) + _total(sizes, lost_snapshots)
        shared = sum(1 for (chain_id,) in records if chain_id in used.chains)
        return [
            _usage("images", len(tags), in_use, image_bytes, 0),
            _usage("containers", len(container_ids), len(container_ids), container_bytes, 0),
            _usage("build cache", len(records), shared, cache_bytes, cache_bytes),
            _usage("cache mounts", len(mounts), 0, sum(mounts), sum(mounts)),
            _usage("unused", len(lost_blobs) + len(lost_snapshots), 0, lost, lost),
        ]

    def verify(self) -> list[Issue]:
        """Recompute every promise and return those that are broken. Reads every blob."""
        return self._verifier.verify()

    def _plan(self, transaction: Transaction, budget: int | None) -> _Plan:
        kept = roots(transaction, self._blobs)
        sizes = _snapshot_sizes(transaction)
        layers = _layers_by_chain(transaction)
        parents = snapshot_parents(transaction)
        records = transaction.rows(
            "SELECT key, chain_id FROM cache_records ORDER BY used DESC, key"
        )
        dropped, spent = [], 0
        for key, chain_id in records:
            reached = Reach()
            if chain_id is not None:
                reached.add_chain(chain_id, parents)
            new_layers = {
                digest: size
                for chain in reached.chains
                for digest, size in layers.get(chain, ())
                if digest not in kept.blobs
            }
            cost = _total(sizes, reached.chains - kept.chains) + sum(new_layers.values())
            if budget is not None and spent + cost > budget:
                dropped.append(str(key))
                continue
            spent += cost
            kept.chains |= reached.chains
            kept.blobs.update(new_layers)
        gone = sorted(sizes.keys() - kept.chains)
        return _Plan(kept, tuple(dropped), tuple(gone), _total(sizes, gone))

    def _remove_rows(self, budget: int | None) -> _Plan:
        # Listed before the rows are read: a directory that appears later cannot be taken for an
        # orphan, and one that was there has had its row or lease item first.
        snapshots = self._snapshots.directories()
        with host_errors(f"list {self._paths.containers}"):
            containers = os.listdir(self._paths.containers)
        with self._database.write(durable=True) as transaction:
            plan = self._plan(transaction, budget)
            for key in plan.cache_records:
                transaction.run("DELETE FROM cache_records WHERE key = ?", key)
            self._snapshots.delete_rows(transaction, plan.snapshots)
            known = {
                str(row[0])
                for row in transaction.rows(
                    "SELECT id FROM snapshots UNION SELECT id FROM containers"
                    " UNION SELECT value FROM lease_items WHERE kind = 'snapshot'"
                )
            }
        self._snapshots.remove_directories([name for name in snapshots if name not in known])
        for name in containers:
            if name not in known:
                self._trash.remove(self._paths.containers / name)
        return plan

    def _remove_blobs(self, budget: int | None) -> list[tuple[Digest, int]]:
        with self._database.write(durable=True) as transaction:
            # Again, because somebody may have tagged or leased since the rows went.
            kept = self._plan(transaction, NO_CACHE if budget == NO_CACHE else None).kept
            before = _oldest_work(transaction)
            gone = [
                (digest, size)
                for digest, size in self._unreached(transaction, kept)
                if self._blobs.delete_older(digest, before)
            ]
            transaction.run_many(
                "DELETE FROM layers WHERE digest = ?", [(str(digest),) for digest, _ in gone]
            )
        return gone

    def _remove_cache_mounts(self) -> list[int]:
        with self._database.write() as transaction:
            if _is_working(transaction):
                return []
            transaction.run("DELETE FROM stat_cache")
            # Out of sight under the lock, where no build can begin; removed after it.
            taken = [self._trash.take(path) for path in self._cache_mounts.all()]
        sizes = []
        for path in taken:
            if path is not None:
                sizes.append(disk_usage(path))
                remove_tree(path)
        return sizes

    def _unreached(self, transaction: Transaction, kept: Reach) -> list[tuple[Digest, int]]:
        """Return the blobs to delete, with their sizes: not kept, and older than any lease."""
        before = _oldest_work(transaction)
        gone = []
        for digest in self._blobs.all():
            if str(digest) in kept.blobs:
                continue
            with contextlib.suppress(FileNotFoundError):
                status = self._blobs.path(digest).stat()
                if status.st_ctime < before:
                    gone.append((digest, status.st_size))
        return gone

    def _blob_sizes(self) -> list[tuple[str, int]]:
        sizes = []
        for digest in self._blobs.all():
            with contextlib.suppress(ContentNotFoundError):
                sizes.append((str(digest), self._blobs.size(digest)))
        return sizes


def _is_working(transaction: Transaction) -> bool:
    return transaction.row("SELECT 1 FROM leases LIMIT 1") is not None


def _oldest_work(transaction: Transaction) -> float:
    """Return since when blobs may have been written for work that still runs."""
    ((oldest,),) = transaction.rows("SELECT min(created) FROM leases")
    return math.inf if oldest is None else oldest - CLOCK_SLACK_S


def _snapshot_sizes(transaction: Transaction) -> dict[str, int]:
    rows = transaction.rows("SELECT chain_id, coalesce(size_bytes, 0) FROM snapshots")
    return dict(rows)


def _layers_by_chain(transaction: Transaction) -> dict[str, list[tuple[str, int]]]:
    layers: dict[str, list[tuple[str, int]]] = {}
    for chain_id, digest, size in transaction.rows(
        "SELECT s.chain_id, l.digest, l.size_bytes FROM snapshots s JOIN layers l USING (diff_id)"
    ):
        layers.setdefault(str(chain_id), []).append((str(digest), size))
    return layers


def _total(sizes: Mapping[str, int], names: Iterable[str]) -> int:
    return sum(sizes.get(name, 0) for name in names)


def _usage(kind: str, count: int, active: int, size: int, reclaimable: int) -> UsageRow:
    return UsageRow(
        kind=kind, count=count, active=active, size_bytes=size, reclaimable_bytes=reclaimable
    )


def _report(plan: _Plan, blobs: list[tuple[Digest, int]], mounts: list[int]) -> PruneReport:
    return PruneReport(
        blobs=tuple(digest for digest, _ in blobs),
        snapshots=tuple(map(Digest.parse, plan.snapshots)),
        cache_records=plan.cache_records,
        cache_mounts=len(mounts),
        freed_bytes=plan.snapshot_bytes + sum(size for _, size in blobs) + sum(mounts),
    )
