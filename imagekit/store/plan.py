"""What a prune keeps and what it drops: decided from one state of the database, nothing done."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from imagekit.oci.digest import Digest
from imagekit.store.metadata import Transaction
from imagekit.store.reach import (
    Documents,
    Reach,
    roots,
    snapshot_parents,
    tag_descriptor,
    trailing_digest,
)


class LabelFilter(msgspec.Struct, frozen=True, kw_only=True):
    """A label that an image must have (or, ``negated``, must not); ``value`` None is any value."""

    key: str
    value: str | None = None
    negated: bool = False

    def accepts(self, labels: Mapping[str, str]) -> bool:
        """Tell whether an image with these labels is meant."""
        has = self.key in labels and self.value in (None, labels[self.key])
        return has != self.negated


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What to drop beyond what nothing needs.

    ``everything``: the whole build cache. ``images``: the names of images that no container uses
    and whose labels all ``labels`` accept. ``keep_cache_bytes`` bounds the build cache. With
    ``unused_since``, in seconds since 1970, nothing goes that was named, used or written later;
    and alone it drops the cache that was not used since. ``spared`` manifests stay with all they
    need.
    """

    everything: bool = False
    images: bool = False
    keep_cache_bytes: int | None = None
    unused_since: float | None = None
    labels: tuple[LabelFilter, ...] = ()
    spared: tuple[Digest, ...] = ()

    @property
    def drops_cache(self) -> bool:
        """Whether cache records and cache mounts may have to go."""
        return self.everything or self.keep_cache_bytes is not None or self.unused_since is not None

    def is_too_new(self, moment: float) -> bool:
        """Tell whether ``unused_since`` spares what was used then."""
        return self.unused_since is not None and moment >= self.unused_since


KEEP_ALL = Policy()


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """A cache mount as a prune sees it: its size on the disk, and when it was used last."""

    path: Path
    size_bytes: int
    used: float


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes on the disk, measured beforehand: of blobs by digest, and of cache mounts.

    ``mounts`` are those that may go, most recently used first.
    """

    blobs: Mapping[str, int]
    mounts: Sequence[Mount] = ()


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to keep, and what to drop to get there; ``snapshots`` by chain id, with their bytes.

    In this order any first part of it may be carried out alone: no snapshot goes before those that
    stand on it.
    """

    kept: Reach
    images: tuple[str, ...]
    cache_records: tuple[str, ...]
    snapshots: tuple[tuple[str, int], ...]
    mounts: tuple[Mount, ...]

    def first(self, number: int) -> "Plan":
        """Return a plan that drops not more than ``number`` of each kind of row."""
        return msgspec.structs.replace(
            self,
            images=self.images[:number],
            cache_records=self.cache_records[:number],
            snapshots=self.snapshots[:number],
        )

    def and_then(self, later: "Plan") -> "Plan":
        """Return a plan that drops the rows of both; the rest is of ``later``."""
        return msgspec.structs.replace(
            later,
            images=self.images + later.images,
            cache_records=self.cache_records + later.cache_records,
            snapshots=self.snapshots + later.snapshots,
        )

    @property
    def rows(self) -> int:
        """How many rows it drops."""
        return len(self.images) + len(self.cache_records) + len(self.snapshots)


def make_plan(transaction: Transaction, documents: Documents, policy: Policy, sizes: Sizes) -> Plan:
    """Return what ``policy`` keeps and drops in this state of the store.

    Raises:
        InvalidDocumentError: if a tagged document cannot be read.

    """
    images = _dropped_images(transaction, documents, policy) if policy.images else ()
    kept = roots(transaction, documents, without=frozenset(images), spared=policy.spared)
    snapshots = snapshot_sizes(transaction)
    parents = snapshot_parents(transaction)
    records, mounts = _dropped_cache(transaction, policy, sizes, kept, parents, snapshots)
    if policy.unused_since is not None:
        for chain_id, used in transaction.rows("SELECT chain_id, used FROM snapshots"):
            if policy.is_too_new(used):
                kept.add_chain(chain_id, parents)
    gone = snapshots.keys() - kept.chains
    return Plan(
        kept=kept,
        images=images,
        cache_records=records,
        snapshots=tuple((chain, snapshots[chain]) for chain in _topmost_first(gone, parents)),
        mounts=mounts,
    )


