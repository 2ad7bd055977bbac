"""Removing trees: nothing else goes, in linear time, with few open directories."""

import os
import resource
from pathlib import Path

import pytest

from imagekit.layers.removal import MAX_DEPTH, remove


def removed(folder: Path, name: str) -> list[str]:
    paths: list[str] = []
    fd = os.open(folder, os.O_RDONLY)
    try:
        remove(fd, name, gone=paths.append)
    finally:
        os.close(fd)
    return sorted(paths)


def make_deep(root: Path, depth: int, name: str = "d") -> None:
    root.mkdir()
    fd = os.open(root, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=fd)
        os.mkdir("e", dir_fd=fd)
        inner = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(os.open("file", os.O_CREAT, 0o600, dir_fd=fd))
    os.close(fd)


def test_every_path_is_told(tmp_path: Path) -> None:
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "a/f").write_text("f")
    (tmp_path / "a/b/l").symlink_to("/")

    assert removed(tmp_path, "a") == ["a", "a/b", "a/b/c", "a/b/l", "a/f"]
    assert os.listdir(tmp_path) == []


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/keep").write_text("keep")
    (tmp_path / "a").mkdir()
    (tmp_path / "a/l").symlink_to(tmp_path / "outside")
    (tmp_path / "l").symlink_to(tmp_path / "outside")

    assert removed(tmp_path, "a") == ["a", "a/l"]
    assert removed(tmp_path, "l") == ["l"]
    assert os.listdir(tmp_path) == ["outside"]
    assert os.listdir(tmp_path / "outside") == ["keep"]


@pytest.mark.parametrize("name", ["d", ".removed-0", ".removed-1"])
def test_deep_trees_need_few_descriptors(name: str, tmp_path: Path) -> None:
    depth = 500
    make_deep(tmp_path / "top", depth, name)
    (tmp_path / "top/.removed-2").mkdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    in_use = max(int(entry) for entry in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + MAX_DEPTH + 20, hard))
    try:
        paths = removed(tmp_path, "top")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert os.listdir(tmp_path) == []
    assert len(paths) == 2 * depth + 3
    assert paths.count("top" + f"/{name}" * depth + "/file") == 1


def test_each_directory_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer with 100,000 directories side by side must not cost their square."""
    (tmp_path / "top").mkdir()
    for number in range(300):
        (tmp_path / f"top/{number}/below").mkdir(parents=True)
    listed: list[object] = []
    scandir = os.scandir

    def counting(fd: int) -> object:
        listed.append(fd)
        return scandir(fd)

    monkeypatch.setattr(os, "scandir", counting)

    removed(tmp_path, "top")

    assert len(listed) == 301
