import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from imagekit.store.owner import Owner
from imagekit.store.removal import Trash, remove_tree


def deep_tree(top: Path, depth: int) -> None:
    """Nest directories far beyond PATH_MAX, as a hostile layer may."""
    top.mkdir()
    fd = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("directory-with-a-long-name", dir_fd=fd)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        below = os.open("directory-with-a-long-name", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)


def test_depth_beyond_stack_and_path_max_is_removed(tmp_path: Path) -> None:
    deep_tree(tmp_path / "deep", 1200)

    remove_tree(tmp_path / "deep")

    assert os.listdir(tmp_path) == []


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("kept")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "directory").symlink_to(outside)
    (inside / "file").symlink_to(outside / "precious")

    remove_tree(inside)

    assert (outside / "precious").read_text() == "kept"
    assert not inside.exists()


def test_root_that_is_a_link_is_removed_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "outside")

    remove_tree(tmp_path / "link")

    assert os.listdir(tmp_path) == ["outside"]


def test_names_of_any_bytes_and_modes_are_removed(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    os.mkdir(os.fsencode(top) + b"/\xff\xfe\n")
    os.mkfifo(top / "fifo")
    (top / "closed" / "below").mkdir(parents=True)
    (top / "closed").chmod(0)

    remove_tree(top)

    assert os.listdir(tmp_path) == []


@pytest.mark.root
def test_closed_directories_are_removed_without_privilege() -> None:
    top = Path(tempfile.mkdtemp(dir="/var/tmp"))
    os.chown(top, 65534, 65534)

    def build_and_remove() -> None:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        for mode in (0o000, 0o400, 0o500, 0o200):
            directory = top / "tree" / oct(mode)
            (directory / "below").mkdir(parents=True)
            (directory / "file").touch()
            directory.chmod(mode)
        remove_tree(top / "tree")

    child = multiprocessing.get_context("fork").Process(target=build_and_remove, daemon=True)
    child.start()
    child.join(60)

    assert child.exitcode == 0
    assert os.listdir(top) == []
    top.rmdir()


def test_absent_is_no_error(tmp_path: Path) -> None:
    remove_tree(tmp_path / "absent")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_mounts_are_not_entered(tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "mounted").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", top / "mounted"], check=True)
    try:
        (top / "mounted" / "precious").write_text("kept")

        with pytest.raises(Exception, match="mounted"):
            remove_tree(top)

        assert (top / "mounted" / "precious").read_text() == "kept"
    finally:
        subprocess.run(["umount", top / "mounted"], check=True)


def ended_owner() -> Owner:
    """Return a process that has ended."""
    code = "from imagekit.store.owner import Owner; print(Owner.current())"
    output = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, cwd=Path.cwd()
    ).stdout
    owner = Owner.parse(output.decode().strip())
    assert owner is not None
    return owner


def test_sweep_takes_what_ended_processes_left(tmp_path: Path) -> None:
    me, ended = Owner.current(), ended_owner()
    (tmp_path / f"{me}.mine").write_text("")
    (tmp_path / f"{ended}.theirs").mkdir()
    (tmp_path / "nobody").write_text("")

    assert Trash(tmp_path, me).sweep() == 2

    assert os.listdir(tmp_path) == [f"{me}.mine"]


def test_take_answers_none_for_what_is_gone(tmp_path: Path) -> None:
    assert Trash(tmp_path, Owner.current()).take(tmp_path / "gone") is None
