"""What a prune takes when it is told to take more, or less, than what nothing needs."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from imagekit.base.clock import FixedClock
from imagekit.store.cache_records import CacheRecord
from imagekit.store.layout import Store
from imagekit.store.plan import LabelFilter
from tests.store.conftest import ImageMaker

# Change times of files are the kernel's, so the store's clock has to agree with it.
NOW = datetime.now(UTC)
YESTERDAY = NOW - timedelta(days=1)
HOUR_AGO = NOW - timedelta(hours=1)


@pytest.fixture
def yesterday(tmp_path: Path) -> Iterator[ImageMaker]:
    """A maker for what came into the store a day ago."""
    with Store.open(tmp_path / "store", clock=FixedClock(YESTERDAY)) as store:
        yield ImageMaker(store)


@pytest.fixture
def today(tmp_path: Path, yesterday: ImageMaker) -> Iterator[ImageMaker]:
    del yesterday
    with Store.open(tmp_path / "store", clock=FixedClock(NOW)) as store:
        yield ImageMaker(store)


def cache(make: ImageMaker, key: str, layer: bytes) -> None:
    chain_id = make.image(layer).chains[-1]
    make.store.cache.put(
        CacheRecord(key=key, operation="o", step="s", inputs={}, chain_id=chain_id)
    )


def names(store: Store) -> set[str]:
    return {image.name for image in store.images.all()}


def keys(store: Store) -> set[str]:
    return {record.key for record in store.cache.all()}


def test_images_without_a_container_go(yesterday: ImageMaker) -> None:
    store = yesterday.store
    by_digest = yesterday.image(b"one", tag="by-digest:1")
    yesterday.image(b"two", tag="by-name:1")
    yesterday.image(b"three", tag="nobody:1")
    digest = by_digest.manifest.descriptor.digest
    for number, image in enumerate((f"other:1@{digest}", "by-name:1")):
        store.containers.add(
            id=f"c{number}", name=f"c{number}", image=image, chain_id=None, state="{}"
        )

    planned = store.gc.prune(images=True, dry_run=True)
    assert names(store) == {"by-digest:1", "by-name:1", "nobody:1"}
    report = store.gc.prune(images=True)

    assert planned == report
    assert report.images == ("nobody:1",)
    assert names(store) == {"by-digest:1", "by-name:1"}
    assert b"nobody" not in (store.paths.content / "index.json").read_bytes()
    assert store.gc.verify() == []


def test_an_image_that_running_work_leased_loses_only_its_name(yesterday: ImageMaker) -> None:
    store = yesterday.store
    image = yesterday.image(b"base", tag="base:1")

    with store.leases.hold("build") as lease:
        lease.add("blob", image.manifest.descriptor.digest)
        store.gc.prune(images=True, everything=True)

        assert names(store) == set()
        assert set(store.blobs.all()) == set(image.blobs)
        assert len(store.snapshots.lowerdirs(image.chains[-1])) == 1


@pytest.mark.parametrize(
    ("labels", "gone"),
    [
        ([LabelFilter(key="team")], {"a:1", "b:1"}),
        ([LabelFilter(key="team", value="a")], {"a:1"}),
        ([LabelFilter(key="team", negated=True)], {"none:1"}),
        ([LabelFilter(key="team", value="a", negated=True)], {"b:1", "none:1"}),
        ([LabelFilter(key="team"), LabelFilter(key="keep", negated=True)], {"a:1"}),
    ],
)
def test_labels_choose_images(
    yesterday: ImageMaker, labels: list[LabelFilter], gone: set[str]
) -> None:
    yesterday.image(b"a", tag="a:1", labels={"team": "a"})
    yesterday.image(b"b", tag="b:1", labels={"team": "b", "keep": ""})
    yesterday.image(b"n", tag="none:1")

    report = yesterday.store.gc.prune(images=True, labels=labels)

    assert set(report.images) == gone


def test_until_spares_what_came_later(yesterday: ImageMaker, today: ImageMaker) -> None:
    store = today.store
    yesterday.image(b"old", tag="old:1")
    cache(yesterday, "old", b"old step")
    yesterday.image(b"old and untagged")
    today.image(b"new", tag="new:1")
    cache(today, "new", b"new step")
    lone = today.image(b"new and untagged")

    report = store.gc.prune(everything=True, images=True, unused_since=HOUR_AGO)

    assert report.images == ("old:1",)
    assert report.cache_records == ("old",)
    assert keys(store) == {"new"}
    left = {snapshot.chain_id for snapshot in store.snapshots.all()}
    assert lone.chains[0] in left
    assert len(left) == 3
    # Every blob was written just now by the kernel's clock, whatever the store's clock said.
    assert report.blobs == ()
    assert store.gc.verify() == []


def test_until_alone_takes_the_old_cache_but_no_image(
    yesterday: ImageMaker, today: ImageMaker
) -> None:
    store = today.store
    yesterday.image(b"old", tag="old:1")
    for key in ("old", "used today"):
        cache(yesterday, key, key.encode())
    store.cache.mark_used("used today")

    report = store.gc.prune(unused_since=HOUR_AGO)

    assert report.images == ()
    assert report.cache_records == ("old",)
    assert keys(store) == {"used today"}
    assert names(store) == {"old:1"}


def test_untagged_blobs_of_before_go(yesterday: ImageMaker) -> None:
    image = yesterday.image(b"lone")
    soon = datetime.now(UTC) + timedelta(seconds=5)

    report = yesterday.store.gc.prune(unused_since=soon)

    assert set(report.blobs) == set(image.blobs)


def test_kept_bytes_are_of_records_and_mounts_together(today: ImageMaker) -> None:
    store = today.store
    path = store.cache_mounts.path("pip")
    (path / "wheel").write_bytes(b"x" * 100_000)
    os.utime(path.parent, (YESTERDAY.timestamp(),) * 2)
    cache(today, "new", b"n" * 100_000)

    assert store.gc.prune(keep_cache_bytes=10_000_000).freed_bytes == 2 * 4096  # its documents
    report = store.gc.prune(keep_cache_bytes=150_000)

    assert (report.cache_mounts, report.cache_records) == (1, ())
    assert not path.exists()
    assert keys(store) == {"new"}


def test_all_of_the_cache_beyond_what_is_kept(yesterday: ImageMaker, today: ImageMaker) -> None:
    cache(yesterday, "old", b"o" * 100_000)
    cache(today, "new", b"n" * 100_000)

    report = today.store.gc.prune(everything=True, keep_cache_bytes=150_000)

    assert report.cache_records == ("old",)


def test_until_spares_even_what_is_over_the_budget(
    yesterday: ImageMaker, today: ImageMaker
) -> None:
    cache(yesterday, "old", b"o" * 100_000)
    cache(today, "new", b"n" * 100_000)

    report = today.store.gc.prune(keep_cache_bytes=0, unused_since=HOUR_AGO)

    assert report.cache_records == ("old",)


def test_a_mount_used_after_it_was_measured_stays(store: Store) -> None:
    path = store.cache_mounts.path("pip")
    os.utime(path.parent, (0, 0))

    used = store.cache_mounts.all()[0].used
    store.cache_mounts.path("pip")

    assert used == 0
    assert store.cache_mounts.all()[0].used > used
    report = store.gc.prune(everything=True, unused_since=HOUR_AGO)
    assert report.cache_mounts == 0
    assert path.is_dir()
