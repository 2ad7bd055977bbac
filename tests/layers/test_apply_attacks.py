"""Hostile archives: whatever they say, what lies outside the target stays as it is."""

import io
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.layers import tarformat
from imagekit.layers.apply import Limits, WhiteoutForm, apply_layer
from imagekit.layers.errors import (
    LayerError,
    LayerFormatError,
    LayerLimitError,
    UnsafeLayerError,
)

Archive = Callable[..., bytes]
Snapshot = Callable[[Path], object]

pytestmark = pytest.mark.root

DIRECTORY = {"type": tarfile.DIRTYPE}
FORMS = list(WhiteoutForm)


def link(target: str) -> dict[str, object]:
    return {"type": tarfile.SYMTYPE, "linkname": target}


def hard(target: str) -> dict[str, object]:
    return {"type": tarfile.LNKTYPE, "linkname": target}


Unpack = Callable[[bytes], Path]


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/../evil", "./../evil", "..", "../", "/..", "a/../.."]
)
def test_dotdot_names(name: str, unpack: Unpack, archive: Archive) -> None:
    with pytest.raises(UnsafeLayerError):
        unpack(archive((name, b"evil", {})))


def test_absolute_names_stay_inside(unpack: Unpack, archive: Archive) -> None:
    target = unpack(archive(("/etc/evil", b"evil", {}), ("//etc//more", b"more", {})))

    assert (target / "etc/evil").read_bytes() == b"evil"
    assert (target / "etc/more").read_bytes() == b"more"


@pytest.mark.parametrize("where", ["../outside", "/outside", "../../../../../../outside"])
def test_symlink_as_parent_then_write(where: str, unpack: Unpack, archive: Archive) -> None:
    target = unpack(archive(("door", b"", link(where)), ("door/secret", b"evil", {})))

    assert os.readlink(target / "door") == where
    assert (target / "outside/secret").read_bytes() == b"evil"


def test_symlink_to_the_host_root_then_write(unpack: Unpack, archive: Archive) -> None:
    target = unpack(archive(("door", b"", link("/")), ("door/door/x", b"evil", {})))

    assert (target / "x").read_bytes() == b"evil"


def test_file_name_with_trailing_slash_over_a_link(unpack: Unpack, archive: Archive) -> None:
    target = unpack(archive(("door", b"", link("../outside")), ("door/", b"", DIRECTORY)))

    assert (target / "door").is_dir()
    assert not (target / "door").is_symlink()


def test_writing_through_a_final_symlink(unpack: Unpack, archive: Archive) -> None:
    target = unpack(archive(("x", b"", link("../secret")), ("x", b"evil", {})))

    assert not (target / "x").is_symlink()


def test_chmod_through_a_final_symlink(unpack: Unpack, archive: Archive) -> None:
    unpack(
        archive(
            ("x", b"", link("../outside") | {"mode": 0o777, "uid": 1, "gid": 1}),
            ("y", b"", hard("x")),
        )
    )


def test_link_loops_end(unpack: Unpack, archive: Archive) -> None:
    with pytest.raises(LayerFormatError):
        unpack(archive(("a", b"", link("b")), ("b", b"", link("a")), ("a/x", b"", {})))


@pytest.mark.parametrize("target", ["../secret", "/../secret", "a/../../secret"])
def test_hard_link_to_the_outside(target: str, unpack: Unpack, archive: Archive) -> None:
    with pytest.raises(UnsafeLayerError):
        unpack(archive(("x", b"", hard(target)), ("x", b"evil", {})))


def test_hard_link_to_an_absolute_host_path(unpack: Unpack, archive: Archive) -> None:
    with pytest.raises(LayerFormatError, match="not there"):
        unpack(archive(("x", b"", hard("/etc/passwd"))))


def test_hard_link_through_a_symlinked_directory(unpack: Unpack, archive: Archive) -> None:
    with pytest.raises(LayerError):
        unpack(archive(("door", b"", link("../")), ("x", b"", hard("door/secret"))))


def test_hard_link_to_a_symlink_then_write(unpack: Unpack, archive: Archive) -> None:
    target = unpack(
        archive(("s", b"", link("../secret")), ("h", b"", hard("s")), ("h", b"evil", {}))
    )

    assert (target / "h").read_bytes() == b"evil"
    assert os.readlink(target / "s") == "../secret"


