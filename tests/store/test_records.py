"""Cache records, stat cache, layers and containers: the tables with little logic."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from imagekit.base.clock import FixedClock
from imagekit.oci.digest import Digest
from imagekit.oci.mediatype import Compression
from imagekit.store.cache_records import CachedResult, CacheRecord
from imagekit.store.errors import AmbiguousIdError, ContentNotFoundError, NameInUseError
from imagekit.store.layer_blobs import LayerBlob
from imagekit.store.layout import Store
from imagekit.store.stat_cache import KEPT_CONTEXTS, StatEntry

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOON)


@pytest.fixture
def store(tmp_path: Path, clock: FixedClock) -> Iterator[Store]:
    """Replace the store that has the real clock."""
    with Store.open(tmp_path / "store", clock=clock) as opened:
        yield opened


def full_record(key: str = "key") -> CacheRecord:
    return CacheRecord(
        key=key,
        operation="op",
        step="Dockerfile/build/3",
        inputs={"files": {"a.txt": "sha256:1"}, "args": ["x"], "n": 1},
        chain_id=Digest.of(b"chain"),
        diff_id=Digest.of(b"diff"),
        created=NOON,
        used=NOON,
        hits=2,
        bill={"wall_s": 0.5},
    )


def test_cache_record_comes_back_as_it_was(store: Store) -> None:
    store.cache.put(full_record())

    assert store.cache.get("key") == full_record()
    assert store.cache.all() == [full_record()]
    assert store.cache.get("other") is None
    assert store.cache.has_operation("op")
    assert not store.cache.has_operation("po")


def test_result_of_a_key_is_had_without_its_inputs(store: Store) -> None:
    store.cache.put(full_record())
    store.cache.put(CacheRecord(key="no snapshot", operation="op", step="s", inputs={}))

    assert store.cache.result("key") == CachedResult(
        chain_id=Digest.of(b"chain"), diff_id=Digest.of(b"diff"), created=NOON
    )
    assert store.cache.result("no snapshot") is None
    assert store.cache.result("other") is None


def test_put_fills_in_the_times_and_replaces(store: Store, clock: FixedClock) -> None:
    store.cache.put(CacheRecord(key="key", operation="op", step="s", inputs={}))
    clock.time += timedelta(hours=1)
    store.cache.put(CacheRecord(key="key", operation="po", step="s", inputs={}))

    found = store.cache.get("key")

    assert found is not None
    assert (found.operation, found.created, found.used) == ("po", clock.time, clock.time)


def test_hits_are_counted(store: Store, clock: FixedClock) -> None:
    store.cache.put(full_record("a"))
    store.cache.put(full_record("b"))
    clock.time += timedelta(hours=1)

    store.cache.mark_used("b", "absent")

    assert [(r.key, r.hits, r.used) for r in store.cache.all()] == [
        ("b", 3, clock.time),
        ("a", 2, NOON),
    ]


def test_latest_for_step(store: Store, clock: FixedClock) -> None:
    for key in ("first", "second"):
        clock.time += timedelta(hours=1)
        store.cache.put(CacheRecord(key=key, operation="op", step="s", inputs={}))

    latest = store.cache.latest_for_step("s")

    assert latest is not None
    assert latest.key == "second"
    assert store.cache.latest_for_step("t") is None
    assert store.cache.delete("second")
    assert not store.cache.delete("second")


ENTRY = StatEntry(
    device=1, inode=2, size=3, mtime_ns=10**18, ctime_ns=10**18 + 1, digest="sha256:x"
)


def test_stat_cache_round_trip(store: Store) -> None:
    store.stat_cache.save("/src", {"a": ENTRY, "caf\N{LATIN SMALL LETTER E WITH ACUTE}": ENTRY})

    assert store.stat_cache.load("/src") == {"a": ENTRY, "café": ENTRY}
    assert store.stat_cache.load("/other") == {}


def test_stat_cache_forgets_contexts_longest_unused(store: Store, clock: FixedClock) -> None:
    for number in range(KEPT_CONTEXTS + 1):
        clock.time += timedelta(seconds=1)
        store.stat_cache.save(str(number), {"a": ENTRY})

    assert store.stat_cache.load("0") == {}
    assert store.stat_cache.load("1") == {"a": ENTRY}


@pytest.mark.parametrize(("before_ns", "racy"), [(10**9, False), (1, True), (-1, True)])
def test_entry_changed_about_when_reading_began_is_racy(before_ns: int, *, racy: bool) -> None:
    assert ENTRY.is_racy(ENTRY.ctime_ns + before_ns) is racy


def test_layers_both_ways(store: Store) -> None:
    diff_id, plain, packed = (Digest.of(name) for name in (b"d", b"p", b"z"))
    for digest, compression in ((plain, Compression.NONE), (packed, Compression.ZSTD)):
        for _ in range(2):
            store.layers.record(
                diff_id=diff_id,
                digest=digest,
                compression=compression,
                size=1,
                uncompressed_size=2,
            )

    assert store.layers.diff_id_of(packed) == diff_id
    assert store.layers.diff_id_of(diff_id) is None
    assert {blob.digest for blob in store.layers.blobs_of(diff_id)} == {plain, packed}
    assert store.layers.get(packed) == LayerBlob(
        digest=packed,
        diff_id=diff_id,
        compression=Compression.ZSTD,
        size=1,
        uncompressed_size=2,
    )


def add(store: Store, identifier: str, name: str) -> None:
    store.containers.add(id=identifier, name=name, image="app:1", chain_id=None, state="{}")


def test_container_by_id_name_or_prefix(store: Store) -> None:
    add(store, "abc1", "web")
    add(store, "abd2", "abc")

    def found(key: str) -> str | None:
        container = store.containers.get(key)
        return None if container is None else container.id

    assert found("abc1") == "abc1"
    assert found("web") == "abc1"
    assert found("abc") == "abd2"  # a name goes before the beginning of an id
    assert found("abd") == "abd2"
    assert found("x") is None
    assert found("") is None
    with pytest.raises(AmbiguousIdError):
        store.containers.get("ab")
    assert [c.created for c in store.containers.all()] == [NOON, NOON]


def test_name_of_a_container_is_its_own(store: Store) -> None:
    add(store, "abc1", "web")

    with pytest.raises(NameInUseError):
        add(store, "abd2", "web")

    assert not store.containers.directory("abd2").exists()
    assert [c.id for c in store.containers.all()] == ["abc1"]


def test_container_state_and_directory(store: Store) -> None:
    add(store, "abc1", "web")
    assert store.containers.directory("abc1").stat().st_mode & 0o777 == 0o700

    store.containers.update_state("abc1", '{"running":true}')

    found = store.containers.get("web")
    assert found is not None
    assert found.state == '{"running":true}'
    assert store.containers.remove("abc1")
    assert not store.containers.remove("abc1")
    assert not store.containers.directory("abc1").exists()
    with pytest.raises(ContentNotFoundError):
        store.containers.update_state("abc1", "{}")
