"""Attacks that other programs fell to, by their names; the house around the target stays as it is.

``unpack`` checks the house after every test. More hostile archives, by what they do rather than by
whom they hit, are in test_apply_attacks.
"""

import contextlib
import gzip
import io
import os
import stat
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.base.fds import OwnedFd
from imagekit.layers.apply import Limits, WhiteoutForm, apply_layer, extract_archive
from imagekit.layers.compression import open_layer
from imagekit.layers.errors import LayerError, LayerFormatError, LayerLimitError, UnsafeLayerError
from imagekit.layers.reader import TarReader
from tests.layers import judges
from tests.layers.judges import END, header, member, padded, pax

Archive = Callable[..., bytes]
Unpack = Callable[[bytes], Path]

pytestmark = pytest.mark.root

DIRECTORY: dict[str, object] = {"type": tarfile.DIRTYPE}


def link(target: str) -> dict[str, object]:
    return {"type": tarfile.SYMTYPE, "linkname": target}


def hard(target: str) -> dict[str, object]:
    return {"type": tarfile.LNKTYPE, "linkname": target}


@pytest.mark.parametrize("target", ["/proc/self/root/{0}", "/proc/1/root/{0}", "/{0}", "../{0}"])
def test_cve_2014_9356_links_in_layers(
    target: str, unpack: Unpack, archive: Archive, tmp_path: Path
) -> None:
    house = str(tmp_path / "house").lstrip("/")
    with contextlib.suppress(LayerError):
        unpack(archive(("door", b"", link(target.format(house))), ("door/secret", b"evil", {}),
                       ("door/outside/.wh.secret", b"", {})))  # fmt: skip


@pytest.mark.parametrize("name", ["zz", "zz/", "./zz", "zz/.", "zz//"])
def test_podman_load_zz_then_zz_pwn(
    name: str, unpack: Unpack, archive: Archive, tmp_path: Path
) -> None:
    target = unpack(archive((name, b"", link(str(tmp_path / "house"))), ("zz/pwn", b"evil", {})))

    assert not (tmp_path / "house/pwn").exists()
    assert (target / str(tmp_path / "house").lstrip("/") / "pwn").read_bytes() == b"evil"


@pytest.mark.parametrize("name", ["door/", "door/.", "door//", "./door/"])
@pytest.mark.parametrize("kind", [tarfile.DIRTYPE, tarfile.REGTYPE])
def test_cve_2026_39822_trailing_slash_on_a_link(
    name: str, kind: bytes, unpack: Unpack, archive: Archive
) -> None:
    """Go's os.Root followed a last link with a slash behind it."""
    target = unpack(
        archive(
            ("door", b"", link("../outside")),
            (name, b"", {"type": kind, "mode": 0o777, "uid": 1}),
            ("x", b"", link("../outside")),
            (".wh.x", b"", {}),
        )
    )

    assert not (target / "door").is_symlink()


def test_cve_2026_39822_hard_link_to_a_link_with_a_slash(unpack: Unpack, archive: Archive) -> None:
    data = archive(("door", b"", link("../secret")), ("h", b"", hard("door/")), ("h", b"evil", {}))

    target = unpack(data)

    assert (target / "h").read_bytes() == b"evil"


def test_cve_2026_17106_directories_made_through_links(unpack: Unpack, archive: Archive) -> None:
    data = archive(
        ("a", b"", link("b")), ("b", b"", link("../outside")), ("a/made", b"", DIRECTORY),
        ("a/made/deep/x", b"evil", {}), ("a/made/deep", b"", DIRECTORY | {"mode": 0o777}),
    )  # fmt: skip

    target = unpack(data)

    assert (target / "outside/made/deep/x").read_bytes() == b"evil"


def test_cve_2026_28406_links_with_more_dotdot_than_depth_are_kept(
    unpack: Unpack, archive: Archive
) -> None:
    """kaniko's first fix refused them; real images have them, and only following is confined."""
    far = "../../../../../../usr/share/zoneinfo/UTC"

    target = unpack(archive(("etc/localtime", b"", link(far))))

    assert os.readlink(target / "etc/localtime") == far


def test_oras_hard_link_relative_to_the_working_directory(
    unpack: Unpack, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path / "house")

    with pytest.raises(LayerFormatError, match="not there"):
        unpack(archive(("x", b"", hard("secret")), ("x", b"evil", {})))