def test_hard_link_to_a_directory(unpack: Unpack, archive: Archive) -> None:
    with pytest.raises(LayerFormatError):
        unpack(archive(("d", b"", DIRECTORY), ("x", b"", hard("d"))))


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("name", [".", "./", "/", "a/.."])
def test_root_replaced(kind: bytes, name: str, unpack: Unpack, archive: Archive) -> None:
    # ADD ignores the root entry; a layer must not turn its root into something else.
    fields = {"type": kind, "linkname": "../outside"}
    data = archive((name, b"", fields), ("evil", b"evil", {}))
    try:
        target = unpack(data)
    except LayerError:
        return
    assert target.is_dir()
    assert not target.is_symlink()


def test_device_nodes_stay_metadata(unpack: Unpack, archive: Archive) -> None:
    target = unpack(archive(("kmem", b"", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 2})))

    assert stat.S_ISCHR(os.lstat(target / "kmem").st_mode)
    assert (target / "kmem").stat().st_rdev == os.makedev(1, 2)


def test_device_0_0_is_a_hidden_deletion(unpack: Unpack, archive: Archive) -> None:
    with pytest.raises(UnsafeLayerError):
        unpack(archive(("etc/passwd", b"", {"type": tarfile.CHRTYPE})))


def test_overlay_attributes_are_dropped(unpack: Unpack, archive: Archive) -> None:
    records = {
        f"SCHILY.xattr.{name}": "y"
        for name in (
            "trusted.overlay.opaque", "trusted.overlay.redirect", "user.overlay.opaque",
            "user.overlay.redirect", "trusted.overlay.metacopy", "security.selinux",
        )
    }  # fmt: skip
    records["SCHILY.xattr.user.fine"] = "fine"
    target = unpack(
        archive(
            ("d", b"", DIRECTORY | {"pax_headers": records}),
            ("f", b"x", {"pax_headers": records}),
        )
    )

    for name in "df":
        assert os.listxattr(target / name) == ["user.fine"]


def test_huge_pax_header(unpack: Unpack, archive: Archive) -> None:
    bomb = {"pax_headers": {"comment": "x" * (2 << 20)}}
    with pytest.raises(LayerLimitError):
        unpack(archive(("x", b"", bomb)))


def test_gigantic_pax_header_costs_no_memory(unpack: Unpack) -> None:
    header = tarformat.encode_header(b"x", b"", 0, 0, 0, tarformat.MAX_OCTAL_11, 0, b"x")
    with pytest.raises(LayerLimitError):
        unpack(header)


def test_negative_and_gigantic_sizes(unpack: Unpack) -> None:
    for size in (b"\xff" * 12, b"\x80" + b"\x7f" * 11, b"-0000000001\0"):
        header = bytearray(tarformat.encode_header(b"x", b"", 0, 0, 0, 0, 0, b"0"))
        header[124:136] = size
        header[148:156] = b"        "
        header[148:156] = b"%06o\0 " % sum(header)
        with pytest.raises(LayerError):
            unpack(bytes(header) + bytes(1024))


def test_name_with_nul(unpack: Unpack, archive: Archive) -> None:
    with pytest.raises(LayerFormatError):
        unpack(archive(("x", b"", {"pax_headers": {"path": "a\0b"}})))


def test_long_names(unpack: Unpack, archive: Archive) -> None:
    with pytest.raises(LayerError):
        unpack(archive(("n" * 256, b"", {})))
    with pytest.raises(LayerLimitError):
        unpack(archive(("d/" * 3000 + "x", b"", {})))


@pytest.mark.parametrize("uid", [-1, 1 << 32, (1 << 32) - 1, 1 << 62])
def test_owner_overflow(uid: int, unpack: Unpack, archive: Archive) -> None:
    with pytest.raises(LayerFormatError):
        unpack(archive(("x", b"", {"pax_headers": {"uid": str(uid)}})))


def test_parent_is_a_file(unpack: Unpack, archive: Archive) -> None:
    with pytest.raises(LayerFormatError):
        unpack(archive(("x", b"file", {}), ("x/y", b"", {})))


def test_parent_is_a_device(unpack: Unpack, archive: Archive) -> None:
    null = {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}
    with pytest.raises(LayerFormatError):
        unpack(archive(("x", b"", null), ("x/y", b"", {})))


