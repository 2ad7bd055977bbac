"""Promises of the store's parts that a caller builds on, one test for each sentence.

Beside ``test_blob_store``, and what tests/store has on how the parts do it.
"""

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from imagekit.base.clock import FixedClock
from imagekit.oci.descriptor import Descriptor
from imagekit.oci.digest import Digest
from imagekit.oci.image_config import next_chain_id
from imagekit.oci.mediatype import OCI_LAYER, Compression
from imagekit.store.cache_records import CacheRecord
from imagekit.store.errors import (
    ContentNotFoundError,
    NameInUseError,
    SnapshotInUseError,
    StorageFullError,
)
from imagekit.store.layout import Store
from imagekit.store.locks import Locks
from imagekit.store.metadata import Database
from imagekit.store.stat_cache import StatEntry
from imagekit.store.tags import Tags
from tests.store.conftest import ImageMaker

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DIFF = Digest.of(b"layer")
BOTTOM = next_chain_id(None, DIFF)
TOP = next_chain_id(BOTTOM, DIFF)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOW)


@pytest.fixture
def store(tmp_path: Path, clock: FixedClock) -> Iterator[Store]:
    with Store.open(tmp_path / "store", clock=clock) as opened:
        yield opened


def forget(store: Store) -> None:
    """Let the blobs be older than any lease that begins from now on."""
    for digest in store.blobs.all():
        os.utime(store.blobs.path(digest), (0, 0))


class TestBlobWriter:
    def test_digest_is_that_of_what_came_so_far(self, store: Store) -> None:
        with store.blobs.writer() as writer:
            assert writer.digest == Digest.of(b"")
            writer.write(b"ab")
            assert writer.digest == Digest.of(b"ab")
            assert writer.written_bytes == 2

    def test_abort_may_be_repeated_and_does_nothing_after_commit(self, store: Store) -> None:
        writer = store.blobs.writer()
        writer.write(b"x")
        digest = writer.commit()
        writer.abort()
        writer.abort()

        assert store.blobs.read(digest) == b"x"

    def test_commit_of_what_is_there_keeps_the_first(self, store: Store) -> None:
        digest = store.blobs.put(b"x")
        inode = store.blobs.path(digest).stat().st_ino

        with store.blobs.writer() as writer:
            writer.write(b"x")
            assert writer.commit() == digest

        assert store.blobs.path(digest).stat().st_ino == inode
        assert os.listdir(store.paths.temporary) == []

    def test_refresh_tells_whether_it_is_there(self, store: Store) -> None:
        digest = store.blobs.put(b"x")

        assert store.blobs.refresh(digest)
        assert not store.blobs.refresh(Digest.of(b"absent"))

    def test_import_of_what_is_there_removes_the_file(self, store: Store, tmp_path: Path) -> None:
        digest = store.blobs.put(b"x")
        (tmp_path / "file").write_bytes(b"x")

        store.blobs.import_file(tmp_path / "file", digest)

        assert not (tmp_path / "file").exists()
        assert store.blobs.read(digest) == b"x"


