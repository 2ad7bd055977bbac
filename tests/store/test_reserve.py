"""A disk without a byte left can still be tidied."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagekit.oci.image_config import next_chain_id
from imagekit.store.cache_records import CacheRecord
from imagekit.store.errors import StorageFullError, StoreUnavailableError
from imagekit.store.layout import Store
from imagekit.store.reserve import PLENTY_BYTES, RESERVE_BYTES, Reserve
from tests.store.conftest import ImageMaker

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs needs root"),
]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with a bit more than plenty of space."""
    mount = tmp_path / "disk"
    mount.mkdir()
    size = f"size={PLENTY_BYTES + (16 << 20)}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", mount], check=True)
    yield mount
    subprocess.run(["umount", mount], check=True)


def fill(directory: Path) -> Path:
    ballast = directory / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    status = os.statvfs(directory)
    assert status.f_bavail == 0
    return ballast


def cached_steps(store: Store, number: int) -> None:
    make = ImageMaker(store)
    parent = None
    with store.leases.hold("test") as lease:
        for step in range(number):
            digest = store.blobs.put(b"%d" % step)
            chain_id = digest if parent is None else next_chain_id(parent, digest)
            make.snapshot(lease, chain_id, parent, digest)
            parent = chain_id
            store.cache.put(
                CacheRecord(
                    key=str(step),
                    operation=f"operation {step}",
                    step="s",
                    inputs={"padding": "x" * 4000},
                    chain_id=chain_id,
                )
            )


def test_a_full_disk_is_tidied(disk: Path) -> None:
    with Store.open(disk / "store") as store:
        ImageMaker(store).image(b"x" * (1 << 20), tag="app:1")
        cached_steps(store, 20)
        store.settle()
    ballast = fill(disk)
    with pytest.raises(StoreUnavailableError), Store.open(disk / "store"):
        pass

    with Store.open(disk / "store", spend_reserve=True) as store:
        assert len(store.gc.usage().images) == 1
        report = store.gc.prune(everything=True, images=True)

        assert len(report.cache_records) == 20
        assert report.freed_bytes > 1 << 20
        assert list(store.blobs.all()) == []
    assert store.paths.reserve.stat().st_blocks * 512 == RESERVE_BYTES
    with Store.open(disk / "store") as store:  # without a reserve again
        ImageMaker(store).image(b"next", tag="app:2")
        assert store.gc.verify() == []
    assert ballast.exists()


def test_more_rows_than_the_log_has_room_for(disk: Path) -> None:
    """Their pages are more than the reserve, so that they go in several transactions."""
    with Store.open(disk / "store") as store:
        store.settle()
        cached_steps(store, 1500)
        assert store.paths.database.stat().st_size > RESERVE_BYTES
    fill(disk)

    with Store.open(disk / "store", spend_reserve=True) as store:
        report = store.gc.prune(everything=True)

        assert len(report.cache_records) == len(report.snapshots) == 1500
        assert store.snapshots.all() == []
        assert os.listdir(store.paths.snapshots) == []
        assert store.gc.verify() == []


def test_reading_leaves_the_reserve_to_the_next(disk: Path) -> None:
    with Store.open(disk / "store") as store:
        store.settle()
    fill(disk)

    for _ in range(2):
        with Store.open(disk / "store", spend_reserve=True) as store:
            assert store.images.all() == []
            assert not store.paths.reserve.exists()
        assert store.paths.reserve.stat().st_blocks * 512 == RESERVE_BYTES


def test_what_fills_the_disk_leaves_the_reserve(disk: Path) -> None:
    with Store.open(disk / "store") as store:
        store.settle()
        fill(disk)

        with pytest.raises(StorageFullError):
            store.blobs.put(b"x" * 100_000)

        assert store.paths.reserve.exists()


def test_a_small_disk_keeps_its_space(disk: Path) -> None:
    with (disk / "ballast").open("wb") as ballast:
        os.posix_fallocate(ballast.fileno(), 0, 32 << 20)
    reserve = Reserve(disk / "reserve")

    reserve.make()

    assert not (disk / "reserve").exists()
    assert not reserve.spend()


def test_no_part_of_a_reserve_is_left(disk: Path) -> None:
    reserve = Reserve(disk / "reserve")
    reserve.make()
    assert reserve.spend()
    ballast = fill(disk)

    reserve.restore()
    assert not (disk / "reserve").exists()
    ballast.unlink()
    reserve.restore()

    assert (disk / "reserve").stat().st_size == RESERVE_BYTES
