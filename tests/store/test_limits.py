"""A store keeps within the sizes that its user set, and never takes what is needed for it."""

import os
from datetime import UTC, datetime, timedelta

import pytest

from imagekit.store.cache_records import CacheRecord
from imagekit.store.layout import Store
from imagekit.store.limits import Limits
from tests.store.conftest import ImageMaker

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
STEP_BYTES = 100_000


def cached(make: ImageMaker, *keys: str) -> None:
    """Make a record of some 120 kB for each key, the first used the longest ago."""
    for age, key in enumerate(reversed(keys)):
        chain_id = make.image(key.encode() * (STEP_BYTES // len(key))).chains[-1]
        make.store.cache.put(
            CacheRecord(
                key=key,
                operation="o",
                step="s",
                inputs={},
                chain_id=chain_id,
                used=LONG_AGO - timedelta(days=age),
            )
        )


def keys(store: Store) -> set[str]:
    return {record.key for record in store.cache.all()}


def total(store: Store) -> int:
    return store.gc.sizes().total_bytes


def test_sizes_are_those_of_usage(store: Store, make: ImageMaker) -> None:
    make.image(b"x" * STEP_BYTES, tag="app:1")
    cached(make, "one")
    (store.cache_mounts.path("pip") / "wheel").write_bytes(b"x" * STEP_BYTES)
    store.containers.add(id="c1", name="web", image="app:1", chain_id=None, state="{}")

    sizes = store.gc.sizes()

    usage = store.gc.usage()
    assert sizes.total_bytes == usage.total_bytes
    assert sizes.content_bytes == sum(
        row.size_bytes
        for row in usage.rows
        if row.kind in ("images", "build cache", "cache mounts", "unused")
    )


@pytest.mark.parametrize("limits", [Limits(), Limits(max_bytes=1 << 40, cache_bytes=1 << 40)])
def test_within_its_limits_nothing_goes(store: Store, make: ImageMaker, limits: Limits) -> None:
    make.image(b"untagged")
    cached(make, "one", "two")
    before = set(store.blobs.all())

    assert store.keep_within(limits) == ""

    assert keys(store) == {"one", "two"}
    assert set(store.blobs.all()) == before


def test_the_cache_limit_takes_the_least_recently_used(store: Store, make: ImageMaker) -> None:
    cached(make, "oldest", "older", "newest")

    assert store.keep_within(Limits(cache_bytes=2 * (STEP_BYTES + 30_000))) == ""

    assert keys(store) == {"older", "newest"}


def test_the_store_limit_takes_cache_until_it_is_met(store: Store, make: ImageMaker) -> None:
    make.image(b"x" * STEP_BYTES, tag="app:1")
    cached(make, "oldest", "older", "newest")
    mount = store.cache_mounts.path("pip")
    (mount / "wheel").write_bytes(b"x" * STEP_BYTES)
    os.utime(mount.parent, (0, 0))  # older than all
    store.gc.prune()
    limit = total(store) - STEP_BYTES - 50_000

    assert store.keep_within(Limits(max_bytes=limit)) == ""

    assert total(store) <= limit
    assert not mount.exists()
    assert keys(store) == {"older", "newest"}
    assert store.images.get("app:1") is not None
    assert store.gc.verify() == []


def test_unused_content_goes_before_any_cache(store: Store, make: ImageMaker) -> None:
    cached(make, "one")
    make.image(b"untagged" * 20_000)
    limit = total(store) - 50_000

    assert store.keep_within(Limits(max_bytes=limit)) == ""

    assert total(store) <= limit
    assert keys(store) == {"one"}


def test_what_is_spared_stays_and_the_cache_makes_room(store: Store, make: ImageMaker) -> None:
    cached(make, "one", "two")
    result = make.image(b"result" * 20_000)
    store.gc.prune(spared=(result.manifest.descriptor.digest,))
    limit = total(store) - 50_000

    warning = store.keep_within(
        Limits(max_bytes=limit), spared=(result.manifest.descriptor.digest,)
    )

    assert warning == ""
    assert total(store) <= limit
    assert set(result.blobs) <= set(store.blobs.all())
    assert keys(store) == {"two"}


def test_images_over_the_limit_stay_and_are_told(store: Store, make: ImageMaker) -> None:
    image = make.image(b"x" * STEP_BYTES, tag="app:1")
    cached(make, "one")

    warning = store.keep_within(Limits(max_bytes=50_000))

    assert "more than its limit of 50kB" in warning
    assert "remove some" in warning
    assert keys(store) == set()
    assert set(store.blobs.all()) == set(image.blobs)


def test_a_store_grows_by_what_was_not_there(store: Store, make: ImageMaker) -> None:
    grown = [store.has_grown]
    make.image(b"one", tag="app:1")
    grown.append(store.has_grown)
    store.keep_within(Limits())

    make.image(b"one", tag="app:2")
    store.images.delete("app:1")
    grown.append(store.has_grown)

    store.blobs.put(b"new")
    grown.append(store.has_grown)
    assert grown == [False, True, False, True]
