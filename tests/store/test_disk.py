import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagekit.store.disk import DiskMeter, disk_usage


def du(path: Path) -> int:
    """What du(1) says, without what is mounted below."""
    told = subprocess.run(
        ["du", "-sx", "--block-size=1", path], check=True, capture_output=True, text=True
    )
    return int(told.stdout.split()[0])


def test_tree_is_what_du_says(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "file").write_bytes(b"x" * 100_000)
    (tmp_path / "link").symlink_to("deep")
    (tmp_path / "long").symlink_to("/" + "x" * 200)
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "sparse").open("wb") as sparse:
        sparse.truncate(1 << 30)

    assert disk_usage(tmp_path) == du(tmp_path) < 1 << 20


def test_hard_links_count_once(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"x" * 100_000)
    once = disk_usage(tmp_path)

    os.link(tmp_path / "one", tmp_path / "two")

    assert once >= 100_000
    assert disk_usage(tmp_path) == once


def test_parts_of_one_meter_add_up(tmp_path: Path) -> None:
    for name in ("left", "right"):
        (tmp_path / name).mkdir()
    (tmp_path / "left" / "file").write_bytes(b"x" * 100_000)
    os.link(tmp_path / "left" / "file", tmp_path / "right" / "file")
    meter = DiskMeter()

    parts = [meter.own(tmp_path), meter.tree(tmp_path / "left"), meter.tree(tmp_path / "right")]

    assert sum(parts) == du(tmp_path)


def test_what_is_not_there_takes_nothing(tmp_path: Path) -> None:
    assert disk_usage(tmp_path / "nothing") == 0
    assert DiskMeter().own(tmp_path / "nothing") == 0


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "mount"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", mount], check=True)
    yield mount
    subprocess.run(["umount", mount], check=True)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_other_file_systems_are_not_entered(tmp_path: Path, mounted: Path) -> None:
    (mounted / "file").write_bytes(b"x" * 1_000_000)

    assert disk_usage(tmp_path) == du(tmp_path) < 100_000
