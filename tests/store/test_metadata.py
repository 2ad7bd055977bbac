import gc
import os
import threading
import time
from pathlib import Path

import pytest

from imagekit.base.errors import HostError
from imagekit.oci.digest import Digest
from imagekit.store.errors import (
    StoreBusyError,
    StoreCorruptError,
    StoreTooNewError,
    StoreUnavailableError,
)
from imagekit.store.layout import Store
from imagekit.store.locks import Locks
from imagekit.store.metadata import Database
from imagekit.store.schema import MIGRATIONS


def test_new_store_is_closed_to_others(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a" / "store") as store:
        modes = {p.name: p.stat().st_mode & 0o7777 for p in store.root.iterdir()}

    assert store.root.stat().st_mode & 0o7777 == 0o711
    files = {name: mode for name, mode in modes.items() if name.startswith("imagekit.db")}
    assert set(files.values()) == {0o600}
    assert {modes[name] for name in modes.keys() - files.keys()} == {0o700}


def test_later_schema_is_refused(store: Store) -> None:
    store._database._connection().execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    store.close()

    with pytest.raises(StoreTooNewError) as caught:
        Store.open(store.root)

    assert caught.value.hint is not None


def test_earlier_schema_is_brought_up_to_date(tmp_path: Path) -> None:
    locks = Locks(tmp_path)
    first = ["CREATE TABLE a (x)", "INSERT INTO a VALUES (1)"]
    second = ["ALTER TABLE a ADD COLUMN y DEFAULT 2"]

    def rows_after(*migrations: list[str]) -> list[tuple[object, ...]]:
        database = Database(tmp_path / "db", locks, migrations=migrations)
        database.prepare()
        rows = database.rows("SELECT * FROM a")
        database.close()
        return rows

    assert rows_after(first) == [(1,)]
    assert rows_after(first, second) == [(1, 2)]
    assert rows_after(first, second) == [(1, 2)]


def test_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    locks = Locks(tmp_path)
    broken = Database(tmp_path / "db", locks, migrations=[["CREATE TABLE a (x)", "NONSENSE"]])

    with pytest.raises(StoreUnavailableError):
        broken.prepare()
    broken.close()

    database = Database(tmp_path / "db", locks, migrations=[["CREATE TABLE a (x, y)"]])
    database.prepare()
    assert database.rows("SELECT x, y FROM a") == []
    database.close()


def test_damaged_database_says_so(store: Store) -> None:
    store.close()
    for path in store.root.glob("imagekit.db*"):
        path.write_bytes(b"not a database, and long enough to be read as a header" * 100)

    with pytest.raises(StoreCorruptError) as caught:
        Store.open(store.root)

    assert caught.value.hint is not None


def test_root_that_is_a_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreUnavailableError):
        Store.open(tmp_path / "file")


def test_failed_block_changes_nothing(store: Store) -> None:
    def fail() -> None:
        with store._database.write() as transaction:
            transaction.run("INSERT INTO meta VALUES ('key', 'value')")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert store._database.row("SELECT * FROM meta WHERE key = 'key'") is None
    store.leases.dead()


def test_writers_wait_for_each_other(store: Store) -> None:
    started, order = threading.Event(), []

    def second() -> None:
        assert started.wait(30)
        with store._database.write():
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with store._database.write():
        started.set()
        # Reading goes on meanwhile, in this thread and in others.
        assert store.images.all() == []
        order.append("first")
    thread.join()

    assert order == ["first", "second"]


def test_busy_for_too_long_is_a_host_error(store: Store) -> None:
    impatient = Database(store.paths.database, store.locks, busy_s=0.05)

    with (
        store._database.write(),
        pytest.raises(StoreBusyError) as caught,
        impatient.write(),
    ):
        pass

    impatient.close()
    assert isinstance(caught.value, HostError)
    assert caught.value.hint is not None


def test_connections_of_ended_threads_are_closed(store: Store) -> None:
    for _ in range(50):
        thread = threading.Thread(target=store.images.all)
        thread.start()
        thread.join()
    gc.collect()

    databases = [
        link
        for fd in os.listdir("/proc/self/fd")
        if (link := _link(fd)).startswith(str(store.paths.database))
    ]
    assert len(databases) < 12


def _link(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except FileNotFoundError:
        return ""


def test_opening_a_store_again_is_fast(store: Store) -> None:
    store.blobs.put(b"x")
    times = []
    for _ in range(10):
        start = time.perf_counter()
        Store.open(store.root).close()
        times.append(time.perf_counter() - start)

    assert min(times) < 0.010  # 1 to 2 ms here


def test_threads_use_the_store_at_once(store: Store) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(20):
                with store.leases.hold("thread") as lease:
                    lease.add("blob", Digest.of(b"%d" % number))
                    store.blobs.put(b"%d %d" % (number, turn))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert len(list(store.blobs.all())) == 120
