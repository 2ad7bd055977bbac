import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagekit.oci import mediatype
from imagekit.oci.descriptor import Descriptor
from imagekit.oci.digest import Digest
from imagekit.oci.errors import InvalidDocumentError
from imagekit.oci.manifest import Index
from imagekit.store.cache_records import CacheRecord
from imagekit.store.gc import PruneReport
from imagekit.store.layout import Store
from tests.store.conftest import ImageMaker

NOTHING = PruneReport(blobs=(), snapshots=(), cache_records=(), cache_mounts=0, freed_bytes=0)


def state(store: Store) -> tuple[set[Digest], set[Digest]]:
    return set(store.blobs.all()), {s.chain_id for s in store.snapshots.all()}


def record(key: str, chain_id: Digest | None) -> CacheRecord:
    return CacheRecord(key=key, operation="op", step="step", inputs={}, chain_id=chain_id)


def test_tagged_image_is_kept_whole(store: Store, make: ImageMaker) -> None:
    image = make.image(b"one", b"two", tag="app:1")

    assert store.gc.prune() == NOTHING
    assert state(store) == (set(image.blobs), set(image.chains))


def test_untagged_image_goes_with_its_snapshots(store: Store, make: ImageMaker) -> None:
    kept = make.image(b"base", tag="base:1")
    gone = make.image(b"base", b"app", tag="app:1")
    store.images.delete("app:1")

    report = store.gc.prune()

    assert set(report.blobs) == set(gone.blobs) - set(kept.blobs)
    assert set(report.snapshots) == {gone.chains[-1]}
    assert report.freed_bytes > 0
    assert state(store) == (set(kept.blobs), set(kept.chains))
    assert len(os.listdir(store.paths.snapshots)) == 1
    assert store.layers.get(Digest.of(b"app")) is None
    assert store.gc.verify() == []


def test_dry_run_tells_the_same_and_does_nothing(store: Store, make: ImageMaker) -> None:
    image = make.image(b"one", b"two")
    store.cache_mounts.path("pip")

    planned = store.gc.prune(everything=True, dry_run=True)

    assert state(store) == (set(image.blobs), set(image.chains))
    assert planned == store.gc.prune(everything=True)
    assert state(store) == (set(), set())
    assert planned.cache_mounts == 1


def test_index_keeps_the_manifests_it_lists_and_misses_no_absent_one(
    store: Store, make: ImageMaker
) -> None:
    image = make.image(b"one")
    absent = Descriptor(media_type=mediatype.OCI_MANIFEST, digest=Digest.of(b"?"), size=1)
    index = Index.build(manifests=[image.manifest.descriptor, absent])
    store.blobs.put(index.raw)
    store.images.set("multi:1", index.descriptor)

    assert store.gc.prune() == NOTHING
    assert store.gc.verify() == []


def test_image_unpacked_in_part_keeps_that_part(store: Store, make: ImageMaker) -> None:
    make.image(b"one", b"two", tag="app:1", unpack=False)
    base = make.image(b"one")

    store.gc.prune()

    assert state(store)[1] == set(base.chains)


def test_container_keeps_its_chain_and_its_image(store: Store, make: ImageMaker) -> None:
    image = make.image(b"one", b"two")
    digest = image.manifest.descriptor.digest
    store.containers.add(
        id="c1", name="web", image=f"app@{digest}", chain_id=image.chains[-1], state="{}"
    )

    assert store.gc.prune(everything=True) == NOTHING
    store.containers.remove("c1")
    assert set(store.gc.prune().blobs) == set(image.blobs)


@pytest.mark.parametrize("media_type_written", [True, False])
def test_leased_blob_keeps_what_it_lists(
    store: Store, make: ImageMaker, *, media_type_written: bool
) -> None:
    image = make.image(b"one")
    raw = image.manifest.raw
    if not media_type_written:
        raw = raw.replace(b'"mediaType":"%s",' % mediatype.OCI_MANIFEST.encode(), b"", 1)
        assert b'"layers"' in raw
    digest = store.blobs.put(raw)

    with store.leases.hold("test") as lease:
        lease.add("blob", digest)
        pretend_leases_are_new(store)
        store.gc.prune()

        assert set(image.blobs[:2]) <= state(store)[0]
    store.gc.prune()
    assert state(store) == (set(), set())


