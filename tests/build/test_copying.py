"""Copying into a hostile root file system: what is outside of it stays as it is."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagekit.base.fds import OwnedFd
from imagekit.build.copying import Copier, resolve_owner
from imagekit.build.errors import BuildError, CopyConflictError
from imagekit.build.operations import CopyOperation
from imagekit.build.rootfs import make_directories, overlay_root, root_directory
from imagekit.build.sources import Tree
from imagekit.layers.rootdir import RootDir

pytestmark = pytest.mark.root


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Tree]:
    place = tmp_path / "source"
    (place / "d/etc").mkdir(parents=True)
    (place / "f").write_text("evil")
    (place / "d/etc/passwd").write_text("evil")
    made = Tree(
        fd=OwnedFd(os.open(place, os.O_RDONLY | os.O_DIRECTORY)),
        what="source",
        keeps_owners=False,
    )
    yield made
    made.close()


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "outside"
    path.mkdir()
    (path / "passwd").write_text("precious")
    return path


def copy(tree: Tree, root: Path, what: str, destination: str, **options: object) -> None:
    operation = CopyOperation(
        sources=(what,),
        documents=(),
        destination=destination,
        **options,  # type: ignore[arg-type] # checked by use
    )
    with overlay_root((), root, root) as fd:
        copier = Copier.prepare(fd, operation)
        copier.copy(tree, tree.matches(what))
        copier.inside.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.mkdir()
    return path


def untouched(outside: Path) -> bool:
    return os.listdir(outside) == ["passwd"] and (outside / "passwd").read_text() == "precious"


@pytest.mark.parametrize("form", ["absolute", "relative", "proc"])
def test_destination_link_to_the_host(source: Tree, root: Path, outside: Path, form: str) -> None:
    target = {
        "absolute": str(outside),
        "relative": f"../../../../../../../../..{outside}",
        "proc": "/proc/self/root" + str(outside),
    }[form]
    (root / "link").symlink_to(target)

    copy(source, root, "f", "/link/passwd")
    copy(source, root, "f", "/link/new/")
    copy(source, root, "d", "/link")

    assert untouched(outside)
    assert (root / str(outside).lstrip("/")).exists() or form == "proc"


def test_last_part_is_a_link_to_a_file_of_the_host(source: Tree, root: Path, outside: Path) -> None:
    (root / "link").symlink_to(outside / "passwd")

    copy(source, root, "f", "/link")

    assert untouched(outside)


def test_nested_link_is_replaced_not_followed(source: Tree, root: Path, outside: Path) -> None:
    (root / "etc").mkdir()
    (root / "etc/passwd").symlink_to(outside / "passwd")

    copy(source, root, "d", "/")

    assert untouched(outside)
    assert (root / "etc/passwd").read_text() == "evil"


def test_nested_directory_link_is_a_conflict(source: Tree, root: Path, outside: Path) -> None:
    (root / "etc").symlink_to(outside)

    with pytest.raises(CopyConflictError, match="non-directory: /etc"):
        copy(source, root, "d", "/")
    assert untouched(outside)


class TestUsers:
    def owner(self, root: Path, text: str) -> tuple[int, int]:
        with RootDir(root) as inside:
            return resolve_owner(inside, text)

    def test_link_to_the_host_s_passwd_is_not_read(self, root: Path) -> None:
        (root / "etc").mkdir()
        (root / "etc/passwd").symlink_to("../../../../../../../etc/passwd")
        # Inside the image the link leads to itself: a loop, and not the host's file.
        with pytest.raises(BuildError, match="cannot look up users"):
            self.owner(root, "daemon")
        assert self.owner(root, "5:6") == (5, 6)

    @pytest.mark.parametrize("kind", ["fifo", "directory", "device", "huge"])
    def test_strange_passwd_neither_blocks_nor_eats_memory(self, root: Path, kind: str) -> None:
        (root / "etc").mkdir()
        path = root / "etc/passwd"
        match kind:
            case "fifo":
                os.mkfifo(path)
            case "directory":
                path.mkdir()
            case "device":
                os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))
            case _:
                with path.open("wb") as file:
                    file.truncate(1 << 40)

        with pytest.raises(BuildError, match="cannot look up users"):
            self.owner(root, "app")

    @pytest.mark.parametrize("text", ["99999999999", "1:99999999999", "4294967295"])
    def test_number_that_is_no_id(self, root: Path, text: str) -> None:
        with pytest.raises(BuildError, match="an id is not between"):
            self.owner(root, text)

    def test_no_passwd_is_root(self, root: Path) -> None:
        assert self.owner(root, "app:wheel") == (0, 0)
        (root / "etc").write_text("a file")
        assert self.owner(root, "app:wheel") == (0, 0)


class TestDirectories:
    def test_made_ones_have_mode_and_owner_and_others_keep_theirs(self, root: Path) -> None:
        (root / "old").mkdir(mode=0o700)
        with RootDir(root) as inside:
            make_directories(inside, "/old/new/deep", mode=0o750, owner=(3, 4)).close()

        assert stat.S_IMODE((root / "old").stat().st_mode) == 0o700
        status = (root / "old/new").stat()
        assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o750, 3, 4)

    def test_loop(self, root: Path) -> None:
        (root / "loop").symlink_to("loop")
        with RootDir(root) as inside, pytest.raises(CopyConflictError, match="cannot resolve"):
            make_directories(inside, "/loop/x")

    def test_overlay_keeps_lower_layers_as_they_are(self, tmp_path: Path) -> None:
        lower, upper, work = (tmp_path / name for name in ("lower", "upper", "work"))
        for path in (lower, upper, work):
            path.mkdir()
        (lower / "f").write_text("old")
        with overlay_root([lower], upper, work) as fd, root_directory(fd) as inside:
            inside.write_file("/f", b"new")

        assert (lower / "f").read_text() == "old"
        assert (upper / "f").read_text() == "new"
