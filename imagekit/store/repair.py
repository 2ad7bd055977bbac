"""Taking away what is damaged, with everything that stands on it.

Nothing is mended in place: a blob, a snapshot or a row that is wrong goes, so that a pull or a
build makes it anew instead of finding it. Files of users are never taken: a container keeps its
own, whatever happens to its image. In use means that a command that runs holds it, or a container
that runs stands on it; that stays, and is told.
"""

from collections.abc import Collection, Iterable, Sequence

import msgspec

from imagekit.oci.digest import Digest
from imagekit.store.blobs import BlobStore
from imagekit.store.containers import Containers
from imagekit.store.errors import DAMAGED_MEDIUM, ContentNotFoundError
from imagekit.store.metadata import Database, Transaction
from imagekit.store.recovery import Recovery
from imagekit.store.snapshots import Snapshots
from imagekit.store.verify import Inventory, Issue, Kind


class Removed(msgspec.Struct, kw_only=True):
    """What a repair took away, and what it had to leave because it is in use."""

    blobs: set[str] = msgspec.field(default_factory=set)
    snapshots: set[str] = msgspec.field(default_factory=set)
    images: set[str] = msgspec.field(default_factory=set)
    containers: set[str] = msgspec.field(default_factory=set)
    rows: int = 0
    in_use: set[str] = msgspec.field(default_factory=set)


class Repairer:
    """Removes what issues name. Safe beside running commands; made by ``Store``."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        snapshots: Snapshots,
        containers: Containers,
        recovery: Recovery,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._snapshots = snapshots
        self._containers = containers
        self._recovery = recovery

    def remove(
        self,
        issues: Sequence[Issue],
        removed: Removed,
        *,
        own_lease: str,
        running: Collection[str],
        before: float,
    ) -> None:
        """Remove what ``issues`` name and add it to ``removed``; idempotent.

        ``running`` are the ids of the containers that run. A tag that was set after ``before``
        (seconds since 1970) is no longer the one that was looked at, and stays.
        """
        if any(issue.kind is Kind.DATABASE and issue.code == "database" for issue in issues):
            with self._database.write() as transaction:
                transaction.run("REINDEX")  # an index is made of its table; a table is lost
        for issue in issues:
            if issue.kind is Kind.BLOB:
                self._remove_blob(issue, removed)
        with self._database.write(durable=True) as transaction:
            directories = self._remove_snapshots(transaction, issues, removed, own_lease, running)
            for issue in issues:
                _remove_row(transaction, issue, removed, before)
        self._snapshots.remove_directories(directories)
        for issue in issues:
            if issue.code == "container-files" and self._containers.remove(issue.subject):
                removed.containers.add(issue.subject)
        self._recovery.refresh_index()

    def remove_unusable(
        self, inventory: Inventory, names: Collection[str], removed: Removed, *, before: float
    ) -> None:
        """Remove those of the tags ``names`` whose image can neither be run nor unpacked."""
        with self._database.write(durable=True) as transaction:
            for image in inventory.images:
                if not image.is_usable(self._blobs, inventory.snapshots):
                    for name in set(image.names).intersection(names):
                        _remove_tag(transaction, name, removed, before)
        self._recovery.refresh_index()

    def _remove_blob(self, issue: Issue, removed: Removed) -> None:
        digest = Digest.parse(issue.subject)
        # Somebody may have removed the damaged one and written it again.
        if issue.code == "blob-content" and self._is_whole(digest):
            return
        if self._blobs.delete(digest):
            removed.blobs.add(issue.subject)

    def _is_whole(self, digest: Digest) -> bool:
        try:
            return self._blobs.is_whole(digest)
        except ContentNotFoundError:
            return False
        except OSError as error:
            if error.errno not in DAMAGED_MEDIUM:
                raise
            return False

    def _remove_snapshots(
        self,
        transaction: Transaction,
        issues: Iterable[Issue],
        removed: Removed,
        own_lease: str,
        running: Collection[str],
    ) -> list[str]:
        held = _held(transaction, own_lease, running)
        directories: list[str] = []
        for chain_id in sorted({i.subject for i in issues if i.kind is Kind.SNAPSHOT}):
            tree = _standing_on(transaction, chain_id)
            if held.intersection(tree):
                removed.in_use.add(chain_id)
                continue
            directories += self._snapshots.delete_rows(transaction, tree)
            removed.snapshots.update(tree)
        return directories


def _held(transaction: Transaction, own_lease: str, running: Collection[str]) -> set[str]:
    """Return the chain ids that somebody is using now."""
    held = {
        str(value)
        for (value,) in transaction.rows(
            "SELECT value FROM lease_items WHERE kind = 'chain' AND lease != ?", own_lease
        )
    }
    for identifier, chain_id in transaction.rows("SELECT id, chain_id FROM containers"):
        if chain_id is not None and identifier in running:
            held.add(str(chain_id))
    return held


def _standing_on(transaction: Transaction, chain_id: str) -> list[str]:
    """Return a snapshot's chain id and those of all on top of it."""
    rows = transaction.rows(
        "WITH RECURSIVE tree (chain_id) AS ("
        " SELECT ? UNION"
        " SELECT s.chain_id FROM snapshots s JOIN tree ON s.parent = tree.chain_id"
        ") SELECT chain_id FROM tree",
        chain_id,
    )
    return [str(row[0]) for row in rows]


def _remove_row(transaction: Transaction, issue: Issue, removed: Removed, before: float) -> None:
    match issue.kind:
        case Kind.BLOB | Kind.LAYER:
            # What is missing is forgotten too: see Verifier about incomplete images.
            transaction.run("DELETE FROM layers WHERE digest = ?", issue.subject)
            removed.rows += issue.kind is Kind.LAYER
        case Kind.CACHE_RECORD:
            removed.rows += transaction.run(
                "DELETE FROM cache_records WHERE key = ?", issue.subject
            )
        case Kind.IMAGE:
            _remove_tag(transaction, issue.subject, removed, before)
        case Kind.CONTAINER if issue.code == "container-image":
            # It keeps its files and its manifest's digest, and may run once that is pulled again.
            transaction.run("UPDATE containers SET chain_id = NULL WHERE id = ?", issue.subject)
        case Kind.DATABASE:
            removed.rows += transaction.run(
                "DELETE FROM lease_items WHERE lease NOT IN (SELECT id FROM leases)"
            )
        case _:
            pass  # snapshots went before, and a container's row goes with what is left of it


def _remove_tag(transaction: Transaction, name: str, removed: Removed, before: float) -> None:
    if transaction.run("DELETE FROM images WHERE name = ? AND updated <= ?", name, before):
        removed.images.add(name)