class TestLeases:
    def test_blob_keeps_all_that_its_document_lists(self, store: Store) -> None:
        image = ImageMaker(store).image(b"one", b"two", unpack=False)

        with store.leases.hold("test") as lease:
            lease.add("blob", image.manifest.descriptor.digest)
            forget(store)
            store.gc.prune(everything=True)
            assert set(store.blobs.all()) == set(image.blobs)

        store.gc.prune(everything=True)
        assert list(store.blobs.all()) == []

    def test_chain_keeps_the_snapshots_below_it(self, store: Store) -> None:
        image = ImageMaker(store).image(b"one", b"two", b"three")

        with store.leases.hold("test") as lease:
            lease.add("chain", str(image.chains[1]))
            store.gc.prune(everything=True)
            assert {one.chain_id for one in store.snapshots.all()} == set(image.chains[:2])

    def test_what_is_dropped_is_kept_no_longer(self, store: Store) -> None:
        image = ImageMaker(store).image(b"one")

        with store.leases.hold("test") as lease:
            lease.add("chain", *map(str, image.chains))
            lease.drop("chain", str(image.chains[0]))
            store.gc.prune(everything=True)
            assert store.snapshots.all() == []

    def test_blob_written_or_refreshed_meanwhile_needs_no_mention(self, store: Store) -> None:
        old = store.blobs.put(b"old")
        with store.leases.hold("test"):
            new = store.blobs.put(b"new")
            store.blobs.refresh(old)

            store.gc.prune(everything=True)

            assert set(store.blobs.all()) == {old, new}

    def test_several_threads_may_add_to_one(self, store: Store) -> None:
        with store.leases.hold("test") as lease:
            threads = [
                threading.Thread(target=lease.add, args=("blob", Digest.of(b"%d" % number)))
                for number in range(16)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

            assert store._database.row("SELECT count(*) FROM lease_items") == (16,)


class TestSnapshots:
    def test_prepared_directory_is_empty_and_goes_with_its_lease(self, store: Store) -> None:
        with store.leases.hold("test") as lease:
            prepared = store.snapshots.prepare(lease)
            assert os.listdir(prepared.fs) == os.listdir(prepared.work) == []
            (prepared.fs / "half").write_text("written")

        assert os.listdir(store.paths.snapshots) == []

    def test_lease_of_a_commit_keeps_the_chain(self, store: Store) -> None:
        with store.leases.hold("test") as lease:
            prepared = store.snapshots.prepare(lease)
            store.snapshots.commit(prepared, chain_id=BOTTOM, parent_chain_id=None, diff_id=DIFF)

            with pytest.raises(SnapshotInUseError):
                store.snapshots.remove(BOTTOM)
            store.gc.prune(everything=True)

            assert store.snapshots.lowerdirs(BOTTOM) == (prepared.fs,)

    def test_remove_and_discard_may_be_repeated(self, store: Store) -> None:
        with store.leases.hold("test") as lease:
            prepared = store.snapshots.prepare(lease)
            store.snapshots.discard(prepared)
            store.snapshots.discard(prepared)
        image = ImageMaker(store).image(b"one")

        store.snapshots.remove(image.chains[0])
        store.snapshots.remove(image.chains[0])

        assert store.snapshots.all() == []
        assert os.listdir(store.paths.snapshots) == []

    def test_remove_takes_the_cache_records_that_lead_there(self, store: Store) -> None:
        image = ImageMaker(store).image(b"one")
        store.cache.put(record("k", chain_id=image.chains[0]))
        store.cache.put(record("other"))

        store.snapshots.remove(image.chains[0])

        assert [one.key for one in store.cache.all()] == ["other"]


class TestTags:
    def descriptor(self, store: Store, content: bytes) -> Descriptor:
        return Descriptor(media_type=OCI_LAYER, digest=store.blobs.put(content), size=len(content))

    def test_callback_comes_after_each_change_and_after_no_other(self, store: Store) -> None:
        calls: list[list[str]] = []
        tags = Tags(
            store._database,
            store.blobs,
            FixedClock(NOW),
            lambda: calls.append([tag.name for tag in store.images.all()]),
        )
        one = self.descriptor(store, b"1")

        tags.set("b", one)
        tags.set("b", one)
        tags.move("a", None, one)
        tags.move("a", None, one)
        tags.delete("b")
        tags.delete("b")

        assert calls == [["b"], ["a", "b"], ["a"]]

    def test_the_same_again_counts_as_named_now(self, store: Store, clock: FixedClock) -> None:
        one = self.descriptor(store, b"1")
        store.images.set("a", one)
        clock.time += timedelta(hours=1)

        store.images.set("a", one)

        (tag,) = store.images.all()
        assert tag.updated == NOW + timedelta(hours=1)

    @pytest.mark.parametrize(
        "change",
        [
            "INSERT INTO images SELECT 'new', descriptor, digest, updated FROM images",
            "DELETE FROM images",
            "UPDATE images SET descriptor = descriptor",
        ],
    )
    def test_index_left_behind_is_written_by_the_next_who_opens(
        self, store: Store, change: str
    ) -> None:
        """As after a kill, or on a full disk, between the change and the index."""
        store.images.set("x", self.descriptor(store, b"1"))
        index = store.paths.content / "index.json"
        index.write_bytes(b"stale")
        with store._database.write() as transaction:
            transaction.run(change)

        with Store.open(store.root) as other:
            assert index.read_bytes() != b"stale"
            for tag in other.images.all():
                assert tag.name.encode() in index.read_bytes()

        index.write_bytes(b"not written again")
        Store.open(store.root).close()
        assert index.read_bytes() == b"not written again"


def record(key: str, chain_id: Digest | None = None) -> CacheRecord:
    return CacheRecord(
        key=key, operation=f"operation of {key}", step="step", inputs={}, chain_id=chain_id
    )


class TestCacheRecords:
    def test_keys_are_exact(self, store: Store) -> None:
        store.cache.put(record("key"))

        assert store.cache.get("ke") is None
        assert store.cache.get("KEY") is None
        assert store.cache.get("key") is not None

    def test_hit_of_an_unknown_key_makes_no_record(self, store: Store) -> None:
        store.cache.mark_used("unknown")

        assert store.cache.all() == []

    def test_operation_is_known_on_whatever_parent(self, store: Store) -> None:
        store.cache.put(record("key"))

        assert store.cache.has_operation("operation of key")
        assert not store.cache.has_operation("operation")

    def test_delete_tells_whether_it_was_there(self, store: Store) -> None:
        store.cache.put(record("key"))

        assert store.cache.delete("key")
        assert not store.cache.delete("key")

    def test_most_recently_used_is_first(self, store: Store, clock: FixedClock) -> None:
        for key in ("first", "second", "third"):
            store.cache.put(record(key))
            clock.time += timedelta(seconds=1)
        store.cache.mark_used("first")

        assert [one.key for one in store.cache.all()] == ["first", "third", "second"]


class TestLayerBlobs:
    def test_what_is_known_does_not_mean_that_it_is_here(self, store: Store) -> None:
        digest = Digest.of(b"packed")
        for _ in range(2):
            store.layers.record(
                diff_id=DIFF,
                digest=digest,
                compression=Compression.GZIP,
                size=6,
                uncompressed_size=5,
            )

        assert store.layers.diff_id_of(digest) == DIFF
        assert [blob.digest for blob in store.layers.blobs_of(DIFF)] == [digest]
        assert not store.blobs.has(digest)

    def test_unknown_is_none_and_nothing(self, store: Store) -> None:
        assert store.layers.get(DIFF) is None
        assert store.layers.diff_id_of(DIFF) is None
        assert store.layers.blobs_of(DIFF) == []


class TestStatCache:
    def test_save_replaces_the_whole_table(self, store: Store) -> None:
        entry = StatEntry(device=1, inode=2, size=3, mtime_ns=4, ctime_ns=5, digest="x")
        store.stat_cache.save("context", {"gone": entry})

        store.stat_cache.save("context", {"here": entry})

        assert store.stat_cache.load("context") == {"here": entry}
        assert store.stat_cache.load("another") == {}


class TestContainers:
    def test_refused_transaction_leaves_no_directory(self, store: Store) -> None:
        # A page limit is a disk that is full for this database alone.
        with store._database.write() as transaction:
            ((pages,),) = transaction.rows("PRAGMA page_count")
        store._database.row(f"PRAGMA max_page_count = {pages}")

        with pytest.raises(StorageFullError):
            store.containers.add(id="1" * 64, name="x", image="", chain_id=None, state="x" * 99999)

        assert os.listdir(store.paths.containers) == []
        assert store.containers.all() == []

    def test_refused_name_leaves_no_directory(self, store: Store) -> None:
        store.containers.add(id="1" * 64, name="taken", image="", chain_id=None, state="{}")

        with pytest.raises(NameInUseError):
            store.containers.add(id="2" * 64, name="taken", image="", chain_id=None, state="{}")

        assert os.listdir(store.paths.containers) == ["1" * 64]

    def test_remove_tells_and_may_be_repeated(self, store: Store) -> None:
        store.containers.add(id="1" * 64, name="x", image="", chain_id=None, state="{}")

        assert store.containers.remove("1" * 64)
        assert not store.containers.remove("1" * 64)
        assert os.listdir(store.paths.containers) == []

    def test_state_of_none_cannot_be_changed(self, store: Store) -> None:
        with pytest.raises(ContentNotFoundError):
            store.containers.update_state("1" * 64, "{}")

    def test_nothing_is_the_start_of_nothing(self, store: Store) -> None:
        store.containers.add(id="1" * 64, name="x", image="", chain_id=None, state="{}")

        assert store.containers.get("") is None
        assert store.containers.get("2") is None


class TestCacheMounts:
    @pytest.mark.parametrize("identifier", ["/root/.cache", "../../up", "", "é\n", "x" * 5000])
    def test_any_id_is_a_directory_of_its_own_below_the_store(
        self, store: Store, identifier: str
    ) -> None:
        old = os.umask(0o077)
        try:
            path = store.cache_mounts.path(identifier)
        finally:
            os.umask(old)

        assert path.resolve().is_relative_to(store.paths.cache_mounts)
        assert path.stat().st_mode & 0o7777 == 0o755
        assert store.cache_mounts.path(identifier) == path
        assert store.cache_mounts.path(f"{identifier}+") != path


class TestLocks:
    @pytest.mark.parametrize("mode", ["exclusive", "shared"])
    def test_exclusive_waits_for_another_process(self, tmp_path: Path, mode: str) -> None:
        context = multiprocessing.get_context("fork")
        inside, leave = context.Event(), context.Event()

        def hold() -> None:
            with getattr(Locks(tmp_path), mode)("name"):
                inside.set()
                leave.wait(30)

        other = context.Process(target=hold, daemon=True)
        other.start()
        assert inside.wait(30)
        entered = threading.Event()
        thread = threading.Thread(target=enter, args=(Locks(tmp_path), entered))
        thread.start()

        assert not entered.wait(0.05)
        leave.set()
        assert entered.wait(30)
        thread.join()
        other.join()


def enter(locks: Locks, entered: threading.Event) -> None:
    with locks.exclusive("name"):
        entered.set()


class TestTransactions:
    def test_queries_of_a_snapshot_see_one_state(self, store: Store) -> None:
        with store._database.snapshot() as transaction:
            before = transaction.rows("SELECT * FROM meta")
            thread = threading.Thread(target=write_meta, args=(store._database,))
            thread.start()
            thread.join()

            assert transaction.rows("SELECT * FROM meta") == before

        assert store._database.row("SELECT value FROM meta WHERE key = 'k'") == ("v",)

    @pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
    def test_any_exception_undoes_the_block(self, store: Store, error: type[BaseException]) -> None:
        with contextlib.suppress(error), store._database.write() as transaction:
            transaction.run("INSERT INTO meta VALUES ('k', 'v')")
            raise error

        assert store._database.row("SELECT * FROM meta WHERE key = 'k'") is None
        write_meta(store._database)


def write_meta(database: Database) -> None:
    with database.write() as transaction:
        transaction.run("INSERT INTO meta VALUES ('k', 'v')")