def pretend_leases_are_new(store: Store) -> None:
    """Take away that a lease keeps whatever was written since it began."""
    with store._database.write() as transaction:
        transaction.run("UPDATE leases SET created = created + 1000")


def test_leased_chain_keeps_its_parents(store: Store, make: ImageMaker) -> None:
    image = make.image(b"one", b"two", b"three")

    with store.leases.hold("test") as lease:
        lease.add("chain", image.chains[1])
        store.gc.prune()

        assert state(store)[1] == set(image.chains[:2])


def test_what_is_written_during_a_lease_is_kept(store: Store) -> None:
    with store.leases.hold("test"):
        digest = store.blobs.put(b"not tagged yet")
        with Store.open(store.root) as other:
            other.gc.prune(everything=True)

        assert store.blobs.has(digest)
    store.gc.prune()
    assert not store.blobs.has(digest)


def test_cache_record_keeps_its_chain_and_layer_blobs(store: Store, make: ImageMaker) -> None:
    image = make.image(b"one", b"two")
    store.cache.put(record("key", image.chains[-1]))

    report = store.gc.prune()

    assert set(report.blobs) == set(image.blobs[2:])  # config and manifest
    assert state(store) == (set(image.blobs[:2]), set(image.chains))
    everything = store.gc.prune(everything=True)
    assert everything.cache_records == ("key",)
    assert state(store) == (set(), set())
    assert store.cache.all() == []


def test_cache_over_budget_goes_least_recently_used_first(store: Store, make: ImageMaker) -> None:
    old, new = make.image(b"old"), make.image(b"new")
    store.cache.put(record("old", old.chains[-1]))
    store.cache.put(record("new", new.chains[-1]))
    store.snapshots.measure()
    layer_bytes = store.blobs.disk_sizes()[str(old.blobs[0])]
    cost = sum(s.size_bytes or 0 for s in store.snapshots.all()) // 2 + layer_bytes

    assert store.gc.prune(keep_cache_bytes=2 * cost).cache_records == ()
    assert store.gc.prune(keep_cache_bytes=cost).cache_records == ("old",)
    assert state(store)[1] == set(new.chains)


def test_cache_of_a_tagged_image_costs_nothing(store: Store, make: ImageMaker) -> None:
    image = make.image(b"one", tag="app:1")
    store.cache.put(record("key", image.chains[-1]))
    store.cache.put(record("config step", None))

    assert store.gc.prune(keep_cache_bytes=0).cache_records == ()
    assert set(store.gc.prune(everything=True).cache_records) == {"key", "config step"}


def test_orphans_of_a_crash_are_taken(store: Store) -> None:
    (store.paths.snapshots / "orphan" / "fs").mkdir(parents=True)
    (store.paths.containers / "orphan").mkdir()

    store.gc.prune()

    assert os.listdir(store.paths.snapshots) == []
    assert os.listdir(store.paths.containers) == []


def test_unreadable_tagged_document_stops_a_prune(store: Store) -> None:
    raw = b'{"schemaVersion":2,"config":7}'
    digest = store.blobs.put(raw)
    other = store.blobs.put(b"other")
    store.images.set(
        "bad:1", Descriptor(media_type=mediatype.OCI_MANIFEST, digest=digest, size=len(raw))
    )

    with pytest.raises(InvalidDocumentError):
        store.gc.prune()

    assert store.blobs.has(other)
    assert [issue.code for issue in store.gc.verify()] == ["document"]


def test_cache_mounts_stay_while_work_is_running(store: Store) -> None:
    path = store.cache_mounts.path("pip")
    (path / "wheel").write_bytes(b"x" * 10_000)

    with store.leases.hold("build"):
        assert store.gc.prune(everything=True).cache_mounts == 0
        assert path.exists()
    report = store.gc.prune(everything=True)

    assert report.cache_mounts == 1
    assert report.freed_bytes >= 10_000
    assert not path.exists()


