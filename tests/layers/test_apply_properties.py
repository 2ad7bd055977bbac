"""Whatever an archive holds: nothing outside changes, and only LayerError comes out."""

import io
import os
import stat
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.layers.apply import WhiteoutForm, apply_layer, extract_archive
from imagekit.layers.diff import overlay_changes, tree_entries
from imagekit.layers.entry import BytesContent, Entry, EntryType
from imagekit.layers.errors import LayerContentError, LayerError
from imagekit.layers.rootdir import RootDir
from imagekit.layers.write import write_layer

pytestmark = pytest.mark.root

Snapshot = Callable[[Path], object]

PARTS = st.sampled_from(
    ["..", ".", "", "a", "b", "c", "outside", "secret", ".wh.a", ".wh.b", ".wh..wh..opq",
     ".wh..", ".wh.", ".wh..wh.plnk"]
)  # fmt: skip
PATHS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)


TAME_PATHS = st.lists(st.sampled_from(["a", "b"]), max_size=2).flatmap(
    lambda parents: st.sampled_from(["a", "b", "c", ".wh.a", ".wh.b", ".wh..wh..opq"]).map(
        lambda name: "/".join([*parents, name])
    )
)


@st.composite
def entries(draw: st.DrawFn, paths: st.SearchStrategy[str] = PATHS) -> Entry:
    kind = draw(st.sampled_from(EntryType))
    data = draw(st.binary(max_size=3)) if kind is EntryType.REGULAR else b""
    device = (0, 0)
    if kind in (EntryType.CHARACTER, EntryType.BLOCK):
        device = draw(st.sampled_from([(0, 0), (1, 3), (7, 7)]))
    return Entry(
        path=draw(paths),
        type=kind,
        mode=draw(st.sampled_from([0, 0o644, 0o4755, 0o1777])),
        uid=draw(st.sampled_from([0, 5])),
        mtime_ns=10**9,
        size=len(data),
        link=draw(paths) if kind in (EntryType.SYMLINK, EntryType.HARDLINK) else "",
        device=device,
        content=BytesContent(data=data),
    )


def archive_of(members: list[Entry]) -> io.BytesIO:
    output = io.BytesIO()
    write_layer(members, output)
    output.seek(0)
    return output


