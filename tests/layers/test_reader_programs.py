"""Archives as GNU tar, bsdtar and Python write them, in each of their formats."""

import gzip
import io
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.layers.apply import WhiteoutForm, apply_layer, extract_archive
from imagekit.layers.compression import open_layer
from imagekit.layers.errors import LayerFormatError
from imagekit.layers.reader import TarReader

pytestmark = [pytest.mark.root, pytest.mark.peer]

Snapshot = Callable[[Path], object]
ENVIRONMENT = {"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}


def run(*command: str | Path, given: bytes = b"") -> bytes:
    return subprocess.run(
        command, check=True, capture_output=True, env=ENVIRONMENT, input=given
    ).stdout


@pytest.fixture
def plain_tree(tmp_path: Path) -> Path:
    """What even the oldest format can hold."""
    root = tmp_path / "plain"
    (root / "dir/deep").mkdir(parents=True)
    (root / "dir/deep/file").write_bytes(b"x" * 1000)
    (root / "dir/empty").write_bytes(b"")
    (root / "link").symlink_to("dir/deep/file")
    os.link(root / "dir/deep/file", root / "zz-hard")
    (root / "setuid").write_text("s")
    os.chown(root / "setuid", 1000, 2000)
    (root / "setuid").chmod(0o4750)
    (root / ("n" * 90)).write_text("long")
    for folder, folders, names in os.walk(root, topdown=False):
        for name in (*folders, *names):
            os.utime(Path(folder, name), (1_600_000_000, 1_600_000_000), follow_symlinks=False)
    return root


def applied(data: bytes, tmp_path: Path) -> Path:
    target = tmp_path / "target"
    target.mkdir()
    apply_layer(io.BytesIO(data), target, form=WhiteoutForm.PLAIN)
    return target


@pytest.mark.parametrize(
    "command",
    [
        *(["tar", f"--format={form}", "--numeric-owner"]
          for form in ("v7", "oldgnu", "gnu", "ustar", "posix")),
        ["tar", "--format=gnu", "-b", "1"],
        ["tar", "--format=posix", "--hard-dereference"],
        ["tar", "--format=gnu", "-V", "a label"],
        ["tar", "--format=posix", "-V", "a label"],
        ["tar", "--format=gnu", "-g", "SNAPSHOT"],
        ["tar", "--format=posix", "-g", "SNAPSHOT"],
        *(["bsdtar", f"--format={form}"] for form in ("pax", "gnutar", "ustar", "v7")),
    ],
    ids=" ".join,
)  # fmt: skip
def test_every_format_is_unpacked_whole(
    command: list[str], plain_tree: Path, tmp_path: Path, snapshot: Snapshot
) -> None:
    command = [word.replace("SNAPSHOT", str(tmp_path / "incremental")) for word in command]
    data = run(*command, "-cf", "-", "-C", plain_tree, ".")

    target = applied(data, tmp_path)

    expected, found = snapshot(plain_tree), snapshot(target)
    if "--hard-dereference" in command:
        assert (target / "zz-hard").read_bytes() == (target / "dir/deep/file").read_bytes()
    else:
        assert found == expected


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_format_of_python(
    form: int, plain_tree: Path, tmp_path: Path, snapshot: Snapshot
) -> None:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=form) as archive:
        archive.add(plain_tree, arcname=".")

    assert snapshot(applied(output.getvalue(), tmp_path)) == snapshot(plain_tree)


def test_a_pax_header_for_all_of_gnu_tar_is_passed_over(
    plain_tree: Path, tmp_path: Path, snapshot: Snapshot
) -> None:
    """As Go does; `git archive` writes one, with the commit in it."""
    option = "--pax-option=globexthdr.name=/tmp/g,comment=hello,mtime=0"
    data = run("tar", "--format=posix", option, "-cf", "-", "-C", plain_tree, ".")

    assert data[156:157] == b"g"
    assert snapshot(applied(data, tmp_path)) == snapshot(plain_tree)


