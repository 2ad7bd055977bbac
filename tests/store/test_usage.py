import msgspec

from imagekit.store.cache_records import CacheRecord
from imagekit.store.layout import Store
from imagekit.store.usage import UsageRow
from tests.store.conftest import ImageMaker
from tests.store.test_disk import du


def rows(store: Store) -> dict[str, UsageRow]:
    return {row.kind: row for row in store.gc.usage().rows}


def test_rows_add_up_to_what_du_says(store: Store, make: ImageMaker) -> None:
    make.image(b"tagged" * 10_000, tag="app:1")
    make.image(b"nobody's" * 10_000)
    (store.cache_mounts.path("pip") / "wheel").write_bytes(b"x" * 50_000)
    store.containers.add(id="c1", name="web", image="app:1", chain_id=None, state="{}")
    (store.containers.directory("c1") / "log").write_bytes(b"x" * 20_000)
    (store.paths.root / "notes").write_bytes(b"whatever somebody put here")
    (store.paths.snapshots / "orphan" / "fs").mkdir(parents=True)

    with store.leases.hold("test") as lease, store.temporary_directory("test") as temporary:
        prepared = store.snapshots.prepare(lease)
        (prepared.fs / "growing").write_bytes(b"x" * 30_000)
        (temporary / "coming").write_bytes(b"x" * 40_000)
        usage = store.gc.usage()
        on_disk = du(store.root)

    assert usage.total_bytes == on_disk
    found = {row.kind: row for row in usage.rows}
    assert found["in progress"].count == 2
    assert found["in progress"].size_bytes >= 70_000
    assert found["containers"].size_bytes >= 20_000
    assert found["metadata"].size_bytes > 0


def test_reclaimable_is_what_a_prune_of_everything_frees(store: Store, make: ImageMaker) -> None:
    make.image(b"base", b"unused", tag="unused:1")
    used = make.image(b"base", b"used", tag="used:1")
    cached = make.image(b"base", b"cached")
    store.cache.put(
        CacheRecord(key="k", operation="o", step="s", inputs={}, chain_id=cached.chains[-1])
    )
    store.containers.add(
        id="c1",
        name="web",
        image=f"used:1@{used.manifest.descriptor.digest}",
        chain_id=used.chains[-1],
        state="{}",
    )
    (store.paths.snapshots / "orphan" / "fs").mkdir(parents=True)
    before = store.gc.usage()
    reclaimable = sum(row.reclaimable_bytes for row in before.rows)

    report = store.gc.prune(everything=True, images=True)

    assert report.images == ("unused:1",)
    assert report.freed_bytes == reclaimable > 0
    content = ("images", "build cache", "unused")
    after = rows(store)
    assert sum(after[kind].size_bytes for kind in content) == (
        sum(row.size_bytes for row in before.rows if row.kind in content) - report.freed_bytes
    )
    assert all(row.reclaimable_bytes == 0 for row in after.values())


def test_a_layer_is_shared_by_images_and_not_by_names(store: Store, make: ImageMaker) -> None:
    make.image(b"base" * 10_000, b"one" * 10_000, tag="one:1")
    two = make.image(b"base" * 10_000, b"two" * 10_000, tag="two:1")
    store.images.set("two:latest", two.manifest.descriptor)
    store.containers.add(id="c1", name="web", image="one:1", chain_id=None, state="{}")

    images = {image.name: image for image in store.gc.usage().images}

    assert images.keys() == {"one:1", "two:1", "two:latest"}
    one, again, two_latest = images["one:1"], images["two:1"], images["two:latest"]
    assert msgspec.structs.replace(again, name="", named=one.named) == msgspec.structs.replace(
        two_latest, name="", named=one.named
    )
    assert one.shared_bytes == again.shared_bytes >= 40_000
    assert one.unique_bytes + one.shared_bytes == one.size_bytes
    assert again.id == two.manifest.config.digest
    assert (one.containers, again.containers) == (1, 0)


def test_details_of_cache_and_containers(store: Store, make: ImageMaker) -> None:
    image = make.image(b"one", tag="app:1")
    lone = make.image(b"two" * 10_000)
    for key, made in (("shared", image), ("lone", lone)):
        store.cache.put(
            CacheRecord(
                key=key,
                operation="o",
                step="file:stage-0:1",
                inputs={"command": "COPY"},
                chain_id=made.chains[-1],
            )
        )
    store.cache.mark_used("lone")
    (store.cache_mounts.path("pip") / "wheel").write_bytes(b"x" * 50_000)
    store.containers.add(id="c1", name="web", image="app:1", chain_id=None, state="{}")

    usage = store.gc.usage()

    first, second = usage.cache_records
    assert (first.key, first.hits, first.shared) == ("lone", 1, False)
    assert (second.key, second.hits, second.shared) == ("shared", 0, True)
    assert first.size_bytes > second.size_bytes > 0
    assert first.inputs == {"command": "COPY"}
    (mount,) = usage.cache_mounts
    assert mount.id == "pip"
    assert mount.size_bytes >= 50_000
    (container,) = usage.containers
    assert (container.id, container.name, container.image) == ("c1", "web", "app:1")