@settings(max_examples=250, deadline=None)
@given(
    layers=st.lists(st.lists(entries(), max_size=8), min_size=1, max_size=2),
    form=st.sampled_from([*WhiteoutForm, None]),
)
def test_hostile_archives_stay_inside(
    layers: list[list[Entry]], form: WhiteoutForm | None, snapshot: Snapshot
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        house = Path(folder, "house")
        (house / "outside/a").mkdir(parents=True)
        for name in ("secret", "a", "outside/a/secret"):
            (house / name).write_text("secret")
        targets: list[Path] = []

        def outside() -> dict[str, object]:
            seen = snapshot(house)
            assert isinstance(seen, dict)
            return {key: value for key, value in seen.items() if not key.startswith(("t", "."))}

        before = outside()
        for number, members in enumerate(layers):
            target = house / ("target" if form in (WhiteoutForm.PLAIN, None) else f"t{number}")
            target.mkdir(exist_ok=True)
            try:
                if form is None:
                    extract_archive(archive_of(members), target, "/a/b")
                else:
                    lowers = [] if form is WhiteoutForm.PLAIN else targets
                    frozen = [snapshot(lower) for lower in lowers]
                    apply_layer(archive_of(members), target, lowerdirs=lowers, form=form)
                    assert [snapshot(lower) for lower in lowers] == frozen
            except LayerError:
                pass
            targets.insert(0, target)

        assert outside() == before
        assert sorted(set(os.listdir(house)) - {"target", "t0", "t1"}) == ["a", "outside", "secret"]


@settings(max_examples=60, deadline=None)
@given(layers=st.lists(st.lists(entries(paths=TAME_PATHS), max_size=6), min_size=1, max_size=3))
def test_overlay_and_plain_form_mean_the_same(
    layers: list[list[Entry]], snapshot: Snapshot
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        plain, merged = Path(folder, "plain"), Path(folder, "merged")
        plain.mkdir()
        merged.mkdir()
        lowers: list[Path] = []
        for number, members in enumerate(layers):
            target = Path(folder, f"layer{number}")
            target.mkdir()
            failures = []
            for form, where in (
                (WhiteoutForm.OVERLAY_TRUSTED, target),
                (WhiteoutForm.PLAIN, plain),
            ):
                try:
                    apply_layer(archive_of(members), where, lowerdirs=lowers, form=form)
                except LayerError as error:
                    failures.append(type(error))
            if failures:
                return  # a hostile layer: which part of it was unpacked does not matter
            lowers.insert(0, target)
        options = f"lowerdir={':'.join(map(str, [*lowers, merged]))}"
        subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", merged], check=True)
        try:
            assert _without_times(snapshot(merged)) == _without_times(snapshot(plain))
        finally:
            subprocess.run(["umount", merged], check=True)


def _without_times(tree: object) -> dict[str, tuple[object, ...]]:
    assert isinstance(tree, dict)
    return {key: (*value[:4], *value[5:]) for key, value in tree.items() if key != "."}


class TestRootOpaque:
    """overlayfs ignores the opaque mark on a layer's root, so names are hidden one by one."""

    @pytest.mark.parametrize("first", [True, False])
    def test_everything_below_is_hidden(self, first: bool, tmp_path: Path) -> None:
        lower, target, merged = (tmp_path / name for name in ("lower", "target", "merged"))
        for path in (lower / "etc", lower / "kept/old", target, merged):
            path.mkdir(parents=True)
        (lower / "etc/passwd").write_text("old")
        marker = Entry(path=".wh..wh..opq", type=EntryType.REGULAR, mode=0)
        new = [
            Entry(path="kept", type=EntryType.DIRECTORY, mode=0o755),
            Entry(path="kept/new", type=EntryType.REGULAR, mode=0o644),
        ]

        apply_layer(
            archive_of([marker, *new] if first else [*new, marker]),
            target, lowerdirs=[lower], form=WhiteoutForm.OVERLAY_TRUSTED,
        )  # fmt: skip

        subprocess.run(
            ["mount", "-t", "overlay", "-o", f"lowerdir={target}:{lower}", "overlay", merged],
            check=True,
        )
        try:
            assert sorted(str(path.relative_to(merged)) for path in merged.rglob("*")) == [
                "kept", "kept/new",
            ]  # fmt: skip
        finally:
            subprocess.run(["umount", merged], check=True)


def test_unnamed_parents_take_the_lower_layers_metadata(tmp_path: Path) -> None:
    lower, target = tmp_path / "lower", tmp_path / "target"
    (lower / "opt/tool").mkdir(parents=True)
    target.mkdir()
    os.chown(lower / "opt/tool", 7, 8)
    (lower / "opt/tool").chmod(0o2750)
    os.setxattr(lower / "opt/tool", "user.note", b"kept")
    os.utime(lower / "opt/tool", ns=(5, 123_456_789))
    lower.chmod(0o711)

    apply_layer(
        archive_of([Entry(path="opt/tool/new/x", type=EntryType.FIFO, mode=0o600)]),
        target, lowerdirs=[lower], form=WhiteoutForm.OVERLAY_TRUSTED,
    )  # fmt: skip

    status = (target / "opt/tool").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (7, 8, 0o2750)
    assert status.st_mtime_ns == 123_456_789
    assert os.getxattr(target / "opt/tool", "user.note") == b"kept"
    assert stat.S_IMODE((target / "opt/tool/new").stat().st_mode) == 0o755
    assert (target / "opt/tool/new").stat().st_mtime_ns == 0
    assert stat.S_IMODE(target.stat().st_mode) == 0o711


def test_parents_that_are_links_in_a_lower_layer_are_followed(tmp_path: Path) -> None:
    lower, target = tmp_path / "lower", tmp_path / "target"
    (lower / "usr/lib").mkdir(parents=True)
    target.mkdir()
    (lower / "lib").symlink_to("usr/lib")

    apply_layer(
        archive_of([Entry(path="lib/libc", type=EntryType.REGULAR, mode=0o644)]),
        target, lowerdirs=[lower], form=WhiteoutForm.OVERLAY_TRUSTED,
    )  # fmt: skip

    assert sorted(str(path.relative_to(target)) for path in target.rglob("*")) == [
        "usr", "usr/lib", "usr/lib/libc",
    ]  # fmt: skip


def test_user_attributes_mark_deletions_when_rootless(tmp_path: Path) -> None:
    lower, target = tmp_path / "lower", tmp_path / "target"
    (lower / "d/old").mkdir(parents=True)
    target.mkdir()
    members = [
        Entry(path="d", type=EntryType.DIRECTORY, mode=0o755),
        Entry(path="d/.wh..wh..opq", type=EntryType.REGULAR, mode=0),
    ]

    apply_layer(archive_of(members), target, lowerdirs=[lower], form=WhiteoutForm.OVERLAY_USER)

    assert os.listxattr(target / "d") == ["user.overlay.opaque"]
    changes = overlay_changes(target, [lower], userxattr=True)
    assert [(entry.path, entry.xattrs) for entry in changes] == [
        ("d", ()), ("d/.wh..wh..opq", ()),
    ]  # fmt: skip


def test_whiteout_names_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / ".wh.x").touch()

    with pytest.raises(LayerContentError):
        list(tree_entries(tmp_path))


def test_a_whiteout_device_in_a_plain_tree_cannot_be_written(tmp_path: Path) -> None:
    os.mknod(tmp_path / "x", stat.S_IFCHR, 0)

    with pytest.raises(LayerContentError):
        list(tree_entries(tmp_path))


def test_order_and_left_out_kinds(tmp_path: Path) -> None:
    for name in ("b", "a-b", "a", "B", "ä"):
        (tmp_path / name).mkdir()
    (tmp_path / "a/x").touch()
    subprocess.run(
        ["python3", "-c", "import socket,sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])",
         tmp_path / "socket"], check=True,
    )  # fmt: skip

    assert [entry.path for entry in tree_entries(tmp_path)] == ["B", "a", "a/x", "a-b", "b", "ä"]


def test_a_swapped_directory_is_not_followed_while_walking(tmp_path: Path) -> None:
    """A running container replaces a directory by a link to the host between two steps."""
    root, secret = tmp_path / "root", tmp_path / "secret"
    for folder in (root / "a", secret):
        folder.mkdir(parents=True)
        (folder / "file").write_text(folder.name)
    entry = next(found for found in list(tree_entries(root)) if found.path == "a/file")
    (root / "a").rename(root / "b")
    (root / "a").symlink_to(secret)

    assert entry.content is not None
    with pytest.raises(LayerError):
        list(entry.content.chunks(entry.size))


def test_root_dir_and_extraction_agree_on_links(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "one").symlink_to("../two")
    (tmp_path / "two").symlink_to("/three/../real")

    with RootDir(tmp_path) as root:
        assert root.real_path("/one/x") == "/real/x"
    extract_archive(
        archive_of([Entry(path="x", type=EntryType.REGULAR, mode=0o644)]), tmp_path, "/one"
    )

    assert (tmp_path / "real/x").exists()