def test_deep_nesting_is_removed_without_recursion(unpack: Unpack, archive: Archive) -> None:
    deep = "d/" * 500 + "x"
    target = unpack(archive((deep, b"", {}), ("d", b"file now", {})))

    assert (target / "d").read_bytes() == b"file now"


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.value)
class TestWhiteouts:
    @pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "a/.wh...", ".wh.a/.wh..."])
    def test_of_dot_dotdot_and_nothing(
        self, name: str, form: WhiteoutForm, tmp_path: Path, archive: Archive
    ) -> None:
        target = tmp_path / "target"
        target.mkdir()
        (tmp_path / "keep").write_text("keep")

        with pytest.raises(UnsafeLayerError):
            apply_layer(io.BytesIO(archive((name, b"", {}))), target, form=form)

        assert (tmp_path / "keep").read_text() == "keep"
        assert target.is_dir()

    def test_through_links(self, form: WhiteoutForm, tmp_path: Path, archive: Archive) -> None:
        target = tmp_path / "target"
        target.mkdir()
        (tmp_path / "keep").write_text("keep")
        data = archive(
            ("door", b"", link("..")),
            ("far", b"", link(str(tmp_path))),
            ("door/.wh.keep", b"", {}),
            ("far/.wh.keep", b"", {}),
            ("door/.wh..wh..opq", b"", {}),
        )

        apply_layer(io.BytesIO(data), target, form=form)

        assert (tmp_path / "keep").read_text() == "keep"
        assert os.listxattr(tmp_path) == []

    def test_of_a_link_removes_the_link(
        self, form: WhiteoutForm, tmp_path: Path, archive: Archive
    ) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "keep").write_text("keep")
        target, lower = tmp_path / "target", tmp_path / "lower"
        target.mkdir()
        lower.mkdir()
        (lower / "door").symlink_to(outside)
        if form is WhiteoutForm.PLAIN:
            (target / "door").symlink_to(outside)
        lowers = [] if form is WhiteoutForm.PLAIN else [lower]

        apply_layer(io.BytesIO(archive((".wh.door", b"", {}))), target, lowerdirs=lowers, form=form)

        assert (outside / "keep").read_text() == "keep"
        if form is WhiteoutForm.PLAIN:
            assert not os.path.lexists(target / "door")
        else:
            assert os.lstat(target / "door").st_rdev == 0
            assert stat.S_ISCHR(os.lstat(target / "door").st_mode)
        assert os.path.lexists(lower / "door")

    def test_aufs_leftovers_are_ignored(
        self, form: WhiteoutForm, tmp_path: Path, archive: Archive
    ) -> None:
        data = archive((".wh..wh.aufs", b"", {}), (".wh..wh.plnk/1.2", b"x", {}))

        apply_layer(io.BytesIO(data), tmp_path, form=form)

        assert os.listdir(tmp_path) == []


def test_lower_layers_are_never_touched(
    tmp_path: Path, archive: Archive, snapshot: Snapshot
) -> None:
    lower, target = tmp_path / "lower", tmp_path / "target"
    (lower / "usr/lib").mkdir(parents=True)
    target.mkdir()
    (lower / "usr/lib/libc").write_text("libc")
    (lower / "lib").symlink_to("usr/lib")
    (lower / "hidden").mkdir()
    (lower / "hidden/x").write_text("x")
    before = snapshot(lower)
    data = archive(
        ("lib/libc", b"evil", {}),
        ("lib/libd", b"", hard("usr/lib/libc")),
        ("hidden/.wh..wh..opq", b"", {}),
        ("copy", b"", hard("lib/../lib/libc")),
        ("usr/.wh.lib", b"", {}),
    )

    apply_layer(io.BytesIO(data), target, lowerdirs=[lower], form=WhiteoutForm.OVERLAY_TRUSTED)

    assert snapshot(lower) == before
    assert (target / "usr/lib/libc").read_bytes() == b"evil"
    assert (target / "copy").stat().st_nlink == 3
    assert not os.path.lexists(target / "lib")


def test_too_many_entries(tmp_path: Path, archive: Archive) -> None:
    data = archive(*((f"f{number}", b"", {}) for number in range(20)))

    with pytest.raises(LayerLimitError):
        apply_layer(io.BytesIO(data), tmp_path, form=WhiteoutForm.PLAIN, limits=Limits(entries=10))


def test_too_many_bytes_are_refused_before_they_are_written(
    tmp_path: Path, archive: Archive
) -> None:
    data = archive(("x", b"x" * 5000, {}))

    with pytest.raises(LayerLimitError):
        apply_layer(
            io.BytesIO(data), tmp_path, form=WhiteoutForm.PLAIN, limits=Limits(unpacked_bytes=4096)
        )

    assert os.listdir(tmp_path) == []
