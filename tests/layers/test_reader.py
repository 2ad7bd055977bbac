"""What other programs write is read the same; what nobody should write is only a LayerError."""

import contextlib
import io
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.layers import tarformat
from imagekit.layers.apply import WhiteoutForm, apply_layer
from imagekit.layers.entry import EntryType
from imagekit.layers.errors import LayerError, LayerFormatError, LayerLimitError
from imagekit.layers.limits import Limits
from imagekit.layers.reader import TarReader

Archive = Callable[..., bytes]
Snapshot = Callable[[Path], object]
SEGMENT = 1 << 20


def read(data: bytes) -> list[tuple[str, EntryType, bytes]]:
    return [
        (
            entry.path,
            entry.type,
            b"".join(entry.content.chunks(entry.size)) if entry.content is not None else b"",
        )
        for entry in TarReader(io.BytesIO(data))
    ]


class Trickle:
    """Give a stream in pieces as small and odd as a network may."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)
        self._turn = 0

    def read(self, size: int = -1, /) -> bytes:
        self._turn = (self._turn * 7 + 3) % 311
        return self._file.read(min(size, self._turn + 1))


@pytest.fixture
def rich_tree(tmp_path: Path) -> Path:
    root = tmp_path / "rich"
    (root / "dir" / ("deep-" + "d" * 200) / ("deeper-" + "e" * 200)).mkdir(parents=True)
    long = root / "dir" / ("deep-" + "d" * 200) / ("deeper-" + "e" * 200)
    (long / ("f" * 250)).write_text("long")
    (root / "empty").write_bytes(b"")
    (root / "block").write_bytes(b"x" * 512)
    (root / "grüße-日本").write_text("unicode")
    (root / os.fsdecode(b"raw-\xff\xfe")).write_text("not UTF-8")
    (root / "spaces and\nnewline").write_text("odd")
    (root / "link").symlink_to("dir/" + "t" * 300)
    (root / "umlaut-link").symlink_to("grüße-日本")
    os.link(root / "block", root / "hard")
    os.link(long / ("f" * 250), root / "zz-hard-to-long")
    (root / "setuid").write_text("s")
    os.chown(root / "setuid", 3_000_000, 4_000_000_000 - 1)
    (root / "setuid").chmod(0o4755)
    os.setxattr(root / "setuid", "user.binary", b"\0=\n\xff")
    os.mkfifo(root / "fifo")
    os.mknod(root / "device", 0o20600, os.makedev(200, 70000))
    (root / "sticky").mkdir()
    (root / "sticky").chmod(0o1777)
    for directory, directories, files in os.walk(root, topdown=False):
        for name in (*directories, *files):
            path = Path(directory, name)
            os.utime(path, (1_700_000_000, 1_700_000_000), follow_symlinks=False)
    os.utime(root / "empty", (0, -1_000_000_000))
    return root


WRITERS = {
    "gnu-tar": ["tar", "--format=gnu", "--numeric-owner", "-cf", "-", "-C"],
    "gnu-tar-pax": ["tar", "--format=pax", "--xattrs", "-cf", "-", "-C"],
    "bsdtar-pax": ["bsdtar", "--format=pax", "-cf", "-", "-C"],
    "bsdtar-gnu": ["bsdtar", "--format=gnutar", "-cf", "-", "-C"],
}


@pytest.mark.root
@pytest.mark.parametrize("writer", WRITERS)
def test_archives_of_other_programs_are_unpacked_whole(
    writer: str, rich_tree: Path, tmp_path: Path, snapshot: Snapshot
) -> None:
    environment = {"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}
    data = subprocess.run(
        [*WRITERS[writer], rich_tree, "."], check=True, capture_output=True, env=environment
    ).stdout
    target = tmp_path / "target"
    target.mkdir()

    apply_layer(Trickle(data), target, form=WhiteoutForm.OVERLAY_TRUSTED)

    expected, found = snapshot(rich_tree), snapshot(target)
    assert isinstance(expected, dict)
    assert isinstance(found, dict)
    if writer in ("gnu-tar", "bsdtar-gnu", "bsdtar-pax"):  # no attributes: they need a flag or PAX
        for tree in (expected, found):
            tree["setuid"] = tree["setuid"][:-1]
    if writer == "bsdtar-gnu":  # it writes no time before 1970
        del expected["empty"], found["empty"]
    assert found == expected


@pytest.mark.root
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_archives_of_python_are_unpacked_whole(
    form: int, rich_tree: Path, tmp_path: Path, snapshot: Snapshot
) -> None:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=form) as archive:
        archive.add(rich_tree, arcname=".")
    target = tmp_path / "target"
    target.mkdir()

    apply_layer(io.BytesIO(output.getvalue()), target, form=WhiteoutForm.OVERLAY_TRUSTED)

    expected, found = snapshot(rich_tree), snapshot(target)
    assert isinstance(expected, dict)
    assert isinstance(found, dict)
    for tree in (expected, found):
        tree["setuid"] = tree["setuid"][:-1]
    assert found == expected


@pytest.mark.parametrize(
    "flags",
    [["--format=gnu"], ["--format=pax", "--sparse-version=0.0"],
     ["--format=pax", "--sparse-version=0.1"], ["--format=pax", "--sparse-version=1.0"]],
    ids=["gnu", "0.0", "0.1", "1.0"],
)  # fmt: skip
@pytest.mark.parametrize("parts", [0, 1, 3, 40])
def test_sparse_files(flags: list[str], parts: int, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with open(source / "sparse", "wb") as file:
        for number in range(parts):
            file.seek(number * SEGMENT)
            file.write(os.urandom(5000))
        file.truncate(parts * SEGMENT + 12345)
    (source / "tail").write_text("next member")
    data = subprocess.run(
        ["tar", "-S", *flags, "-cf", "-", "-C", source, "sparse", "tail"],
        check=True, capture_output=True,
    ).stdout  # fmt: skip
    target = tmp_path / "target"
    target.mkdir()

    apply_layer(Trickle(data), target, form=WhiteoutForm.PLAIN)

    assert len(data) < parts * 16384 + 40960
    assert (target / "sparse").read_bytes() == (source / "sparse").read_bytes()
    assert (target / "sparse").stat().st_blocks * 512 <= parts * 16384 + 4096
    assert (target / "tail").read_text() == "next member"
    assert {path: content for path, _, content in read(data)}["sparse"] == (
        source / "sparse"
    ).read_bytes()


def test_a_sparse_map_cannot_eat_memory() -> None:
    count = b"99999999999\n"
    records = [
        (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"),
        (b"GNU.sparse.realsize", b"1"),
    ]  # fmt: skip
    body = count.ljust(512, b"\0")
    header = tarformat.encode_header(b"x", b"", 0, 0, 0, len(body), 0, b"0")

    with pytest.raises(LayerLimitError):
        read(tarformat.encode_pax(b"x", records) + header + body)


def test_what_is_not_read_is_skipped(archive: Archive) -> None:
    data = archive(("a", b"a" * 3_000_000, {}), ("b", b"b", {}), ("c", b"c" * 700, {}))

    assert [entry.path for entry in TarReader(Trickle(data))] == ["a", "b", "c"]


def test_content_of_an_earlier_entry_is_gone(archive: Archive) -> None:
    entries = list(TarReader(io.BytesIO(archive(("a", b"a", {}), ("b", b"b", {})))))

    assert entries[0].content is not None
    with pytest.raises(ValueError, match="gone"):
        list(entries[0].content.chunks(1))


def test_the_stream_is_read_to_its_end(archive: Archive) -> None:
    stream = io.BytesIO(archive(("a", b"a", {})) + b"trailing")

    assert len(list(TarReader(stream))) == 1
    assert stream.read() == b""


@pytest.mark.parametrize("cut", [1, 100, 511, 513, 1000, 1023, 1500])
def test_a_cut_off_archive_is_an_error(cut: int, archive: Archive) -> None:
    data = archive(("a", b"x" * 3000, {}))

    with pytest.raises(LayerFormatError):
        read(data[:cut])


def test_an_empty_layer_is_no_error() -> None:
    assert read(b"") == []
    assert read(bytes(1024)) == []


def test_text_is_not_an_archive() -> None:
    with pytest.raises(LayerFormatError):
        read(b"hello, world\n" * 100)


def test_base_256_numbers() -> None:
    assert tarformat.parse_number(b"\x80" + bytes(6) + b"\x02\0\0\0\0") == 1 << 33
    assert tarformat.parse_number(b"\xff" * 12) == -1


def test_sizes_over_8_gib_are_read() -> None:
    def header(size: bytes) -> bytes:
        block = bytearray(tarformat.encode_header(b"big", b"", 0o644, 0, 0, 0, 0, b"0"))
        block[124:136] = size
        block[148:156] = b"        "
        block[148:156] = b"%06o\0 " % sum(block)
        return bytes(block)

    gnu = header(b"\x80" + (9 << 30).to_bytes(11, "big"))
    pax = tarformat.encode_pax(b"big", [(b"size", b"%d" % (9 << 30))]) + header(b"0".ljust(12))
    for data in (gnu, pax):
        entry = next(iter(TarReader(io.BytesIO(data))))
        assert entry.size == 9 << 30


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [(b"1700000000", 1_700_000_000_000_000_000), (b"-1.5", -1_500_000_000),
     (b"0.000000001", 1), (b"1.1234567891", 1_123_456_789)],
)  # fmt: skip
def test_pax_times(text: bytes, time_ns: int) -> None:
    assert tarformat.parse_pax_time(text) == time_ns


@given(st.integers(-(10**18), 4 * 10**18))
def test_pax_times_round_trip(time_ns: int) -> None:
    assert tarformat.parse_pax_time(tarformat.format_pax_time(time_ns)) == time_ns


KEYS = st.binary(min_size=1, max_size=20).filter(lambda key: b"=" not in key and b"\0" not in key)


@given(st.lists(st.tuples(KEYS, st.binary(max_size=1100)), max_size=5))
def test_pax_records_round_trip(records: list[tuple[bytes, bytes]]) -> None:
    blocks = tarformat.encode_pax(b"name", records)
    size = tarformat.parse_number(blocks[124:136])

    parsed = tarformat.parse_pax(blocks[512 : 512 + size])

    assert {os.fsencode(key): value for key, value in parsed.items()} == dict(records)


def _seeds() -> list[bytes]:
    seeds = []
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        output = io.BytesIO()
        with tarfile.open(fileobj=output, mode="w", format=form) as archive:
            for name, kind in (
                ("dir", tarfile.DIRTYPE),
                ("dir/file", tarfile.REGTYPE),
                ("dir/link", tarfile.SYMTYPE),
                ("n" * 90, tarfile.LNKTYPE),
            ):
                member = tarfile.TarInfo(name if form == tarfile.USTAR_FORMAT else name * 2)
                member.type = kind
                member.linkname = "dir/file"
                content = b"content" if kind == tarfile.REGTYPE else b""
                member.size = len(content)
                if form == tarfile.PAX_FORMAT:
                    member.pax_headers = {
                        "SCHILY.xattr.user.x": "y",
                        "mtime": "12.5",
                        "GNU.sparse.major": "0",
                    }
                    if kind != tarfile.REGTYPE:
                        del member.pax_headers["GNU.sparse.major"]
                archive.addfile(member, io.BytesIO(content))
        seeds.append(output.getvalue()[:8192])
    return seeds


SEEDS = _seeds()


def _with_right_checksums(data: bytes) -> bytes:
    blocks = bytearray(data)
    for at in range(0, len(blocks) - 511, 512):
        blocks[at + 148 : at + 156] = b"        "
        blocks[at + 148 : at + 156] = b"%06o\0 " % sum(blocks[at : at + 512])
    return bytes(blocks)


@settings(max_examples=300, deadline=None)
@given(
    seed=st.sampled_from(SEEDS),
    edits=st.lists(st.tuples(st.integers(0, 8191), st.binary(min_size=1, max_size=30)), max_size=8),
    cut=st.integers(0, 8192),
    fix=st.booleans(),
)
def test_damaged_archives_raise_only_layer_errors(
    seed: bytes, edits: list[tuple[int, bytes]], cut: int, fix: bool
) -> None:
    data = bytearray(seed)
    for at, text in edits:
        data[at : at + len(text)] = text
    damaged = bytes(data[: cut or len(data)])
    limits = Limits(unpacked_bytes=1 << 20, header_bytes=1 << 16)
    try:
        for entry in TarReader(
            io.BytesIO(_with_right_checksums(damaged) if fix else damaged), limits=limits
        ):
            if entry.content is not None:
                assert sum(map(len, entry.content.chunks(entry.size))) == entry.size
    except LayerError:
        pass


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=512, max_size=2048))
def test_random_bytes_raise_only_layer_errors(data: bytes) -> None:
    with contextlib.suppress(LayerError):
        read(_with_right_checksums(data))
