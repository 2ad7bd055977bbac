"""Checking the whole store against its digests, and taking away what is damaged.

``store.verify`` compares rows with what they refer to, ``content_check`` reads what there is. Here
both are joined, and after a repair it is told what that means for images and containers.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

import msgspec

from imagekit.base.clock import Clock
from imagekit.base.events import EventSink, ignore_events
from imagekit.images.content_check import ContentCheck
from imagekit.images.restore import restore_blob
from imagekit.layers.limits import Limits
from imagekit.oci.digest import Digest
from imagekit.store.layer_blobs import LayerBlob
from imagekit.store.layout import Store
from imagekit.store.leases import Lease
from imagekit.store.repair import Removed
from imagekit.store.verify import Inventory, Issue, Kind

_ROUNDS = 3


class RepairReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a repair removed, and what became of the images that were hit.

    ``restored`` blobs were packed again from their snapshots. ``lost`` images have no name any
    more; ``incomplete`` ones run, but cannot be pushed or saved.
    ``left`` are the issues that there still are: content in use, a database beyond repair.
    """

    blobs: tuple[str, ...]
    snapshots: tuple[str, ...]
    containers: tuple[str, ...]
    rows: int
    restored: tuple[str, ...]
    lost: tuple[str, ...]
    incomplete: tuple[str, ...]
    left: tuple[Issue, ...]


class FsckReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found: ``issues`` are damage, ``notes`` what is none but worth knowing.

    ``unverifiable`` are the chain ids of snapshots from other tools' layers whose blob is not here.
    """

    blobs: int
    snapshots: int
    issues: tuple[Issue, ...]
    unverifiable: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    repair: RepairReport | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the store is whole now."""
        return not (self.issues if self.repair is None else self.repair.left)


class Fsck:
    """Checks a store. ``running`` returns the ids of the containers that run now."""

    def __init__(
        self,
        store: Store,
        *,
        running: Callable[[], Collection[str]],
        clock: Clock,
        limits: Limits | None = None,
        events: EventSink = ignore_events,
    ) -> None:
        self._store = store
        self._running = running
        self._clock = clock
        self._limits = limits or Limits()
        self._events = events

    def run(self, *, repair: bool = False) -> FsckReport:
        """Check everything, and with ``repair`` remove what is damaged.

        Safe beside commands that run. References are looked at last, so that they are those of the
        end, and content that has gone meanwhile is not missed.
        """
        store, verifier = self._store, self._store.verifier
        started = self._clock.now().timestamp()
        issues = verifier.database_issues()
        store.snapshots.measure()
        with store.leases.hold("fsck") as lease:
            inventory, _ = verifier.references()
            check = ContentCheck(store, inventory, lease, limits=self._limits, events=self._events)
            blobs = check.blobs()
            issues += (finding.issue for finding in blobs.values() if finding.issue is not None)
            issues += check.contradictions(blobs)
            snapshots, unverifiable = check.snapshots(blobs)
            inventory, references = verifier.references()
            found = tuple(_told_once([*issues, *snapshots, *references], inventory))
            report = None
            if repair and found:
                report = self._repair(found, lease=lease, started=started)
                inventory, _ = verifier.references()
        return FsckReport(
            blobs=len(blobs),
            snapshots=len(inventory.snapshots),
            issues=found,
            unverifiable=unverifiable,
            notes=tuple(self._notes(inventory)),
            repair=report,
        )

    def _repair(self, issues: Sequence[Issue], *, lease: Lease, started: float) -> RepairReport:
        repairer, verifier = self._store.repairer, self._store.verifier
        removed = Removed()
        lost_layers = self._known_layers(issues)
        restored: set[str] = set()
        hit: set[str] = set()
        pending: Sequence[Issue] = issues
        for _ in range(_ROUNDS):  # what stands on what was removed goes in the next round
            hit.update(name for issue in pending for name in issue.images)
            repairer.remove(
                pending, removed, own_lease=lease.id, running=self._running(), before=started
            )
            inventory, _ = verifier.references()
            for layer in lost_layers:
                if restore_blob(self._store, lease, layer, inventory.snapshots.values()):
                    restored.add(str(layer.digest))
            lost_layers = []
            repairer.remove_unusable(verifier.references()[0], hit, removed, before=started)
            _, pending = verifier.references()
            if not pending:
                break
        inventory, _ = verifier.references()
        left = [issue for issue in issues if issue.subject in removed.in_use]
        left += [one for one in (*pending, *verifier.database_issues()) if one not in left]
        return RepairReport(
            blobs=tuple(sorted(removed.blobs)),
            snapshots=tuple(sorted(removed.snapshots)),
            containers=tuple(sorted(removed.containers)),
            rows=removed.rows,
            restored=tuple(sorted(restored)),
            lost=tuple(sorted(removed.images)),
            incomplete=tuple(
                name
                for image in inventory.images
                for name in image.names
                if name in hit and image.absent(self._store.blobs)
            ),
            left=tuple(left),
        )

    def _known_layers(self, issues: Sequence[Issue]) -> list[LayerBlob]:
        """Return what is known about the layer blobs that are damaged or missing."""
        codes = ("blob-content", "blob-missing")
        digests = {Digest.parse(issue.subject) for issue in issues if issue.code in codes}
        return [layer for digest in digests if (layer := self._store.layers.get(digest))]

    def _notes(self, inventory: Inventory) -> Iterator[str]:
        for image in inventory.images:
            if not image.is_usable(self._store.blobs, inventory.snapshots):
                for container in image.containers:
                    yield (
                        f"container {container[:12]}: its image {image.root.digest} is not here;"
                        " its own files are, and it starts again once that image is pulled"
                    )
            elif absent := len(image.absent(self._store.blobs)):
                yield (
                    f"{', '.join(image.shown)}: {absent} of its layer blobs not here; it runs, but"
                    " cannot be pushed or saved before it is pulled or built again"
                )


def _told_once(issues: Iterable[Issue], inventory: Inventory) -> Iterator[Issue]:
    """Yield the issues without those that follow from another one of them."""
    issues = list(issues)
    damaged_blobs = {issue.subject for issue in issues if issue.code == "blob-content"}
    damaged_chains = {issue.subject for issue in issues if issue.kind is Kind.SNAPSHOT}
    for issue in issues:
        if issue.code == "document" and issue.message.partition(": ")[0] in damaged_blobs:
            continue
        if issue.kind is Kind.SNAPSHOT and _stands_on(issue.subject, damaged_chains, inventory):
            continue
        yield issue


def _stands_on(chain_id: str, damaged: Collection[str], inventory: Inventory) -> bool:
    row = inventory.snapshots.get(chain_id)
    seen = {chain_id}
    while row is not None and row.parent is not None and str(row.parent) not in seen:
        if str(row.parent) in damaged:
            return True
        seen.add(str(row.parent))
        row = inventory.snapshots.get(str(row.parent))
    return False
