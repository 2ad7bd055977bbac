"""Stores that earlier releases wrote are opened by this one, with everything in them.

``testdata/store/schema-N.sql`` is what a database had after N migrations, and never changes. Who
adds a migration adds the file that ``sqlite3 imagekit.db .schema`` gives after it.
"""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from imagekit.oci.digest import Digest
from imagekit.store.cache_records import CacheRecord
from imagekit.store.layout import Store
from imagekit.store.schema import MIGRATIONS
from imagekit.store.stat_cache import StatEntry
from tests.store.conftest import ImageMaker

VERSIONS = range(1, len(MIGRATIONS) + 1)
ENTRY = StatEntry(device=1, inode=2, size=3, mtime_ns=4, ctime_ns=5, digest="x")


def schema(testdata: Path, version: int) -> str:
    return (testdata / "store" / f"schema-{version}.sql").read_text()


def tables(connection: sqlite3.Connection) -> dict[str, list[str]]:
    """Return the columns of every table."""
    names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return {
        name: [row[1] for row in connection.execute(f"PRAGMA table_info({name})")]
        for (name,) in names
    }


def take_back(database: Path, script: str, version: int) -> None:
    """Make of a database one of an earlier version, with those of its rows and columns it had."""
    old = database.with_suffix(".old")
    with (
        contextlib.closing(sqlite3.connect(database)) as new,
        contextlib.closing(sqlite3.connect(old)) as earlier,
        earlier,
    ):
        earlier.executescript(script)
        now = tables(new)
        for table, columns in tables(earlier).items():
            names = ", ".join(column for column in columns if column in now.get(table, ()))
            rows = new.execute(f"SELECT {names} FROM {table}").fetchall()
            marks = ", ".join("?" * len(names.split(",")))
            earlier.executemany(f"INSERT OR REPLACE INTO {table} ({names}) VALUES ({marks})", rows)
        earlier.execute(f"PRAGMA user_version = {version}")
    for path in database.parent.glob(f"{database.name}*"):
        path.unlink()
    old.rename(database)


def content(store: Store) -> dict[str, object]:
    container = store.containers.get("box")
    assert container is not None
    return {
        "tags": store.images.all(),
        "snapshots": store.snapshots.all(),
        "cache": store.cache.all(),
        "stat cache": store.stat_cache.load("context"),
        "layers": store.layers.get(Digest.of(b"one")),
        "container": container,
        "blobs": sorted(map(str, store.blobs.all())),
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_migration_is_never_edited(testdata: Path, version: int) -> None:
    with (
        contextlib.closing(sqlite3.connect(":memory:")) as made,
        contextlib.closing(sqlite3.connect(":memory:")) as frozen,
    ):
        for statement in (one for migration in MIGRATIONS[:version] for one in migration):
            made.execute(statement)
        frozen.executescript(schema(testdata, version))

        everything = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"
        assert made.execute(everything).fetchall() == frozen.execute(everything).fetchall()


@pytest.mark.parametrize("version", VERSIONS)
def test_store_of_each_version_is_opened_with_all_it_has(
    testdata: Path, tmp_path: Path, version: int
) -> None:
    with Store.open(tmp_path / "store") as store:
        image = ImageMaker(store).image(b"one", b"two", tag="app:1")
        store.cache.put(
            CacheRecord(
                key="k", operation="o", step="s", inputs={"a": "b"}, chain_id=image.chains[-1]
            )
        )
        store.stat_cache.save("context", {"file": ENTRY})
        store.containers.add(
            id="0" * 64, name="box", image="app:1", chain_id=image.chains[-1], state="{}"
        )
        before = content(store)
    take_back(store.paths.database, schema(testdata, version), version)

    for _ in range(2):
        with Store.open(tmp_path / "store") as store:
            assert content(store) == before
            assert store.gc.verify() == []
            assert store._database.row("PRAGMA user_version") == (len(MIGRATIONS),)

    with Store.open(tmp_path / "store") as store:
        ImageMaker(store).image(b"three", tag="app:2")
        store.gc.prune(everything=True)
        assert [tag.name for tag in store.images.all()] == ["app:1", "app:2"]
        assert store.gc.verify() == []


@pytest.mark.parametrize("version", VERSIONS[:-1])
def test_two_processes_may_bring_a_store_up_to_date_at_once(
    testdata: Path, tmp_path: Path, version: int
) -> None:
    with Store.open(tmp_path / "store") as store:
        ImageMaker(store).image(b"one", tag="app:1")
    take_back(store.paths.database, schema(testdata, version), version)

    with Store.open(tmp_path / "store") as one, Store.open(tmp_path / "store") as two:
        assert one.images.all() == two.images.all()
        assert [tag.name for tag in two.images.all()] == ["app:1"]
