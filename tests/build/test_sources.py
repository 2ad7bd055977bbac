"""Which files a source stands for; nothing outside the tree is ever seen."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagekit.base.fds import OwnedFd
from imagekit.build.context import open_directory
from imagekit.build.errors import BuildError, SourceNotFoundError
from imagekit.build.sources import Tree
from imagekit.dockerfile.ignore import IgnoreMatcher


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / "inside"
    for name in ("a/b/f", "a/g", "h.txt", ".hidden"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(name)
    (tmp_path / "outside").write_text("secret")
    return path


@pytest.fixture
def tree(place: Path) -> Iterator[Tree]:
    fd = OwnedFd(os.open(place, os.O_RDONLY | os.O_DIRECTORY))
    made = Tree(fd=fd, what="tree", keeps_owners=False)
    yield made
    made.close()


def below(tree: Tree, source: str, **options: IgnoreMatcher) -> list[str]:
    return [item.below for match in tree.matches(source, **options) for item in match.items]


def test_walk_is_sorted_and_deep(tree: Tree) -> None:
    assert below(tree, ".") == [".hidden", "a", "a/b", "a/b/f", "a/g", "h.txt"]


@pytest.mark.parametrize("source", ["../outside", "/../outside", "a/../../outside", "a/../../../x"])
def test_dots_cannot_leave(tree: Tree, source: str) -> None:
    with pytest.raises(SourceNotFoundError):
        tree.matches(source)


@pytest.mark.parametrize("target", ["../outside", "/outside", "/etc/passwd", "/proc/self/root/etc"])
def test_links_cannot_leave(tree: Tree, place: Path, target: str) -> None:
    (place / "link").symlink_to(target)

    with pytest.raises(SourceNotFoundError):
        tree.matches("link")
    with pytest.raises(SourceNotFoundError):
        tree.matches("link/x")
    assert tree.matches("lin*") == ()


def test_directory_swapped_for_a_link_is_not_entered(tree: Tree, place: Path) -> None:
    (match,) = tree.matches("a")
    item = next(item for item in match.items if item.below == "b/f")
    (place / "a/b/f").unlink()
    (place / "a/b/f").symlink_to("../../../outside")

    with pytest.raises(OSError, match="Too many levels"):
        tree.open_file(item)


def test_fifo_does_not_block(tree: Tree, place: Path) -> None:
    os.mkfifo(place / "fifo")

    (match,) = tree.matches("fifo")
    assert tree.fingerprint(match.top).startswith("10000 ")


def test_fingerprint_ignores_times_and_host_owners(tree: Tree, place: Path) -> None:
    before = tree.fingerprint(tree.matches("h.txt")[0].top)
    os.utime(place / "h.txt", (1, 1))
    assert tree.fingerprint(tree.matches("h.txt")[0].top) == before
    (place / "h.txt").chmod(0o4755)
    assert tree.fingerprint(tree.matches("h.txt")[0].top) != before


def test_fingerprint_tells_kinds_apart(tree: Tree, place: Path) -> None:
    (place / "l1").symlink_to("a")
    (place / "l2").symlink_to("h.txt")
    (match,) = tree.matches(".")
    prints = [tree.fingerprint(item) for item in match.items if item.below in ("l1", "l2", "a")]
    assert len(set(prints)) == 3


def test_include_and_exclude(tree: Tree) -> None:
    assert below(tree, ".", exclude=IgnoreMatcher.of(["a", "!a/b", "*.txt"])) == [
        ".hidden",
        "a",
        "a/b",
        "a/b/f",
    ]
    (match,) = tree.matches_with_parents("a/b/f")
    assert [item.below for item in match.items] == ["a", "a/b", "a/b/f"]
    (match,) = tree.matches_with_parents("**/*.txt")
    assert [item.below for item in match.items] == ["h.txt"]


def test_deep_tree(tree: Tree, place: Path) -> None:
    path = place / "deep"
    for _ in range(400):
        path = path / "d"
    path.mkdir(parents=True)

    assert len(below(tree, "deep")) == 400


def test_open_directory_says_what_is_wrong(place: Path) -> None:
    with pytest.raises(BuildError, match=r"build context .* does not exist"):
        open_directory(place / "none", "build context")
    with pytest.raises(BuildError, match="Not a directory"):
        open_directory(place / "h.txt", "build context")
