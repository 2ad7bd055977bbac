"""What takes how much space: rows that add up to what du(1) says, and the details of each."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from imagekit.oci.descriptor import Descriptor
from imagekit.oci.digest import Digest
from imagekit.store.blobs import BlobStore
from imagekit.store.cache_mounts import CacheMount, CacheMounts
from imagekit.store.disk import DiskMeter
from imagekit.store.errors import host_errors
from imagekit.store.metadata import Database, Transaction
from imagekit.store.paths import StorePaths
from imagekit.store.plan import (
    KEEP_ALL,
    Policy,
    Sizes,
    images_in_use,
    layers_by_chain,
    make_plan,
    snapshot_sizes,
    total,
)
from imagekit.store.reach import (
    Documents,
    Reach,
    roots,
    snapshot_parents,
    tag_descriptor,
    trailing_digest,
)
from imagekit.store.snapshots import Snapshots


class UsageRow(msgspec.Struct, frozen=True, kw_only=True):
    """One line of ``system df``; sizes are bytes on the disk and add up to what the store takes.

    ``active`` counts what something else relies on, ``reclaimable_bytes`` is what
    ``prune(everything=True, images=True)`` frees.
    """

    kind: str
    count: int
    active: int
    size_bytes: int
    reclaimable_bytes: int


class ImageUsage(msgspec.Struct, frozen=True, kw_only=True):
    """A name and what its image takes: packed and unpacked, alone and with other images."""

    name: str
    id: Digest | None
    digest: Digest
    named: datetime
    size_bytes: int
    shared_bytes: int
    unique_bytes: int
    containers: int


class ContainerUsage(msgspec.Struct, frozen=True, kw_only=True):
    """A container's own directory: what it changed, and its log."""

    id: str
    name: str
    image: str
    created: datetime
    size_bytes: int


class RecordUsage(msgspec.Struct, frozen=True, kw_only=True):
    """A cache record and its layer, without those below; ``shared``: an image has it too.

    ``step`` and ``inputs`` are as in ``CacheRecord``.
    """

    key: str
    step: str
    inputs: Mapping[str, object]
    created: datetime
    used: datetime
    hits: int
    size_bytes: int
    shared: bool


class MountUsage(msgspec.Struct, frozen=True, kw_only=True):
    """A cache mount; ``id`` is None if an earlier release made it."""

    key: str
    id: str | None
    used: datetime
    size_bytes: int


_Sized = TypeVar("_Sized", ImageUsage, ContainerUsage, RecordUsage, MountUsage)


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """The rows, and what they are made of; details are sorted by size, the largest first."""

    rows: tuple[UsageRow, ...]
    images: tuple[ImageUsage, ...]
    containers: tuple[ContainerUsage, ...]
    cache_records: tuple[RecordUsage, ...]
    cache_mounts: tuple[MountUsage, ...]

    @property
    def total_bytes(self) -> int:
        """The bytes of the whole store."""
        return sum(row.size_bytes for row in self.rows)


