"""Paths of an image never leave its root."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagekit.layers.errors import LayerContentError, LayerHostError, LayerLimitError
from imagekit.layers.rootdir import RootDir


@pytest.fixture
def house(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0")
    (root / "absolute").symlink_to("/etc")
    (root / "climbing").symlink_to("../../../../../../etc")
    (root / "dangling").symlink_to("/var/new")
    (root / "loop").symlink_to("loop")
    (root / "magic").symlink_to("/proc/self/root/etc")
    (tmp_path / "secret").write_text("secret")
    return root


@pytest.fixture
def root(house: Path) -> Iterator[RootDir]:
    with RootDir(house) as root:
        yield root


@pytest.mark.parametrize(
    "path",
    ["etc/passwd", "/etc/passwd", "//etc//passwd", "../etc/passwd", "/../../etc/passwd",
     "absolute/passwd", "climbing/passwd", "/etc/../absolute/passwd"],
)  # fmt: skip
def test_every_way_leads_to_the_file_inside(path: str, root: RootDir) -> None:
    assert root.read_bytes(path, max_bytes=100) == b"root:x:0:0"
    assert root.real_path(path) == "/etc/passwd"
    assert root.exists(path)
    assert stat.S_ISREG(root.stat(path).st_mode)


@pytest.mark.parametrize(
    "path", ["../secret", "/../secret", "etc/../../secret", "absolute/../../secret"]
)
def test_outside_does_not_exist(path: str, root: RootDir) -> None:
    assert not root.exists(path)
    with pytest.raises(FileNotFoundError):
        root.read_bytes(path, max_bytes=100)


def test_links_as_such(root: RootDir) -> None:
    assert root.readlink("absolute") == "/etc"
    assert stat.S_ISLNK(root.stat("absolute", follow=False).st_mode)
    assert root.exists("dangling", follow=False)
    assert not root.exists("dangling")
    with pytest.raises(OSError, match="Too many levels"):
        root.stat("loop")
    with pytest.raises(OSError, match="Too many levels"):
        root.real_path("loop")


def test_magic_links_of_proc_lead_nowhere(house: Path) -> None:
    with RootDir(Path("/")) as root, pytest.raises(OSError, match="Too many levels"):
        root.stat(f"/proc/self/fd/{root.fileno()}/etc")


def test_directories_are_made_through_links(root: RootDir, house: Path) -> None:
    old = os.umask(0o077)
    try:
        made = root.make_directories("/dangling/deep/er", mode=0o751)
    finally:
        os.umask(old)

    assert made == ("/var", "/var/new", "/var/new/deep", "/var/new/deep/er")
    assert stat.S_IMODE((house / "var/new/deep").stat().st_mode) == 0o751
    assert root.make_directories("/dangling/deep/er") == ()
    assert root.real_path("/dangling/deep/x/../y") == "/var/new/deep/y"
    assert sorted(os.listdir(house.parent)) == ["root", "secret"]


def test_making_the_root_or_what_exists_changes_nothing(root: RootDir) -> None:
    for path in ("", "/", ".", "..", "/etc", "climbing/../etc/"):
        assert root.make_directories(path) == ()


def test_a_file_in_the_way(root: RootDir) -> None:
    with pytest.raises(NotADirectoryError):
        root.make_directories("/etc/passwd/x")
    with pytest.raises(NotADirectoryError):
        root.make_directories("/etc/passwd")


def test_fifos_are_not_waited_for(root: RootDir, house: Path) -> None:
    os.mkfifo(house / "etc/group")

    with pytest.raises(LayerContentError):
        root.read_bytes("/etc/group", max_bytes=100)


def test_files_longer_than_allowed(root: RootDir) -> None:
    with pytest.raises(LayerLimitError):
        root.read_bytes("/etc/passwd", max_bytes=9)
    assert root.read_bytes("/etc/passwd", max_bytes=10) == b"root:x:0:0"


def test_writing_replaces_a_link_and_does_not_follow_it(root: RootDir, house: Path) -> None:
    (house / "etc/resolv.conf").symlink_to(house.parent / "secret")

    root.write_file("/absolute/resolv.conf", b"nameserver", mode=0o640)

    assert (house / "etc/resolv.conf").read_bytes() == b"nameserver"
    assert (house.parent / "secret").read_text() == "secret"


def test_removing_a_link_leaves_its_target(root: RootDir, house: Path) -> None:
    root.remove("absolute")
    assert (house / "etc/passwd").exists()

    root.remove("/etc")
    assert root.names("/") == ("climbing", "dangling", "loop", "magic")


@pytest.mark.parametrize("path", ["", "/", "..", "a/.."])
def test_the_root_itself_is_not_removed(path: str, root: RootDir) -> None:
    with pytest.raises(ValueError, match="does not name"):
        root.remove(path)


def test_a_missing_root(tmp_path: Path) -> None:
    with pytest.raises(LayerHostError):
        RootDir(tmp_path / "missing")
