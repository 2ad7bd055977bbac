"""A plain tree against an earlier scan of itself: apply(changes) over the old tree is the new."""

import io
import os
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.layers.apply import WhiteoutForm, apply_layer
from imagekit.layers.changes import changes_since
from imagekit.layers.diff import overlay_changes, tree_entries
from imagekit.layers.entry import Entry, EntryType
from imagekit.layers.errors import LayerContentError
from imagekit.layers.scan import TreeState, scan
from imagekit.layers.write import write_layer
from tests.layers.mutations import OPERATIONS, Operation, overlay, overwrite, perform

pytestmark = pytest.mark.root

OPAQUE = ".wh..wh..opq"

Snapshot = Callable[[Path], dict[str, tuple[object, ...]]]


@pytest.fixture(scope="session")
def ramfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system whose times are those of the last tick, as on all of them before Linux 6.13."""
    path = tmp_path_factory.mktemp("ramfs")
    subprocess.run(["mount", "-t", "ramfs", "ramfs", path], check=True)
    yield path
    subprocess.run(["umount", path], check=True)


def layer_of(entries: Iterator[Entry]) -> io.BytesIO:
    output = io.BytesIO()
    write_layer(entries, output, nanoseconds=True)
    output.seek(0)
    return output


def said(root: Path, before: TreeState) -> list[str]:
    return [entry.path for entry in changes_since(root, before)]


def copy_of(tree: Path, copy: Path) -> Path:
    subprocess.run(["cp", "-a", tree, copy], check=True)
    return copy


def check_changes(tree: Path, work: Path, steps: list[list[Operation]], snapshot: Snapshot) -> None:
    """Mutate a tree step by step; each layer must make the old tree the new one."""
    perform(tree, steps[0])
    plain = copy_of(tree, work / "plain")
    lowers = [copy_of(tree, work / "lower")]
    state = scan(tree)
    for number, operations in enumerate(steps[1:]):
        perform(tree, operations)
        after = scan(tree)
        before = TreeState.from_bytes(state.to_bytes())
        data = layer_of(changes_since(tree, before, after))
        expected = snapshot(tree)

        apply_layer(data, plain, form=WhiteoutForm.PLAIN)
        assert snapshot(plain) == expected

        layer = work / f"layer{number}"
        layer.mkdir()
        data.seek(0)
        apply_layer(data, layer, lowerdirs=lowers, form=WhiteoutForm.OVERLAY_TRUSTED)
        with overlay(work, [layer, *lowers], work / f"probe{number}") as merged:
            assert snapshot(merged) == expected
        lowers.insert(0, layer)
        state = after


STEPS = st.lists(OPERATIONS, min_size=2, max_size=3)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_applying_the_changes_gives_the_changed_tree(
    steps: list[list[Operation]], snapshot: Snapshot
) -> None:
    with tempfile.TemporaryDirectory() as work:
        tree = Path(work, "tree")
        tree.mkdir()
        check_changes(tree, Path(work), steps, snapshot)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_the_same_where_changes_share_a_tick(
    steps: list[list[Operation]], snapshot: Snapshot, ramfs: Path
) -> None:
    with tempfile.TemporaryDirectory() as work, tempfile.TemporaryDirectory(dir=ramfs) as tree:
        Path(tree).chmod(0o755)
        check_changes(Path(tree), Path(work), steps, snapshot)


def facts(entries: Iterator[Entry], since: float) -> dict[str, tuple[object, ...]]:
    """Return all about entries by path, except for times since ``since``."""
    found: dict[str, tuple[object, ...]] = {}
    for entry in entries:
        mtime = 0 if entry.mtime_ns > since * 1e9 else entry.mtime_ns
        content = b"".join(entry.content.chunks(entry.size)) if entry.content else b""
        found[entry.path] = (
            entry.type, entry.mode, entry.uid, entry.gid, mtime, entry.link, entry.device,
            entry.xattrs, content,
        )  # fmt: skip
    return found


@settings(max_examples=80, deadline=None)
@given(base=OPERATIONS, changes=OPERATIONS)
def test_an_overlay_mount_tells_the_same_changes(
    base: list[Operation], changes: list[Operation]
) -> None:
    """Up to what the docstring of changes_since names: equal rewrites, and opaque directories."""
    started = time.time() - 60
    # What overlayfs does otherwise: it breaks hard links of lower files, and renames no directory.
    base = [operation for operation in base if operation[0] != "link"]
    changes = [operation for operation in changes if operation[0] != "rename"]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        lower = work / "lower"
        lower.mkdir()
        perform(lower, base)
        tree = copy_of(lower, work / "tree")
        before = scan(tree)
        perform(tree, changes)
        with overlay(work, [lower], work / "upper") as merged:
            perform(merged, changes)

        ours = facts(changes_since(tree, before), started)
        theirs = facts(overlay_changes(work / "upper", [lower]), started)
        old = facts(tree_entries(lower), started)

    opaque = tuple(path.removesuffix(OPAQUE) for path in theirs if path.endswith(OPAQUE))
    for path in ours.keys() - theirs.keys():
        is_deletion_by_name = "/.wh." in path and path.startswith(opaque)
        assert ours[path] == old.get(path) or is_deletion_by_name
    for path in theirs.keys() - ours.keys():
        assert path.endswith(OPAQUE) or theirs[path] == old.get(path)
    for path in ours.keys() & theirs.keys():
        assert ours[path] == theirs[path]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "etc/deep").mkdir(parents=True)
    (root / "etc/passwd").write_text("root")
    (root / "etc/deep/file").write_text("text")
    (root / "usr").mkdir()
    (root / "usr/tool").write_text("tool")
    (root / "link").symlink_to("usr")
    return root


def test_nothing_is_said_of_an_unchanged_tree(tree: Path) -> None:
    before = scan(tree)

    os.close(os.open(tree / "etc/passwd", os.O_WRONLY))
    os.close(os.open(tree / "etc/deep", os.O_RDONLY))

    assert said(tree, before) == []


def test_only_the_parents_of_changes_are_named(tree: Path) -> None:
    before = scan(tree)

    (tree / "etc/deep/file").write_text("other")

    assert said(tree, before) == ["etc", "etc/deep", "etc/deep/file"]


def test_deletions_and_kinds_that_replace_others_come_in_byte_order(tree: Path) -> None:
    before = scan(tree)

    shutil.rmtree(tree / "etc")
    (tree / "etc").write_text("a file now")
    (tree / "usr/tool").unlink()
    (tree / "usr/tool").mkdir()
    (tree / "usr/tool/inside").touch()
    (tree / "link").unlink()
    (tree / "a").mkdir()
    (tree / "ä").mkdir()

    entries = list(changes_since(tree, before))
    assert [(entry.path, entry.type.name) for entry in entries] == [
        ("a", "DIRECTORY"), ("etc", "REGULAR"), (".wh.link", "REGULAR"), ("usr", "DIRECTORY"),
        ("usr/tool", "DIRECTORY"), ("usr/tool/inside", "REGULAR"), ("ä", "DIRECTORY"),
    ]  # fmt: skip


def test_a_second_name_brings_the_first_with_it(tree: Path) -> None:
    """A program that unpacks the layer by itself has nothing else to link to."""
    before = scan(tree)

    os.link(tree / "usr/tool", tree / "usr/alias")

    entries = {entry.path: entry for entry in changes_since(tree, before)}
    assert list(entries) == ["usr", "usr/alias", "usr/tool"]
    assert entries["usr/alias"].type is EntryType.REGULAR
    assert (entries["usr/tool"].type, entries["usr/tool"].link) == (
        EntryType.HARDLINK, "usr/alias",
    )  # fmt: skip


def test_a_file_rewritten_with_the_same_content_is_said(tree: Path) -> None:
    before = scan(tree)

    (tree / "usr/tool").write_text("tool")

    assert said(tree, before) == ["usr", "usr/tool"]


def test_excluded_paths_and_other_file_systems_are_left_alone(tree: Path) -> None:
    for name in ("proc", "dev", "data"):
        (tree / name).mkdir()
    (tree / "data/old").touch()
    (tree / "etc/resolv.conf").write_text("old")
    before = scan(tree, exclude=["proc", "/dev/", "etc/resolv.conf"])

    (tree / "proc/1").mkdir()
    (tree / "dev").rmdir()
    (tree / "etc/resolv.conf").write_text("new")
    (tree / "fresh").mkdir()
    mounts = [tree / "data", tree / "fresh"]
    for mount in mounts:
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", mount], check=True)
        (mount / "file").touch()
    try:
        assert said(tree, before) == []
    finally:
        for mount in mounts:
            subprocess.run(["umount", mount], check=True)

    assert said(tree, before) == ["fresh"]


def test_scans_of_different_parts_are_not_compared(tree: Path) -> None:
    with pytest.raises(ValueError, match="same part"):
        list(changes_since(tree, scan(tree, exclude=["etc"]), scan(tree)))


def test_a_change_in_the_tick_of_the_scan_is_seen(ramfs: Path) -> None:
    path = ramfs / "file"
    path.write_bytes(b"one")
    same_tick = 0
    for _ in range(2000):
        overwrite(path)
        before = scan(ramfs)
        earlier = path.stat()
        overwrite(path)
        now = path.stat()
        assert said(ramfs, before) == ["file"]
        same_tick += earlier.st_ctime_ns == now.st_ctime_ns
        if same_tick == 5:
            break
    path.unlink()

    assert same_tick == 5


@pytest.mark.parametrize("target", ["c", "new/b"])
def test_a_name_moved_in_the_tick_of_the_scan_stays_a_hard_link(ramfs: Path, target: str) -> None:
    with tempfile.TemporaryDirectory(dir=ramfs) as folder:
        root = Path(folder)
        (root / "a").write_bytes(b"content")
        os.link(root / "a", root / "b")
        before = scan(root)
        (root / target).parent.mkdir(exist_ok=True)
        (root / "b").rename(root / target)

        names = {entry.path: entry.type for entry in changes_since(root, before)}

    assert names["a"] is EntryType.REGULAR
    assert names[target] is EntryType.HARDLINK
    assert ".wh.b" in names


def test_sockets_are_left_out_and_delete_what_they_replace(tree: Path) -> None:
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(os.fspath(tree / "usr/old"))
    before = scan(tree)

    (tree / "usr/old").unlink()
    (tree / "usr/tool").unlink()
    for name in ("tool", "new"):
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind(os.fspath(tree / "usr" / name))

    assert said(tree, before) == ["usr", "usr/.wh.tool"]


def test_what_a_layer_cannot_hold_is_an_error_only_when_it_is_new(tree: Path) -> None:
    (tree / "usr/.wh.old").touch()
    os.mknod(tree / "usr/null", stat.S_IFCHR, 0)
    before = scan(tree)
    (tree / "usr/other").touch()
    assert said(tree, before) == ["usr", "usr/other"]

    (tree / "usr/.wh.old").unlink()
    (tree / "usr/null").unlink()
    assert said(tree, before) == ["usr", "usr/other"]

    (tree / "usr/.wh.new").touch()
    with pytest.raises(LayerContentError):
        said(tree, before)


def test_a_directory_swapped_after_the_scan_is_not_followed(tree: Path, tmp_path: Path) -> None:
    """A process that outlived the step replaces a directory by a link to the host."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "file").write_text("secret")
    before = scan(tree)
    (tree / "etc/deep/file").write_text("other")
    after = scan(tree)

    (tree / "etc/deep").rename(tree / "etc/moved")
    (tree / "etc/deep").symlink_to(secret)

    entries = list(changes_since(tree, before, after))
    assert [(entry.path, entry.type.name) for entry in entries] == [
        ("etc", "DIRECTORY"), ("etc/deep", "SYMLINK"),
    ]  # fmt: skip


def test_what_became_a_directory_after_the_scan_is_an_error(tree: Path) -> None:
    before = scan(tree)
    (tree / "usr/tool").write_text("other")
    after = scan(tree)
    (tree / "usr/tool").unlink()
    (tree / "usr/tool").mkdir()

    with pytest.raises(LayerContentError, match="usr/tool changed while it was read"):
        list(changes_since(tree, before, after))


def test_a_changed_root_directory_is_an_entry(tree: Path) -> None:
    before = scan(tree)
    os.utime(tree, ns=(0, 0))
    assert said(tree, before) == []

    tree.chmod(0o711)

    assert [(entry.path, entry.mode) for entry in changes_since(tree, before)] == [(".", 0o711)]