def images_in_use(transaction: Transaction) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names and the digests of the images that containers were made from."""
    names = [str(row[0]) for row in transaction.rows("SELECT image FROM containers")]
    digests = (trailing_digest(name) for name in names)
    return frozenset(names), frozenset(str(digest) for digest in digests if digest is not None)


def snapshot_sizes(transaction: Transaction) -> dict[str, int]:
    """Return the bytes of each snapshot by chain id, as far as they have been measured."""
    return dict(transaction.rows("SELECT chain_id, coalesce(size_bytes, 0) FROM snapshots"))


def layers_by_chain(transaction: Transaction) -> dict[str, list[str]]:
    """Return the blobs that are known to hold each snapshot's layer, here or not."""
    layers: dict[str, list[str]] = {}
    for chain_id, digest in transaction.rows(
        "SELECT s.chain_id, l.digest FROM snapshots s JOIN layers l USING (diff_id)"
    ):
        layers.setdefault(str(chain_id), []).append(str(digest))
    return layers


def total(sizes: Mapping[str, int], names: Iterable[str]) -> int:
    """Return the sum of what ``names`` have in ``sizes``."""
    return sum(sizes.get(name, 0) for name in names)


def _dropped_images(
    transaction: Transaction, documents: Documents, policy: Policy
) -> tuple[str, ...]:
    names, digests = images_in_use(transaction)
    dropped = []
    for name, raw, digest, updated in transaction.rows(
        "SELECT name, descriptor, digest, updated FROM images ORDER BY name"
    ):
        if name in names or digest in digests or policy.is_too_new(updated):
            continue
        if policy.labels:
            manifests = documents.manifests(tag_descriptor(name, raw))
            labels = [m.config.config.labels or {} for m in manifests if m.config is not None]
            if not any(all(f.accepts(found) for f in policy.labels) for found in labels):
                continue
        dropped.append(str(name))
    return tuple(dropped)


def _dropped_cache(
    transaction: Transaction,
    policy: Policy,
    sizes: Sizes,
    kept: Reach,
    parents: Mapping[str, str | None],
    snapshots: Mapping[str, int],
) -> tuple[tuple[str, ...], tuple[Mount, ...]]:
    """Return the records and mounts to drop; adds what the others need to ``kept``.

    The most recently used is looked at first, and kept if it fits.
    """
    layers = layers_by_chain(transaction)
    rows = transaction.rows("SELECT key, chain_id, used FROM cache_records ORDER BY used DESC, key")
    ranked: list[tuple[float, str | Mount, str | None]] = [
        (-used, str(key), chain_id) for key, chain_id, used in rows
    ]
    ranked += [(-mount.used, mount, None) for mount in sizes.mounts]
    ranked.sort(key=lambda entry: entry[0])  # stable: equal times stay in the order of keys
    records: list[str] = []
    mounts: list[Mount] = []
    spent = 0
    for used, entry, chain_id in ranked:
        may_go = policy.drops_cache and not policy.is_too_new(-used)
        goes = may_go and policy.keep_cache_bytes is None
        cost = 0
        chains: list[str] = []
        blobs: set[str] = set()
        if isinstance(entry, Mount):
            cost = entry.size_bytes
        elif not goes:
            chains = kept.new_chains(chain_id, parents)
            blobs = {b for chain in chains for b in layers.get(chain, ())} - kept.blobs
            cost = total(snapshots, chains) + total(sizes.blobs, blobs)
        if may_go and policy.keep_cache_bytes is not None:
            # What costs nothing, as a step that only changed the config, frees nothing either.
            goes = cost > 0 and spent + cost > policy.keep_cache_bytes
        if goes:
            if isinstance(entry, Mount):
                mounts.append(entry)
            else:
                records.append(entry)
            continue
        spent += cost
        kept.chains.update(chains)
        kept.blobs |= blobs
    return tuple(records), tuple(mounts)


def _topmost_first(chains: Collection[str], parents: Mapping[str, str | None]) -> list[str]:
    """Return the chains in an order in which none comes before what stands on it."""
    depths: dict[str, int] = {}
    for chain_id in sorted(chains):
        # Down to one whose depth is known, or that stays; then up again.
        path: list[str] = []
        current: str | None = chain_id
        while current is not None and current in chains and current not in depths:
            path.append(current)
            current = parents.get(current)
        depth = 0 if current is None else depths.get(current, 0)
        for higher, name in enumerate(reversed(path), start=1):
            depths[name] = depth + higher
    return sorted(depths, key=lambda name: (-depths[name], name))
