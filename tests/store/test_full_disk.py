"""A disk that fills up: an error that says so, and a store that is as it was."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagekit.base.errors import HostError
from imagekit.store.cache_records import CacheRecord
from imagekit.store.errors import StorageFullError
from imagekit.store.layout import Store
from tests.store.conftest import ImageMaker

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs needs root"),
]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    mount = tmp_path / "small"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", mount], check=True)
    yield mount
    subprocess.run(["umount", mount], check=True)


def fill(directory: Path, *, leave: int = 0) -> Path:
    """Take all space but ``leave`` bytes."""
    ballast = directory / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
        file.truncate(max(0, file.tell() - leave))
    return ballast


def test_blob_that_does_not_fit(small: Path) -> None:
    with Store.open(small / "store") as store:
        image = ImageMaker(store).image(b"fits", tag="app:1")

        with pytest.raises(StorageFullError) as caught:
            store.blobs.put(os.urandom(8 << 20))

        assert isinstance(caught.value, HostError)
        assert caught.value.hint is not None
        assert os.listdir(store.paths.temporary) == []
        assert set(store.blobs.all()) == set(image.blobs)
        assert store.gc.verify() == []
        store.blobs.put(b"there is room again" * 10_000)


@pytest.mark.parametrize("leave", [0, 4096, 16384, 65536])
def test_every_write_on_a_full_disk_fails_cleanly_or_works(small: Path, leave: int) -> None:
    with Store.open(small / "store") as store:
        make = ImageMaker(store)
        image = make.image(b"fits", tag="app:1")
        ballast = fill(small, leave=leave)
        hints = []

        for number in range(200):
            try:
                store.cache.put(
                    CacheRecord(
                        key=str(number),
                        operation="op",
                        step="s",
                        inputs={"padding": "x" * 2000},
                        chain_id=image.chains[-1],
                    )
                )
                make.image(b"%d" % number * 1000, tag=f"app:{number}")
            except HostError as error:
                hints.append(error.hint)

        assert hints
        assert all(hints)
        ballast.unlink()
        assert store.gc.verify() == []
        assert store.images.get("app:1") is not None
        make.image(b"works again", tag="app:again")
    with Store.open(small / "store") as store:
        assert store.gc.verify() == []
        store.gc.prune()


def test_opening_on_a_full_disk(small: Path) -> None:
    ballast = fill(small)

    with pytest.raises(HostError) as caught:
        Store.open(small / "store")

    assert caught.value.hint is not None
    ballast.unlink()
    with Store.open(small / "store") as store:
        assert store.gc.verify() == []


def test_lease_that_cannot_be_ended_fails_nothing_and_is_ended_later(small: Path) -> None:
    with Store.open(small / "store") as store:
        with store.leases.hold("work"):
            store.blobs.put(b"done")
            ballast = fill(small)
        assert store._database.rows("SELECT reason FROM leases") == [("work",)]
        ballast.unlink()

        with store.leases.hold("later"):
            pass

        assert store._database.rows("SELECT reason FROM leases") == []


def test_clean_up_on_a_full_disk_does_not_hide_what_failed(small: Path) -> None:
    with Store.open(small / "store") as store:

        def work() -> None:
            with store.leases.hold("work") as lease:
                prepared = store.snapshots.prepare(lease)
                (prepared.fs / "empty").touch()
                fill(small)
                store.snapshots.discard(prepared)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError) as caught:
            work()

        assert any("while cleaning up" in note for note in caught.value.__notes__)
        assert os.listdir(store.paths.snapshots) == os.listdir(store.paths.temporary) == []


def test_reading_goes_on_when_there_is_no_room_to_tidy(small: Path) -> None:
    with Store.open(small / "store") as store:
        ImageMaker(store).image(b"fits", tag="app:1")
        with store._database.write() as transaction:
            transaction.run("INSERT INTO leases VALUES ('x', 'nobody', 'killed', 0)")
            transaction.run("INSERT OR REPLACE INTO meta VALUES ('index', 'stale')")
        ballast = fill(small)

        with Store.open(small / "store") as other:
            assert [tag.name for tag in other.images.all()] == ["app:1"]
            assert other.leases.dead() == ["x"]
        ballast.unlink()

        with Store.open(small / "store") as other:
            assert other.leases.dead() == []