def test_cve_2007_4559_tarfile_dotdot(unpack: Unpack, archive: Archive) -> None:
    with pytest.raises(UnsafeLayerError):
        unpack(archive(("../secret", b"evil", {})))


def test_cve_2024_12718_metadata_through_a_link(unpack: Unpack, archive: Archive) -> None:
    loud = {"mode": 0o777, "uid": 7, "gid": 7, "mtime": 1}
    data = archive(
        ("door", b"", link("..") | loud), ("door/outside", b"", DIRECTORY | loud),
        ("door/secret", b"", hard("door") | loud),
    )  # fmt: skip
    with contextlib.suppress(LayerError):
        unpack(data)


def test_cve_2025_4517_a_path_too_long_to_be_resolved(unpack: Unpack, archive: Archive) -> None:
    """Python's data filter lost its way in links of more than PATH_MAX bytes."""
    component = "d" * 247
    steps = "abcdefghijklmnop"
    members: list[tuple[str, bytes, dict[str, object]]] = []
    path = ""
    for step in steps:
        members.append((path + component, b"", DIRECTORY))
        members.append((path + step, b"", link(component)))
        path += component + "/"
    far = "/".join(steps) + "/" + "l" * 254
    members += [
        (far, b"", link("../" * len(steps))),
        ("escape", b"", link(far + "/../../outside")),
        ("escape/secret", b"evil", {}),
        ("flag", b"", hard("escape/secret")),
        ("flag", b"evil", {}),
        ("escape/evil", b"evil", {}),
    ]
    with contextlib.suppress(LayerError):
        unpack(archive(*members))


def test_links_cannot_nest_directories_deeper_than_the_kernel_reaches(
    unpack: Unpack, archive: Archive
) -> None:
    deep = "d/" * 1500
    data = archive(
        (deep + "x", b"", {}), ("l", b"", link(deep)), ("l/" + deep + "x", b"", {}),
        ("m", b"", link("l/" + deep)), ("m/" + deep + "y", b"", {}),
    )  # fmt: skip

    with pytest.raises(LayerLimitError, match=r"'d/d.*too deep"):
        unpack(data)


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE])
@pytest.mark.parametrize("name", [".", "./.", "/", "./", "x/.."])
def test_cve_2021_29136_the_root_replaced(
    name: str, kind: bytes, unpack: Unpack, archive: Archive, tmp_path: Path
) -> None:
    fields = {"type": kind, "linkname": str(tmp_path / "house/outside")}
    with contextlib.suppress(LayerError):
        unpack(archive((name, b"", fields), ("secret", b"evil", {})))

    assert stat.S_ISDIR((tmp_path / "house/target").lstat().st_mode)


FORMS = [*(form.value for form in WhiteoutForm), "add"]
GNU = b"ustar  \0"
SPARSE_BOMBS = {
    "old-empty-extensions": header(b"x", kind=b"S", magic=GNU, more=b"\1", real_size=b"1")
    + (bytes(504) + b"\1" + bytes(7)) * 20_000,
    "old-full-extensions": header(b"x", kind=b"S", magic=GNU, more=b"\1", real_size=b"1")
    + (b"00000000000\x0000000000000\0" * 21 + b"\1" + bytes(7)) * 20_000,
    "0.1": pax((b"GNU.sparse.map", b"0," * 400_000 + b"0"), (b"GNU.sparse.size", b"1"),
               (b"GNU.sparse.numblocks", b"200000")) + member(b"x"),
    "1.0": pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"))
    + member(b"x", padded(b"99999999999\n" + b"0\n" * 500_000)),
    "size": pax((b"GNU.sparse.map", b""), (b"GNU.sparse.size", b"9223372036854775807"),
                (b"GNU.sparse.major", b"0"), (b"GNU.sparse.minor", b"1"),
                (b"GNU.sparse.numblocks", b"0")) + member(b"x"),
}  # fmt: skip


@pytest.mark.parametrize("bomb", SPARSE_BOMBS)
def test_cve_2025_58183_sparse_maps(bomb: str, unpack: Unpack) -> None:
    with pytest.raises(LayerLimitError):
        unpack(SPARSE_BOMBS[bomb] + END)


def test_a_gzip_bomb_stops_at_the_limit(tmp_path: Path) -> None:
    packed = gzip.compress(member(b"x", bytes(64 << 20)) + END)

    with pytest.raises(LayerLimitError):
        extract_archive(io.BytesIO(packed), tmp_path, "/", limits=Limits(unpacked_bytes=1 << 20))

    assert os.listdir(tmp_path) == []


