"""ADD: merging an archive into a root file system."""

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from imagekit.layers.apply import extract_archive
from imagekit.layers.archive import is_archive
from imagekit.layers.errors import LayerContentError, LayerFormatError, UnsafeLayerError

Archive = Callable[..., bytes]

pytestmark = pytest.mark.root

DIRECTORY = {"type": tarfile.DIRTYPE}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "srv/app").mkdir(parents=True)
    (root / "srv/app/old").write_text("old")
    return root


def link(target: str) -> dict[str, object]:
    return {"type": tarfile.SYMTYPE, "linkname": target}


@pytest.mark.parametrize(
    "pack",
    [bytes, gzip.compress, bz2.compress, lzma.compress, zstandard.ZstdCompressor().compress],
    ids=["none", "gzip", "bzip2", "xz", "zstd"],
)
def test_every_compression(pack: Callable[[bytes], bytes], root: Path, archive: Archive) -> None:
    data = pack(archive(("dir/new", b"new", {"uid": 7, "gid": 8, "mode": 0o4711, "mtime": 99})))

    assert is_archive(io.BytesIO(data))
    result = extract_archive(io.BytesIO(data), root, "/srv/app")

    status = (root / "srv/app/dir/new").stat()
    assert (root / "srv/app/dir/new").read_text() == "new"
    assert (status.st_uid, status.st_gid, status.st_mtime) == (7, 8, 99)
    assert stat.S_IMODE(status.st_mode) == 0o4711
    assert result.entries == 1


@pytest.mark.parametrize(
    "data",
    [b"", b"text", b"PK\3\4" + bytes(600), bytes(2048), gzip.compress(b"text" * 500, mtime=0),
     b"\x1f\x8b broken", b"x" * 512],
)  # fmt: skip
def test_other_files_are_no_archives(data: bytes) -> None:
    assert not is_archive(io.BytesIO(data))


def test_missing_destination_is_made(root: Path, archive: Archive) -> None:
    extract_archive(io.BytesIO(archive(("x", b"x", {}))), root, "/opt/a/b/", owner=(5, 6))

    for path in ("opt", "opt/a", "opt/a/b", "opt/a/b/x"):
        status = (root / path).stat()
        assert (status.st_uid, status.st_gid) == (5, 6)
    assert stat.S_IMODE((root / "opt/a").stat().st_mode) == 0o755


def test_existing_directories_merge_and_take_the_entrys_metadata(
    root: Path, archive: Archive
) -> None:
    data = archive(("app", b"", DIRECTORY | {"mode": 0o700, "uid": 3}), ("app/new", b"", {}))

    extract_archive(io.BytesIO(data), root, "/srv")

    assert sorted(os.listdir(root / "srv/app")) == ["new", "old"]
    assert stat.S_IMODE((root / "srv/app").stat().st_mode) == 0o700
    assert (root / "srv/app").stat().st_uid == 3


def test_the_root_entry_changes_nothing(root: Path, archive: Archive) -> None:
    (root / "srv").chmod(0o750)

    extract_archive(io.BytesIO(archive(("./", b"", DIRECTORY | {"mode": 0o777}))), root, "/srv")

    assert stat.S_IMODE((root / "srv").stat().st_mode) == 0o750


def test_conflicts_are_replaced(root: Path, archive: Archive) -> None:
    (root / "srv/file").write_text("file")
    (root / "srv/link").symlink_to("app")
    data = archive(("app", b"a file now", {}), ("file", b"", DIRECTORY), ("link", b"", DIRECTORY))

    extract_archive(io.BytesIO(data), root, "/srv")

    assert (root / "srv/app").read_bytes() == b"a file now"
    assert (root / "srv/file").is_dir()
    assert not (root / "srv/link").is_symlink()


@pytest.mark.parametrize("target", ["/srv/app", "../srv/app", "../../../../srv/app"])
def test_links_in_the_destination_are_followed_inside(
    target: str, root: Path, archive: Archive
) -> None:
    (root / "door").symlink_to(target)

    extract_archive(io.BytesIO(archive(("x", b"x", {}))), root, "/door")

    assert (root / "srv/app/x").read_bytes() == b"x"
    assert (root / "door").is_symlink()


def test_a_link_to_nothing_as_destination_is_followed_and_made(
    root: Path, archive: Archive
) -> None:
    (root / "door").symlink_to("/new/place")

    extract_archive(io.BytesIO(archive(("x", b"x", {}))), root, "/door")

    assert (root / "new/place/x").read_bytes() == b"x"


def test_hard_links_are_relative_to_the_destination(root: Path, archive: Archive) -> None:
    data = archive(("x", b"x", {}), ("y", b"", {"type": tarfile.LNKTYPE, "linkname": "x"}))

    extract_archive(io.BytesIO(data), root, "/srv")

    assert (root / "srv/y").stat().st_ino == (root / "srv/x").stat().st_ino


def test_whiteout_names_are_only_names(root: Path, archive: Archive) -> None:
    extract_archive(io.BytesIO(archive(("app/.wh.old", b"", {}))), root, "/srv")

    assert sorted(os.listdir(root / "srv/app")) == [".wh.old", "old"]


def test_destination_through_a_file(root: Path, archive: Archive) -> None:
    with pytest.raises(LayerContentError):
        extract_archive(io.BytesIO(archive(("x", b"x", {}))), root, "/srv/app/old/sub")


def test_escape_from_the_destination(root: Path, archive: Archive) -> None:
    with pytest.raises(UnsafeLayerError):
        extract_archive(io.BytesIO(archive(("../x", b"x", {}))), root, "/srv/app")


def test_corruption_after_the_first_header(root: Path, archive: Archive) -> None:
    data = archive(("x", b"x" * 3000, {}), ("y", b"y", {}))
    broken = data[:1500]

    assert is_archive(io.BytesIO(broken))
    with pytest.raises(LayerFormatError):
        extract_archive(io.BytesIO(broken), root, "/srv")