class StoreSizes(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes on the disk: of the whole store, and of all that may belong to the build cache."""

    total_bytes: int
    content_bytes: int


class Accountant:
    """Measures a store; made by ``Collector`` from its parts."""

    def __init__(
        self,
        *,
        database: Database,
        paths: StorePaths,
        blobs: BlobStore,
        snapshots: Snapshots,
        cache_mounts: CacheMounts,
    ) -> None:
        self._database = database
        self._paths = paths
        self._blobs = blobs
        self._snapshots = snapshots
        self._cache_mounts = cache_mounts

    def usage(self) -> Usage:
        """Return what takes how much space.

        Raises:
            InvalidDocumentError: if a tagged document cannot be read.

        """
        self._snapshots.measure()
        meter = DiskMeter()
        # Listed before the rows are read, as a prune does it: what appears later is no orphan.
        snapshot_names = _names(self._paths.snapshots)
        container_names = _names(self._paths.containers)
        blobs = self._blobs.disk_sizes()
        with self._database.snapshot() as transaction:
            content = _Content(transaction, self._blobs, blobs)
            images = tuple(content.images())
            records = tuple(content.records())
            image_row, cache_row, unused_row = content.rows()
            containers = tuple(self._containers(transaction, meter))
            committed = {row[0] for row in transaction.rows("SELECT id FROM snapshots")}
            leased = {
                row[0]
                for row in transaction.rows("SELECT value FROM lease_items WHERE kind = 'snapshot'")
            }
        mounts = tuple(_mount(mount, meter) for mount in self._cache_mounts.all())
        unfinished = set(snapshot_names) - committed
        known = {container.id for container in containers}
        lost = [self._paths.snapshots / name for name in unfinished - leased]
        lost += [self._paths.containers / name for name in set(container_names) - known]
        going_on = [self._paths.snapshots / name for name in unfinished & leased]
        going_on += [self._paths.temporary / name for name in _names(self._paths.temporary)]
        lost_bytes = unused_row.size_bytes + sum(map(meter.tree, lost))
        files, metadata_bytes = self._metadata(meter)
        container_bytes = sum(container.size_bytes for container in containers)
        mount_bytes = sum(mount.size_bytes for mount in mounts)
        return Usage(
            rows=(
                image_row,
                _row("containers", len(containers), len(containers), container_bytes, 0),
                cache_row,
                _row("cache mounts", len(mounts), 0, mount_bytes, mount_bytes),
                _row("unused", unused_row.count + len(lost), 0, lost_bytes, lost_bytes),
                _row(
                    "in progress", len(going_on), len(going_on), sum(map(meter.tree, going_on)), 0
                ),
                _row("metadata", files, files, metadata_bytes, 0),
            ),
            images=_largest(images),
            containers=_largest(containers),
            cache_records=_largest(records),
            cache_mounts=_largest(mounts),
        )

    def sizes(self) -> StoreSizes:
        """Return the sizes that need no document to be read."""
        self._snapshots.measure()
        meter = DiskMeter()
        content = sum(self._blobs.disk_sizes().values()) + self._snapshots.total_bytes()
        content += sum(meter.tree(mount.path) for mount in self._cache_mounts.all())
        names = _names(self._paths.containers)
        other = sum(meter.tree(self._paths.containers / name) for name in names)
        _, metadata_bytes = self._metadata(meter)
        return StoreSizes(total_bytes=content + other + metadata_bytes, content_bytes=content)

    def _containers(self, transaction: Transaction, meter: DiskMeter) -> Iterator[ContainerUsage]:
        for identifier, name, image, created in transaction.rows(
            "SELECT id, name, image, created FROM containers ORDER BY id"
        ):
            yield ContainerUsage(
                id=identifier,
                name=name,
                image=image,
                created=datetime.fromtimestamp(created, UTC),
                size_bytes=meter.tree(self._paths.containers / identifier),
            )

    def _metadata(self, meter: DiskMeter) -> tuple[int, int]:
        """Return how many files are not content, and what they and the directories take.

        Those are the database, the index and the locks; and whatever somebody else put there.
        """
        paths = self._paths
        own = [paths.root, *paths.private_directories]
        size = sum(map(meter.own, own))
        blobs = paths.content / "blobs"
        files = [
            parent / name
            for parent in (paths.root, paths.content, blobs, paths.locks)
            for name in _names(parent)
            if parent / name not in own
        ]
        return len(files), size + sum(map(meter.tree, files))


class _Content:
    """Blobs and snapshots in one state of the database."""

    def __init__(
        self, transaction: Transaction, blobs: BlobStore, blob_sizes: Mapping[str, int]
    ) -> None:
        self._transaction = transaction
        self._documents = Documents(blobs)
        self._blobs = blob_sizes
        self._snapshots = snapshot_sizes(transaction)
        self._parents = snapshot_parents(transaction)
        self._layers = layers_by_chain(transaction)
        self._names, self._digests = images_in_use(transaction)
        self._used = roots(transaction, self._documents)

    def images(self) -> Iterator[ImageUsage]:
        rows = self._transaction.rows("SELECT name, descriptor, updated FROM images")
        named = [(name, tag_descriptor(name, raw), updated) for name, raw, updated in rows]
        reached = {descriptor.digest: self._reach(descriptor) for _, descriptor, _ in named}
        # How many images have a part: an image does not share it with its own other names.
        blobs = Counter(blob for reach in reached.values() for blob in reach.blobs)
        chains = Counter(chain for reach in reached.values() for chain in reach.chains)
        used_by = Counter(
            image
            for (row,) in self._transaction.rows("SELECT image FROM containers")
            for image in {row, str(trailing_digest(row))}
        )
        for name, descriptor, updated in named:
            reach = reached[descriptor.digest]
            size = self._size(reach)
            shared = self._size(
                Reach(
                    {blob for blob in reach.blobs if blobs[blob] > 1},
                    {chain for chain in reach.chains if chains[chain] > 1},
                )
            )
            # Of an index only what was fetched counts: one image, as a rule.
            here = [m for m in self._documents.manifests(descriptor) if m.config is not None]
            yield ImageUsage(
                name=name,
                id=here[0].config_digest if here else None,
                digest=descriptor.digest,
                named=datetime.fromtimestamp(updated, UTC),
                size_bytes=size,
                shared_bytes=shared,
                unique_bytes=size - shared,
                containers=used_by[name] + used_by[str(descriptor.digest)],
            )

    def records(self) -> Iterator[RecordUsage]:
        for key, step, inputs, chain_id, created, used, hits in self._transaction.rows(
            "SELECT key, step, inputs, chain_id, created, used, hits FROM cache_records"
        ):
            own = Reach(set(self._layers.get(chain_id, ())), {chain_id})
            yield RecordUsage(
                key=key,
                step=step,
                inputs=msgspec.json.decode(inputs, type=dict[str, object]),
                created=datetime.fromtimestamp(created, UTC),
                used=datetime.fromtimestamp(used, UTC),
                hits=hits,
                size_bytes=self._size(own),
                shared=chain_id in self._used.chains,
            )

    def rows(self) -> tuple[UsageRow, UsageRow, UsageRow]:
        """Return the lines of images, build cache and unused content."""
        sizes = Sizes(blobs=self._blobs)
        kept = make_plan(self._transaction, self._documents, KEEP_ALL, sizes).kept
        needed = make_plan(
            self._transaction, self._documents, Policy(everything=True, images=True), sizes
        )
        image_bytes = self._size(self._used)
        cache_bytes = self._size(kept) - image_bytes
        tags = self._transaction.rows("SELECT 1 FROM images")
        records = self._transaction.rows("SELECT chain_id FROM cache_records")
        shared = sum(1 for (chain_id,) in records if chain_id in self._used.chains)
        lost = Reach(self._blobs.keys() - kept.blobs, self._snapshots.keys() - kept.chains)
        lost_bytes = self._size(lost)
        return (
            _row(
                "images",
                len(tags),
                len(tags) - len(needed.images),
                image_bytes,
                image_bytes - self._size(needed.kept),
            ),
            _row("build cache", len(records), shared, cache_bytes, cache_bytes),
            _row("unused", len(lost.blobs) + len(lost.chains), 0, lost_bytes, lost_bytes),
        )

    def _reach(self, descriptor: Descriptor) -> Reach:
        reach = Reach()
        reach.add_image(self._documents, descriptor)
        return reach

    def _size(self, reach: Reach) -> int:
        return total(self._blobs, reach.blobs) + total(self._snapshots, reach.chains)


def _mount(mount: CacheMount, meter: DiskMeter) -> MountUsage:
    return MountUsage(
        key=mount.key,
        id=mount.id,
        used=datetime.fromtimestamp(mount.used, UTC),
        size_bytes=meter.tree(mount.path),
    )


def _row(kind: str, count: int, active: int, size: int, reclaimable: int) -> UsageRow:
    return UsageRow(
        kind=kind, count=count, active=active, size_bytes=size, reclaimable_bytes=reclaimable
    )


def _largest(rows: tuple[_Sized, ...]) -> tuple[_Sized, ...]:
    return tuple(sorted(rows, key=lambda row: row.size_bytes, reverse=True))


def _names(directory: Path) -> list[str]:
    with host_errors(f"list {directory}"):
        return os.listdir(directory)