def test_usage_adds_up(store: Store, make: ImageMaker) -> None:
    make.image(b"tagged", tag="app:1")
    cached = make.image(b"cached")
    store.cache.put(record("key", cached.chains[-1]))
    (store.cache_mounts.path("pip") / "wheel").write_bytes(b"x" * 10_000)
    store.containers.add(id="c1", name="web", image="app:1", chain_id=None, state="{}")

    rows = {row.kind: row for row in store.gc.usage().rows}

    assert rows["images"].count == rows["images"].active == 1
    assert rows["containers"].count == 1
    assert rows["build cache"].count == 1
    assert rows["build cache"].size_bytes == rows["build cache"].reclaimable_bytes > 0
    assert rows["cache mounts"].size_bytes >= 10_000
    assert rows["unused"].count == 2  # config and manifest of the image that is not tagged
    before = sum(row.reclaimable_bytes for row in rows.values())
    assert store.gc.prune(everything=True, images=True).freed_bytes == before


def test_verify_names_what_is_broken(store: Store, make: ImageMaker) -> None:
    image = make.image(b"one", b"two", tag="app:1")
    store.containers.add(id="c1", name="web", image="app:1", chain_id=None, state="{}")
    assert store.gc.verify() == []

    store.blobs.delete(image.blobs[0])
    store.blobs.path(image.blobs[1]).write_bytes(b"flipped")
    snapshot = store.snapshots.get(image.chains[-1])
    assert snapshot is not None
    snapshot.fs.rename(snapshot.path / "elsewhere")
    store.containers.directory("c1").rmdir()

    assert {(issue.code, issue.subject) for issue in store.gc.verify()} == {
        ("blob-missing", str(image.blobs[0])),
        ("blob-content", str(image.blobs[1])),
        ("snapshot-files", str(image.chains[-1])),
        ("container-files", "c1"),
    }


LAYERS = st.lists(st.sampled_from([b"a", b"b", b"c", b"d"]), min_size=1, max_size=4)
ROOT = st.sampled_from(["tag", "container", "cache", "lease", "none"])


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(LAYERS, ROOT), max_size=5), st.none() | st.integers(0, 20_000))
def test_prune_never_removes_what_is_reachable(
    tmp_path: Path, images: list[tuple[list[bytes], str]], budget: int | None
) -> None:
    root = tmp_path / os.urandom(8).hex()
    with Store.open(root) as store, store.leases.hold("test") as lease:
        make = ImageMaker(store)
        blobs: set[Digest] = set()
        chains: set[Digest] = set()
        for number, (layers, kind) in enumerate(images):
            image = make.image(*layers, tag=f"i:{number}" if kind == "tag" else None)
            digest = image.manifest.descriptor.digest
            if kind == "container":
                store.containers.add(
                    id=str(number),
                    name=str(number),
                    image=f"x@{digest}",
                    chain_id=image.chains[-1],
                    state="",
                )
            elif kind == "cache":
                store.cache.put(record(str(number), image.chains[-1]))
            elif kind == "lease":
                lease.add("blob", digest)
            if kind in ("tag", "container", "lease"):
                blobs |= set(image.blobs)
                chains |= set(image.chains)
        pretend_leases_are_new(store)

        planned = store.gc.prune(keep_cache_bytes=budget, dry_run=True)
        report = store.gc.prune(keep_cache_bytes=budget)

        left_blobs, left_chains = state(store)
        assert blobs <= left_blobs
        assert chains <= left_chains
        assert report == planned
        for kept in store.cache.all():
            assert kept.chain_id is not None
            assert len(store.snapshots.lowerdirs(kept.chain_id)) >= 1
        for chain_id in left_chains:
            assert all(path.is_dir() for path in store.snapshots.lowerdirs(chain_id))
        assert store.gc.verify() == []
        assert store.gc.prune(keep_cache_bytes=budget).freed_bytes == 0
