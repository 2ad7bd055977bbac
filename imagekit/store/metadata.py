"""The database: one SQLite connection for each thread, short write transactions.

WAL lets readers go on while one process writes; ``synchronous=NORMAL`` never flushes on commit, so
a power cut may lose the last transactions but never leaves half of one, and a killed process loses
nothing. Writers begin with BEGIN IMMEDIATE: they queue up at the start, where waiting is safe,
instead of failing in the middle.

Source: sqlite.org/wal.html, sqlite.org/lang_transaction.html.
"""

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from imagekit.store.errors import (
    FULL_HINT,
    StorageFullError,
    StoreBusyError,
    StoreCorruptError,
    StoreTooNewError,
    StoreUnavailableError,
    host_errors,
)
from imagekit.store.locks import Locks
from imagekit.store.schema import MIGRATIONS

BUSY_S = 60.0
_DAMAGED_HINT = (
    "The images are in the content directory: tar -C ROOT/content -c . | imagekit --root NEW load"
)
INDEX_BYTES = 32768
"""What SQLite's log needs for its index, at least."""
Value = str | int | float | bytes | None
Row = tuple[Any, ...]  # what a query returns; the schema says what each column is


class Transaction:
    """Statements that take effect together; made by ``Database.write`` only."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def run(self, sql: str, *parameters: Value) -> int:
        """Run one statement and return how many rows it changed."""
        return self._connection.execute(sql, parameters).rowcount

    def run_many(self, sql: str, rows: Sequence[Row]) -> None:
        """Run one statement for each row of parameters."""
        self._connection.executemany(sql, rows)

    def rows(self, sql: str, *parameters: Value) -> list[Row]:
        """Return all rows of a query."""
        return self._connection.execute(sql, parameters).fetchall()

    def row(self, sql: str, *parameters: Value) -> Row | None:
        """Return the first row of a query, None if there is none."""
        row: Row | None = self._connection.execute(sql, parameters).fetchone()
        return row


class Database:
    """The SQLite file ``path``. Safe to use from several threads."""

    def __init__(
        self,
        path: Path,
        locks: Locks,
        *,
        migrations: Sequence[Sequence[str]] = MIGRATIONS,
        busy_s: float = BUSY_S,
    ) -> None:
        self._path = path
        self._locks = locks
        self._migrations = migrations
        self._busy_s = busy_s
        self._local = threading.local()
        self._guard = threading.Lock()
        self._connections: list[tuple[threading.Thread, sqlite3.Connection]] = []

    def prepare(self) -> None:
        """Create the tables, or bring those of an earlier release up to date; idempotent.

        Raises:
            StoreTooNewError: if a later release wrote the file.

        """
        with host_errors(f"open {self._path}"):
            # Mode 0600 from the start; -wal and -shm take it over.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        with self._mapped("open"):
            version = self._version()
        if version > len(self._migrations):
            raise StoreTooNewError(
                f"open {self._path}: it has schema {version}, this release knows {len(MIGRATIONS)}",
                hint="Use a newer imagekit, or another --root.",
            )
        if version < len(self._migrations):
            # Switching to WAL does not wait for other connections, hence the lock of our own.
            with self._locks.exclusive("schema"), self._mapped("create"):
                self._connection().execute("PRAGMA journal_mode = WAL")
                self._migrate()

    def rows(self, sql: str, *parameters: Value) -> list[Row]:
        """Return all rows of a query, outside any transaction."""
        with self._mapped("read"):
            return self._connection().execute(sql, parameters).fetchall()

    def row(self, sql: str, *parameters: Value) -> Row | None:
        """Return the first row of a query, None if there is none."""
        with self._mapped("read"):
            row: Row | None = self._connection().execute(sql, parameters).fetchone()
            return row

    @contextlib.contextmanager
    def write(self, *, durable: bool = False) -> Iterator[Transaction]:
        """Run the block as one transaction; an exception undoes it.

        With ``durable`` the transaction is on the disk when the block has ended. Keep the block
        short: every other writer of the store waits. Not to be nested.

        Raises:
            StorageFullError: if the disk is full; nothing has changed.
            StoreBusyError: if another process kept the lock for a minute.

        """
        with self._mapped("write"):
            connection = self._connection()
            if durable:
                connection.execute("PRAGMA synchronous = FULL")
            try:
                self._begin(connection)
                try:
                    yield Transaction(connection)
                    connection.execute("COMMIT")
                except BaseException:
                    # SQLite has rolled back by itself after some errors, a full disk among them.
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
            finally:
                if durable:
                    connection.execute("PRAGMA synchronous = NORMAL")

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Transaction]:
        """Run the block's queries against one state of the database; it must not write."""
        with self._mapped("read"):
            connection = self._connection()
            connection.execute("BEGIN")
            try:
                yield Transaction(connection)
            finally:
                connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the connections of all threads; none of them may be in use."""
        with self._guard:
            connections, self._connections = self._connections, []
        for _, connection in connections:
            connection.close()
        self._local = threading.local()

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._connect()
            self._local.connection = connection
        return connection

    def _connect(self) -> sqlite3.Connection:
        # A connection of an ended thread is closed by the next thread that comes.
        connection = sqlite3.connect(
            self._path, timeout=self._busy_s, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA foreign_keys = ON")
        except BaseException:
            connection.close()
            raise
        with self._guard:
            ended = [item for item in self._connections if not item[0].is_alive()]
            self._connections = [item for item in self._connections if item[0].is_alive()]
            self._connections.append((threading.current_thread(), connection))
        for _, old in ended:
            old.close()
        return connection

    def _version(self) -> int:
        version: int = self._connection().execute("PRAGMA user_version").fetchone()[0]
        return version

    def _migrate(self) -> None:
        connection = self._connection()
        self._begin(connection)
        try:
            done = self._version()
            for statements in self._migrations[done:]:
                for statement in statements:
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(self._migrations)}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _begin(self, connection: sqlite3.Connection) -> None:
        deadline = time.monotonic() + self._busy_s
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                # Recovery after a killed process answers "busy" without the busy handler.
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    @contextlib.contextmanager
    def _mapped(self, attempt: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError:
            raise
        except sqlite3.DatabaseError as error:
            raise _room_error(error, attempt, self._path) from error


def _room_error(error: sqlite3.DatabaseError, what: str, path: Path) -> Exception:
    attempt = f"{what} {path}"
    extended = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    code = extended & 0xFF
    # The log's index is a file that is mapped, and SQLite calls what happens to it I/O errors.
    has_no_room = code == sqlite3.SQLITE_IOERR and (
        extended == sqlite3.SQLITE_IOERR_SHMSIZE or _available_bytes(path) < INDEX_BYTES
    )
    if code == sqlite3.SQLITE_FULL or has_no_room:
        return StorageFullError(f"{attempt}: no space left", hint=FULL_HINT)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBusyError(
            f"{attempt}: another process keeps it locked",
            hint="Wait for other imagekit processes to end.",
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreCorruptError(
            f"{attempt}: {error}",
            hint=_DAMAGED_HINT,
        )
    return StoreUnavailableError(
        f"{attempt}: {error}", hint="Check that the directory is writable and the disk not full."
    )


def _available_bytes(path: Path) -> int:
    status = os.statvfs(path.parent)
    return status.f_bavail * status.f_frsize