def test_a_bomb_behind_the_end_of_the_archive(tmp_path: Path) -> None:
    packed = gzip.compress(END + bytes(64 << 20))

    with pytest.raises(LayerLimitError, match="unpacks to more than"):
        extract_archive(io.BytesIO(packed), tmp_path, "/", limits=Limits(unpacked_bytes=1 << 20))


@pytest.mark.parametrize(
    "attribute",
    ["trusted.overlay.redirect", "trusted.overlay.metacopy", "trusted.overlay.overlay.redirect",
     "user.overlay.redirect", "user.overlay.opaque", "trusted.overlay.origin"],
)  # fmt: skip
def test_docker_20_redirect_smuggled_in_a_layer(
    attribute: str, unpack: Unpack, archive: Archive
) -> None:
    records = {"pax_headers": {f"SCHILY.xattr.{attribute}": "/other"}}

    target = unpack(archive(("d", b"", DIRECTORY | records), ("f", b"", records)))

    assert os.listxattr(target / "d") == os.listxattr(target / "f") == []


@pytest.mark.parametrize(
    "record", [{"uid": "4294967295"}, {"gid": "4294967296"}, {"uid": "18446744073709551616"}]
)
def test_cve_2024_40635_owner_overflow(
    record: dict[str, str], unpack: Unpack, archive: Archive
) -> None:
    with pytest.raises(LayerFormatError, match=r"owner .* is not a pair of 32-bit ids"):
        unpack(archive(("x", b"", {"pax_headers": record})))


def test_nul_in_the_name_of_an_attribute(unpack: Unpack) -> None:
    with pytest.raises(LayerFormatError, match="NUL"):
        unpack(pax((b"SCHILY.xattr.user.a\0b", b"1")) + member(b"x") + END)


def test_cve_2019_14271_no_program_or_library_of_the_image_is_used(
    tmp_path: Path, archive: Archive
) -> None:
    """docker cp loaded NSS libraries and ran xz (GHSA-x86f-5xw2-fm2r) from the container."""
    root = tmp_path / "root"
    for folder in ("usr/bin", "bin", "lib"):
        (root / folder).mkdir(parents=True)
        for program in ("xz", "unpigz", "gzip", "tar", "libnss_files.so.2", "lzma.py"):
            (root / folder / program).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
            (root / folder / program).chmod(0o755)
    (tmp_path / "packed").write_bytes(subprocess.run(
        ["xz", "-c"], input=archive(("a", b"a", {"uname": "games"})), check=True,
        capture_output=True,
    ).stdout)  # fmt: skip
    script = f"""
import os, sys
os.chdir({str(root)!r})
os.environ["PATH"] = "usr/bin:bin:" + {str(root)!r} + "/bin"
started = []
BAD = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "os.fork")
sys.addaudithook(lambda event, arguments: event in BAD and started.append(event))
from pathlib import Path
from imagekit.layers.apply import extract_archive
with open({str(tmp_path / "packed")!r}, "rb") as packed:
    extract_archive(packed, Path({str(root)!r}), "/")
assert not started, started
for module in list(sys.modules.values()):
    assert not str(getattr(module, "__file__", "")).startswith({str(root)!r}), module
"""
    subprocess.run([sys.executable, "-P", "-c", script], check=True)

    assert (root / "a").read_bytes() == b"a"
    assert not (tmp_path / "ran").exists()


AUDITED = """
import os, sys
from pathlib import Path

target, lower = sys.argv[1:3]
from imagekit.layers import apply
from imagekit.layers.compression import open_layer

seen = []
def note(name, path):
    path = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else None
    if path and "/" in path:
        seen.append((name, path))

EVENTS = ("open", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.chown", "os.setxattr",
          "os.listdir", "os.scandir", "os.utime", "os.truncate", "os.removexattr")
def hook(event, arguments):
    if event in EVENTS:
        note(event, arguments[0])
    elif event in ("os.link", "os.rename"):
        note(event, arguments[0]); note(event, arguments[1])
    elif event == "os.symlink":
        note(event, arguments[1])

def wrapped(function):
    def call(path, *arguments, **named):
        note("os." + function.__name__, path)
        return function(path, *arguments, **named)
    return call

# No audit event: these are noted by hand.
for name in ("mknod", "lstat", "stat", "readlink", "mkfifo", "access", "getxattr", "listxattr"):
    setattr(os, name, wrapped(getattr(os, name)))
data = sys.stdin.buffer.read()
import io
sys.addaudithook(hook)
form = apply.WhiteoutForm(sys.argv[3]) if sys.argv[3] != "add" else None
if form is None:
    apply.extract_archive(io.BytesIO(data), Path(target), "/in/here")
else:
    lowers = () if form is apply.WhiteoutForm.PLAIN else (Path(lower),)
    apply.apply_layer(io.BytesIO(data), Path(target), lowerdirs=lowers, form=form)
done = list(seen)
for name, path in done:
    print(name, path)
"""


