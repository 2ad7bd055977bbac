"""Leases: what running work keeps alive while no tag names it yet."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from imagekit.base.tokens import token_hex
from imagekit.oci.digest import Digest
from imagekit.store.errors import StorageFullError, clean_up_after
from imagekit.store.metadata import Database, Transaction
from imagekit.store.owner import Owner

LeaseKind = Literal["blob", "chain", "snapshot"]


class Lease:
    """A hold on content, from ``Leases.hold``. Safe to use from several threads."""

    def __init__(self, database: Database, identifier: str) -> None:
        self._database = database
        self.id = identifier

    def add(self, kind: LeaseKind, *values: Digest | str) -> None:
        """Keep ``values`` and all they refer to until the lease ends; idempotent.

        A blob keeps what its JSON lists, a chain the snapshots below it. Once this has returned no
        prune takes them: so add first, then ask whether they are there. Blobs that are written, or
        found by ``blobs.refresh``, need no mention.
        """
        with self._database.write() as transaction:
            for value in values:
                transaction.run(
                    "INSERT OR IGNORE INTO lease_items VALUES (?, ?, ?)", self.id, kind, str(value)
                )

    def drop(self, kind: LeaseKind, value: Digest | str) -> None:
        """Keep ``value`` no longer; does nothing if the lease does not have it."""
        with self._database.write() as transaction:
            drop_item(transaction, self.id, kind, str(value))


class Leases:
    """The leases of all processes that use the store."""

    def __init__(
        self, database: Database, owner: Owner, discard: Callable[[Sequence[str]], None]
    ) -> None:
        """``discard`` removes prepared snapshots that were not committed when their lease ends."""
        self._database = database
        self._owner = owner
        self._discard = discard
        self._unended: list[str] = []

    @contextlib.contextmanager
    def hold(self, reason: str) -> Iterator[Lease]:
        """Hold a lease for the block.

        It keeps what is added to it, and every blob that any process writes or refreshes while it
        lasts. It ends with the block, or with the process. On a full disk it cannot be ended; that
        is no failure of the work it was held for, nor hides one: a later ``hold`` ends it, or the
        next process that opens the store once this one has ended.
        """
        if self._unended:
            unended, self._unended = self._unended, []
            self._end_if_possible(unended)
        lease = Lease(self._database, token_hex(8))
        with self._database.write() as transaction:
            transaction.run(
                "INSERT INTO leases VALUES (?, ?, ?, ?)",
                lease.id,
                str(self._owner),
                reason,
                # Compared with change times of inodes, so it is the kernel's clock and no other.
                time.clock_gettime(time.CLOCK_REALTIME),
            )
        try:
            yield lease
        except BaseException as error:
            with clean_up_after(error):
                self.end([lease.id])
            raise
        self._end_if_possible([lease.id])

    def _end_if_possible(self, leases: list[str]) -> None:
        try:
            self.end(leases)
        except StorageFullError:
            self._unended += leases

    def dead(self) -> list[str]:
        """Return the ids of leases whose process has ended."""
        ended = []
        for identifier, token in self._database.rows("SELECT id, owner FROM leases"):
            owner = Owner.parse(str(token))
            if owner is None or not owner.is_alive(self._owner):
                ended.append(str(identifier))
        return ended

    def end(self, leases: Sequence[str]) -> None:
        """End leases and remove the snapshots that they prepared and never committed."""
        unfinished = [
            str(value)
            for lease in leases
            for (value,) in self._database.rows(
                "SELECT value FROM lease_items WHERE lease = ? AND kind = 'snapshot'", lease
            )
        ]
        self._discard(unfinished)
        with self._database.write() as transaction:
            for lease in leases:
                transaction.run("DELETE FROM leases WHERE id = ?", lease)


def add_item(transaction: Transaction, lease: str, kind: LeaseKind, value: str) -> None:
    """Add to a lease within a transaction."""
    transaction.run("INSERT OR IGNORE INTO lease_items VALUES (?, ?, ?)", lease, kind, value)


def drop_item(transaction: Transaction, lease: str, kind: LeaseKind, value: str) -> None:
    """Take from a lease within a transaction."""
    transaction.run(
        "DELETE FROM lease_items WHERE lease = ? AND kind = ? AND value = ?", lease, kind, value
    )