@pytest.mark.parametrize("version", ["old", "0.0", "0.1", "1.0"])
@pytest.mark.parametrize("detection", ["seek", "raw"])
@pytest.mark.parametrize("name", ["sparse", "s" * 200])
def test_sparse_files_of_gnu_tar(version: str, detection: str, name: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with open(source / name, "wb") as file:
        for part in range(60):  # more than one extension block of the old format
            file.seek(part << 18)
            file.write(b"part %d" % part)
        file.truncate(70 << 18)
    (source / "z-tail").write_text("tail")
    form = ["--format=gnu"]
    if version != "old":
        form = ["--format=posix", f"--sparse-version={version}"]
    data = run("tar", "-S", f"--hole-detection={detection}", *form, "-cf", "-", "-C", source, ".")

    target = applied(data, tmp_path)

    assert (target / name).read_bytes() == (source / name).read_bytes()
    assert (target / name).stat().st_blocks <= 62 * 8
    assert (target / "z-tail").read_text() == "tail"
    assert sorted(os.listdir(target)) == sorted(os.listdir(source))


def test_bsdtars_attributes_acls_and_flags(plain_tree: Path, tmp_path: Path) -> None:
    """Attributes of the namespaces that layers carry stay; ACLs and flags are dropped, as by Go."""
    os.setxattr(plain_tree / "setuid", "user.binary", b"\0=\n\xff" * 20)
    acl = b"\2\0\0\0\1\0\6\0\xff\xff\xff\xff\2\0\7\0\1\0\0\0\4\0\4\0\xff\xff\xff\xff"
    acl += b"\x10\0\7\0\xff\xff\xff\xff\x20\0\4\0\xff\xff\xff\xff"
    os.setxattr(plain_tree / "setuid", "system.posix_acl_access", acl)
    data = run("bsdtar", "--format=pax", "--xattrs", "--acls", "-cf", "-", "-C", plain_tree, ".")

    target = applied(data, tmp_path)

    assert b"SCHILY.acl.access" in data
    assert b"LIBARCHIVE.xattr.user.binary" in data
    assert os.listxattr(target / "setuid") == ["user.binary"]
    assert os.getxattr(target / "setuid", "user.binary") == b"\0=\n\xff" * 20


def test_gnu_tars_attributes(plain_tree: Path, tmp_path: Path) -> None:
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(plain_tree / "setuid", "security.capability", capability)
    os.setxattr(plain_tree / "setuid", "user.a=b", b"1")
    data = run("tar", "--format=posix", "--xattrs", "--xattrs-include=*", "-cf", "-",
               "-C", plain_tree, ".")  # fmt: skip

    target = applied(data, tmp_path)

    assert os.getxattr(target / "setuid", "security.capability") == capability


def test_a_volume_of_many_is_refused(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(os.urandom(40 << 10))
    volumes = [tmp_path / f"volume-{number}" for number in range(4)]
    files = [word for volume in volumes for word in ("-f", str(volume))]
    run("tar", "--format=gnu", "-M", "-L", "15", *files, "-C", tmp_path, "-c", "big")
    target = tmp_path / "target"
    target.mkdir()

    with pytest.raises(LayerFormatError, match=r"in layer entry 'big': .* middle of a file"):
        apply_layer(io.BytesIO(volumes[0].read_bytes()), target, form=WhiteoutForm.PLAIN)
    with pytest.raises(LayerFormatError, match="multi-volume") as caught:
        apply_layer(io.BytesIO(volumes[1].read_bytes()), target, form=WhiteoutForm.PLAIN)
    assert caught.value.hint is not None


@pytest.mark.parametrize("program", ["gzip", "bzip2", "xz", "zstd"])
def test_members_one_after_the_other_are_one_stream(
    program: str, plain_tree: Path, tmp_path: Path, snapshot: Snapshot
) -> None:
    data = run("tar", "-cf", "-", "-C", plain_tree, ".")
    half = len(data) // 2
    packed = b"".join(run(program, "-c", given=part) for part in (data[:half], data[half:]))
    target = tmp_path / "target"
    target.mkdir()

    extract_archive(io.BytesIO(packed), target, "/")

    assert snapshot(target) == snapshot(plain_tree)


def test_gzip_headers_with_all_their_fields() -> None:
    """eStargz ends with an empty member that has an extra field; `gzip` writes a name."""
    body = gzip.compress(b"content", mtime=0)[10:]
    fields = b"\4\0SGxx" + b"name\0" + b"comment\0"
    whole = b"\x1f\x8b\x08\x1c" + bytes(6) + fields + body

    name, stream = open_layer(io.BytesIO(whole + gzip.compress(b" and more")))

    assert name == "gzip"
    assert stream.read() == b"content and more"


@pytest.mark.parametrize("at", [-1, -5, 12])
def test_a_gzip_member_with_a_wrong_sum_is_refused(at: int) -> None:
    packed = bytearray(gzip.compress(os.urandom(3000)))
    packed[at] ^= 0x10

    with pytest.raises(LayerFormatError, match="gzip"):
        open_layer(io.BytesIO(bytes(packed)))[1].read()


def test_estargz_is_unpacked_plainly(tmp_path: Path) -> None:
    """containerd and docker unpack the table of contents and the landmark as the files they are."""
    output = io.BytesIO()
    names = (".no.prefetch.landmark", "bin/x", "stargz.index.json")
    for name in names:
        part = io.BytesIO()
        with tarfile.open(fileobj=part, mode="w", format=tarfile.PAX_FORMAT) as archive:
            member = tarfile.TarInfo(name)
            member.size = 4
            archive.addfile(member, io.BytesIO(b"1234"))
        output.write(gzip.compress(part.getvalue()[:1024]))
    output.write(gzip.compress(bytes(1024)))
    footer = b"\x1f\x8b\x08\x04" + bytes(5) + b"\xff" + b"\x1a\0SG\x16\0" + b"%016xSTARGZ" % 999
    output.write(footer + b"\1\0\0\xff\xff" + bytes(8))

    _, stream = open_layer(io.BytesIO(output.getvalue()))

    assert tuple(entry.path for entry in TarReader(stream)) == names


def test_zstd_chunked_is_unpacked_plainly() -> None:
    """Its table of contents stands in skippable frames."""
    frame = run("zstd", "-c", given=b"one ") + run("zstd", "-c", given=b"two")
    skippable = b"\x50\x2a\x4d\x18" + (64).to_bytes(4, "little") + bytes(64)

    for packed in (frame + skippable * 2, skippable + frame, frame[:1] + frame[1:]):
        name, stream = open_layer(io.BytesIO(packed))
        assert (name, stream.read()) == ("zstd", b"one two")


def test_a_zstd_window_larger_than_128_mib_is_refused() -> None:
    packed = run("zstd", "--long=31", "-c", given=bytes(300 << 20))

    with pytest.raises(LayerFormatError, match="zstd"):
        open_layer(io.BytesIO(packed))[1].read(1)