@pytest.mark.parametrize("form", FORMS)
def test_r1_nothing_is_touched_by_a_path(form: str, tmp_path: Path, archive: Archive) -> None:
    """Every call takes one name in an open directory, but for looking at immutable lower layers.

    openat2, which confines what it resolves, is called by number and raises no audit event.
    """
    target, lower = tmp_path / "target", tmp_path / "lower"
    (lower / "low/sub").mkdir(parents=True)
    (lower / "low/f").write_text("f")
    (lower / "low/g").write_text("g")
    (lower / "low/l").symlink_to("sub")
    target.mkdir()
    xattr = {"pax_headers": {"SCHILY.xattr.user.x": "1"}}
    data = archive(
        (".", b"", DIRECTORY), ("a/b/c", b"1", xattr), ("a/b", b"", DIRECTORY | xattr),
        ("a/l", b"", link("../a/b")), ("a/l/d", b"2", {}), ("h", b"", hard("a/b/c")),
        ("p", b"", {"type": tarfile.FIFOTYPE}),
        ("a/n", b"", {"type": tarfile.CHRTYPE, "devmajor": 1}),
        ("low/new", b"3", {}), ("low/l/x", b"4", {}), ("low/.wh.f", b"", {}), ("a/b", b"5", {}),
        ("low/sub/.wh..wh..opq", b"", {}), ("z", b"", {}),
    )  # fmt: skip

    done = subprocess.run(
        [sys.executable, "-c", AUDITED, target, lower, form], input=data, capture_output=True,
        check=True,
    )  # fmt: skip

    calls = [line.split(" ", 1) for line in done.stdout.decode().splitlines()]
    own = ["os.chmod", "/proc/self/fd/"]  # of a descriptor that cannot be opened otherwise
    touched = [call for call in calls if call != ["open", str(target)]]
    touched = [call for call in touched if [call[0], call[1].rstrip("0123456789")] != own]
    looks = ("os.lstat", "os.stat", "os.getxattr", "os.listxattr", "os.readlink", "os.scandir",
             "os.listdir")  # fmt: skip
    assert ["open", str(target)] in calls
    assert [
        (name, path)
        for name, path in touched
        if not (path.startswith(f"{lower}") and name in looks)
    ] == []


@pytest.mark.parametrize("form", FORMS)
def test_cve_2018_15664_directories_swapped_for_links_while_unpacking(
    form: str, tmp_path: Path, archive: Archive
) -> None:
    """Beyond the promise (nobody else can reach the target): still nothing outside is touched."""
    outside = tmp_path / "outside"
    (outside / "sub").mkdir(parents=True)
    (outside / "f").write_text("secret")
    (outside / "f").chmod(0o600)
    before = judges.tree_of(outside), (outside / "f").stat().st_mtime_ns, outside.stat().st_mtime_ns
    members: list[tuple[str, bytes, dict[str, object]]] = []
    loud: dict[str, object] = {"mode": 0o777, "uid": 7, "gid": 7, "mtime": 1}
    for number in range(150):
        members += [
            ("d", b"", DIRECTORY | loud), ("d/sub", b"", DIRECTORY | loud), ("d/f", b"evil", loud),
            (f"d/sub/{number}", b"evil", loud), ("d/n", b"", loud | {"type": tarfile.FIFOTYPE}),
            ("d/h", b"", hard("d/f")), ("d/sub", b"", link("..")), ("d/.wh.f", b"", {}),
        ]  # fmt: skip
    data = archive(*members)
    ended = threading.Event()
    target = tmp_path / "target"

    def swap() -> None:
        name, away, door = str(target / "d"), str(target / "away"), str(target / "door")
        while not ended.is_set():
            with contextlib.suppress(OSError):
                os.symlink(outside, door)
            with contextlib.suppress(OSError):
                os.rename(name, away)
                os.rename(door, name)
            with contextlib.suppress(OSError):
                os.rename(name, door)
            with contextlib.suppress(OSError):
                os.rename(away, name)
            with contextlib.suppress(OSError):
                fd = os.open(name, os.O_DIRECTORY | os.O_NOFOLLOW)
                with OwnedFd(fd):
                    os.symlink(outside / "f", "door", dir_fd=fd)
                    os.rename("door", "n", src_dir_fd=fd, dst_dir_fd=fd)

    hostile = threading.Thread(target=swap, daemon=True)
    target.mkdir()
    hostile.start()
    try:
        end = time.monotonic() + 3
        while time.monotonic() < end:
            with contextlib.suppress(LayerError):
                if form == "add":
                    extract_archive(io.BytesIO(data), target, "/")
                else:
                    apply_layer(io.BytesIO(data), target, form=WhiteoutForm(form))
    finally:
        ended.set()
        hostile.join()

    after = judges.tree_of(outside), (outside / "f").stat().st_mtime_ns, outside.stat().st_mtime_ns
    assert after == before
    assert stat.S_IMODE((outside / "f").stat().st_mode) == 0o600
    assert (outside / "f").stat().st_uid == 0


