"""Containers as the store sees them: a row that keeps an image alive, and a directory."""

import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from imagekit.base.clock import Clock
from imagekit.oci.digest import Digest
from imagekit.store.errors import (
    AmbiguousIdError,
    ContentNotFoundError,
    NameInUseError,
    StorageFullError,
    clean_up_after,
    host_errors,
)
from imagekit.store.metadata import Database, Row
from imagekit.store.removal import Trash

_COLUMNS = "id, name, image, chain_id, created, state"


class ContainerRow(msgspec.Struct, frozen=True, kw_only=True):
    """A container. ``state`` is JSON text whose meaning only the containers room knows.

    ``image`` is what it was made from. If that ends in a digest, the blob is kept as long as the
    container; ``chain_id`` keeps the snapshots.
    """

    id: str
    name: str
    image: str
    chain_id: Digest | None
    created: datetime
    state: str


class Containers:
    """The rows, and the directories below ``directory``."""

    def __init__(self, database: Database, directory: Path, trash: Trash, clock: Clock) -> None:
        self._database = database
        self._directory = directory
        self._trash = trash
        self._clock = clock

    def directory(self, identifier: str) -> Path:
        """Return the container's own directory, mode 0700."""
        return self._directory / identifier

    def add(
        self,
        *,
        id: str,  # noqa: A002 (as in the row)
        name: str,
        image: str,
        chain_id: Digest | None,
        state: str,
    ) -> ContainerRow:
        """Record a new container and create its directory.

        Raises:
            NameInUseError: if another container has the name or the id.

        """
        now = self._clock.now().timestamp()
        directory = self.directory(id)
        is_made = False
        try:
            # The directory is made under the write lock, where no prune takes it for an orphan.
            with self._database.write() as transaction:
                transaction.run(
                    f"INSERT INTO containers ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608 (a constant)
                    id,
                    name,
                    image,
                    None if chain_id is None else str(chain_id),
                    now,
                    state,
                )
                with host_errors(f"create container {id}"):
                    directory.mkdir(mode=0o700)
                    is_made = True
        except sqlite3.IntegrityError as error:
            raise NameInUseError(
                f"create container {name}: the name is in use",
                hint="Choose another name, or remove that container first.",
            ) from error
        except BaseException as error:
            if is_made:  # a full disk, most likely, refused the transaction
                with clean_up_after(error), host_errors(f"remove {directory}"):
                    directory.rmdir()
            raise
        return ContainerRow(
            id=id,
            name=name,
            image=image,
            chain_id=chain_id,
            created=datetime.fromtimestamp(now, UTC),
            state=state,
        )

    def get(self, key: str) -> ContainerRow | None:
        """Return the container with this id, else this name, else whose id alone begins so.

        Raises:
            AmbiguousIdError: if several ids begin so.

        """
        rows = self._database.rows(
            f"SELECT {_COLUMNS} FROM containers WHERE id = ? OR name = ?"  # noqa: S608 (a constant)
            " OR substr(id, 1, ?) = ? ORDER BY id",
            key,
            key,
            len(key),
            key,
        )
        found = list(map(_container, rows)) if key else []
        exact = [c for c in found if c.id == key] or [c for c in found if c.name == key]
        if exact:
            return exact[0]
        if len(found) > 1:
            raise AmbiguousIdError(
                f"container {key!r}: {len(found)} ids begin so", hint="Give more digits."
            )
        return found[0] if found else None

    def all(self) -> list[ContainerRow]:
        """Return all containers, the newest first."""
        rows = self._database.rows(
            f"SELECT {_COLUMNS} FROM containers ORDER BY created DESC, id"  # noqa: S608 (a constant)
        )
        return list(map(_container, rows))

    def update_state(self, identifier: str, state: str) -> None:
        """Replace the state of the container with this full id.

        Raises:
            ContentNotFoundError: if there is none.

        """
        with self._database.write() as transaction:
            changed = transaction.run(
                "UPDATE containers SET state = ? WHERE id = ?", state, identifier
            )
        if not changed:
            raise ContentNotFoundError(f"container {identifier} is not in the store")

    def remove(self, identifier: str) -> bool:
        """Remove the container with this full id, and its directory; tell whether it was there."""
        try:
            known = self._forget(identifier)
        except StorageFullError:
            # What it wrote may be what fills the disk. Its own directory stays as long as its row.
            for path in self._directories_in(identifier):
                self._trash.remove(path)
            known = self._forget(identifier)
        if known:
            self._trash.remove(self.directory(identifier))
        return known

    def _directories_in(self, identifier: str) -> list[Path]:
        try:
            with os.scandir(self.directory(identifier)) as entries:
                return [Path(one) for one in entries if one.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return []

    def _forget(self, identifier: str) -> bool:
        # Asked first, because a full disk refuses the transaction also when there is no row.
        if self._database.row("SELECT 1 FROM containers WHERE id = ?", identifier) is None:
            return False
        with self._database.write(durable=True) as transaction:
            return transaction.run("DELETE FROM containers WHERE id = ?", identifier) > 0


def _container(row: Row) -> ContainerRow:
    identifier, name, image, chain_id, created, state = row
    return ContainerRow(
        id=str(identifier),
        name=str(name),
        image=str(image),
        chain_id=None if chain_id is None else Digest.parse(str(chain_id)),
        created=datetime.fromtimestamp(created, UTC),
        state=str(state),
    )