def test_members_of_a_compressed_stream_do_not_hide_a_second_archive() -> None:
    """What stands behind the end is read for its digest and never unpacked."""
    packed = gzip.compress(member(b"a", b"1") + END) + gzip.compress(member(b"b", b"2") + END)
    _, stream = open_layer(io.BytesIO(packed))

    assert [entry.path for entry in TarReader(stream)] == ["a"]
    assert stream.read(1) == b""


@pytest.mark.parametrize("form", [form.value for form in WhiteoutForm])
@pytest.mark.parametrize("marker", [".wh..wh..opq", "d/.wh..wh..opq", ".wh.d"])
def test_a_deletion_said_a_thousand_times_is_carried_out_once(
    form: str, marker: str, tmp_path: Path, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few MiB of equal headers pack to nothing; each must not walk a large directory."""
    lower, target = tmp_path / "lower", tmp_path / "target"
    for root in (lower, target) if form == "plain" else (lower,):
        (root / "d/sub").mkdir(parents=True)
        (root / "d/sub/below").write_text("below")
    target.mkdir(exist_ok=True)
    lowers = [] if form == "plain" else [lower]
    own: list[tuple[str, bytes, dict[str, object]]] = [
        (f"d/own/{number}", b"", {}) for number in range(10)
    ]
    listed: list[object] = []
    scandir, listdir = os.scandir, os.listdir

    def counting_scandir(fd: int) -> object:
        listed.append(fd)
        return scandir(fd)

    def counting_listdir(path: int | str) -> list[str]:
        listed.append(path)
        return listdir(path)

    data = archive(*own, *[(marker, b"", {})] * 1000, ("d/own/last", b"", {}))
    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", counting_scandir)
        patched.setattr(os, "listdir", counting_listdir)
        apply_layer(io.BytesIO(data), target, lowerdirs=lowers, form=WhiteoutForm(form))

    assert len(listed) < 20
    assert (target / "d/own/last").exists()
    assert not (target / "d/sub").exists()


def test_directories_replaced_one_by_one(tmp_path: Path, archive: Archive) -> None:
    """What is remembered of other directories is not looked through for each."""
    names = [f"{number}" for number in range(1000)]
    data = archive(
        *((name, b"", DIRECTORY) for name in names), *((name, b"", {}) for name in names)
    )

    apply_layer(io.BytesIO(data), tmp_path, form=WhiteoutForm.OVERLAY_TRUSTED)

    assert all((tmp_path / name).is_file() for name in names)


NASTY = "\x1b[2J\nerror: all is well"


@pytest.mark.parametrize(
    "members",
    [
        [(NASTY, b"", hard("absent"))],
        [("x", b"", hard(NASTY))],
        [(NASTY, b"", {}), (NASTY + "/x", b"", {})],
        [(NASTY, b"", link(""))],
        [(NASTY, b"", link(NASTY)), (NASTY + "/x", b"", {})],
        [(NASTY + "/../../x", b"", {})],
        [(NASTY, b"", {"type": tarfile.CHRTYPE})],
        [(NASTY, b"", {"pax_headers": {"uid": "x"}})],
    ],
    ids=range(8),
)
def test_names_cannot_write_on_the_terminal(
    members: list[tuple[str, bytes, dict[str, object]]], unpack: Unpack, archive: Archive
) -> None:
    with pytest.raises(LayerError) as caught:
        unpack(archive(*members))

    assert caught.value.message.isprintable()
