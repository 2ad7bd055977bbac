"""The tar writer: deterministic, as plain as possible, read by everybody."""

import hashlib
import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.layers import tarformat
from imagekit.layers.diff import tree_entries
from imagekit.layers.entry import BytesContent, Entry, EntryType
from imagekit.layers.errors import LayerContentError
from imagekit.layers.reader import TarReader
from imagekit.layers.write import write_layer

SECOND_NS = 1_000_000_000


def written(*entries: Entry, clamp_mtime: int | None = None, nanoseconds: bool = False) -> bytes:
    output = io.BytesIO()
    write_layer(entries, output, clamp_mtime=clamp_mtime, nanoseconds=nanoseconds)
    return output.getvalue()


def regular(path: str, data: bytes = b"", **fields: object) -> Entry:
    return Entry(
        path=path, type=EntryType.REGULAR, mode=0o644, size=len(data),
        content=BytesContent(data=data),
        **fields,  # type: ignore[arg-type]  # each test names its own
    )  # fmt: skip


def test_the_format_does_not_change_between_versions() -> None:
    """A new digest here means that every layer gets a new diff ID: it needs a very good reason."""
    data = written(
        Entry(path=".", type=EntryType.DIRECTORY, mode=0o755),
        Entry(path="dir", type=EntryType.DIRECTORY, mode=0o1777, uid=1, gid=2, mtime_ns=3 * 10**9),
        regular("dir/file", b"content", mtime_ns=1_700_000_000_500_000_000),
        Entry(path="dir/link", type=EntryType.SYMLINK, mode=0o777, link="ä" * 60),
        Entry(path="dir/hard", type=EntryType.HARDLINK, mode=0o644, link="dir/file"),
        Entry(path="null", type=EntryType.CHARACTER, mode=0o666, device=(1, 3)),
        regular(("d" * 99 + "/") * 2 + "f" * 30, uid=3_000_000, xattrs=(("user.a", b"\0\n"),)),
        regular(os.fsdecode(b"raw-\xff" * 40), mtime_ns=-(10**9)),
    )

    assert hashlib.sha256(data).hexdigest() == (
        "d978d67462e8e550776feb56de5eebcdd578b2b925418dcf01f00dc2f5d82349"
    )


NAMES = st.binary(min_size=1, max_size=130).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(lambda parts: os.fsdecode(b"/".join(parts)))
TEXTS = st.binary(min_size=1, max_size=300).filter(lambda text: b"\0" not in text).map(os.fsdecode)
IDS = st.one_of(st.integers(0, 70_000), st.integers(0, 0xFFFFFFFE))
TIMES = st.one_of(st.integers(0, 2_000_000_000), st.integers(-(2**40), 2**40))
XATTRS = st.dictionaries(
    st.sampled_from(["user.a", "user.b", "security.capability"]), st.binary(max_size=600)
).map(lambda values: tuple(sorted(values.items())))


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    kind = draw(st.sampled_from(EntryType))
    data = draw(st.binary(max_size=1500)) if kind is EntryType.REGULAR else b""
    device = (0, 0)
    if kind in (EntryType.CHARACTER, EntryType.BLOCK):
        device = (draw(st.integers(0, 4095)), draw(st.integers(0, 2**20 - 1)))
    return Entry(
        path=draw(PATHS),
        type=kind,
        mode=draw(st.integers(0, 0o7777)),
        uid=draw(IDS),
        gid=draw(IDS),
        mtime_ns=draw(TIMES) * SECOND_NS,
        size=len(data),
        link=draw(TEXTS) if kind in (EntryType.SYMLINK, EntryType.HARDLINK) else "",
        device=device,
        xattrs=draw(XATTRS),
        content=BytesContent(data=data),
    )


@settings(max_examples=200, deadline=None)
@given(st.lists(entries(), max_size=5))
def test_reading_gives_what_was_written(expected: list[Entry]) -> None:
    found = []
    for entry in TarReader(io.BytesIO(written(*expected))):
        found.append(entry)
        if entry.content is not None:
            data = b"".join(entry.content.chunks(entry.size))
            original = expected[len(found) - 1].content
            assert original is not None
            assert data == b"".join(original.chunks(entry.size))

    assert found == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(entries(), max_size=4))
def test_python_reads_the_same(expected: list[Entry]) -> None:
    with tarfile.open(fileobj=io.BytesIO(written(*expected)), errors="surrogateescape") as archive:
        members = archive.getmembers()
        for member, entry in zip(members, expected, strict=True):
            # Python takes an invalid path record for the file system's bytes, as we do.
            assert member.name == entry.path.rstrip("/")
            assert (member.mode, member.uid, member.gid) == (entry.mode, entry.uid, entry.gid)
            assert member.mtime == entry.mtime_ns // SECOND_NS
            assert member.linkname == entry.link
            if entry.type is EntryType.REGULAR:
                assert member.size == entry.size


def test_bytes_are_always_the_same() -> None:
    data = written(
        regular("etc/hosts", b"127.0.0.1", mtime_ns=1_700_000_000_123_456_789, uid=1, gid=2),
        Entry(path="etc", type=EntryType.DIRECTORY, mode=0o755),
        regular("ä" * 80, b"x" * 513, xattrs=(("user.a", b"\0\n"), ("user.b", b""))),
    )

    assert tarformat.is_header(data[:512])
    assert len(data) == 512 + 512 + 512 + 1024 + 512 + 1024 + 1024
    assert data == written(
        regular("etc/hosts", b"127.0.0.1", mtime_ns=1_700_000_000_000_000_000, uid=1, gid=2),
        Entry(path="etc", type=EntryType.DIRECTORY, mode=0o755),
        regular("ä" * 80, b"x" * 513, xattrs=(("user.a", b"\0\n"), ("user.b", b""))),
    )


@pytest.mark.parametrize("length", [1, 99, 100, 101, 200, 255, 256])
def test_ustar_where_a_name_fits(length: int) -> None:
    path = ("d" * 49 + "/") * 5 + "f" * 10
    path = path[-length:].lstrip("/")

    data = written(regular(path))

    fits = tarformat.split_name(path.encode()) is not None
    assert data[156:157] == (b"0" if fits else b"x")
    assert fits == (
        len(path) <= 100
        or any(
            path[cut] == "/" and cut <= 155 and len(path) - cut - 1 <= 100
            for cut in range(len(path))
        )
    )
    assert [entry.path for entry in TarReader(io.BytesIO(data))] == [path]


def test_no_pax_header_for_what_ustar_holds() -> None:
    data = written(
        regular("a" * 100, uid=0o7777777, gid=0o7777777, mtime_ns=0o77777777777 * SECOND_NS)
    )

    assert data[156:157] == b"0"
    assert len(data) == 512 + 1024


def test_nanoseconds_only_on_request() -> None:
    entry = regular("a", mtime_ns=1_700_000_000_123_456_789)

    cut = next(iter(TarReader(io.BytesIO(written(entry)))))
    kept = next(iter(TarReader(io.BytesIO(written(entry, nanoseconds=True)))))

    assert cut.mtime_ns == 1_700_000_000_000_000_000
    assert kept.mtime_ns == entry.mtime_ns


def test_clamped_times_are_never_later() -> None:
    early, late = regular("early", mtime_ns=5 * SECOND_NS), regular("late", mtime_ns=10**18)

    data = written(early, late, clamp_mtime=1000, nanoseconds=True)

    times = [entry.mtime_ns for entry in TarReader(io.BytesIO(data))]
    assert times == [5 * SECOND_NS, 1000 * SECOND_NS]


class Zeros:
    """Nine GiB that cost nothing."""

    piece = bytes(1 << 20)

    def chunks(self, size: int) -> Iterator[bytes]:
        for _ in range(size >> 20):
            yield self.piece


class Counting:
    def __init__(self) -> None:
        self.head = b""
        self.size = 0

    def write(self, data: bytes, /) -> None:
        if self.size == 0:
            self.head = data[:4096]
        self.size += len(data)


def test_files_over_8_gib_carry_their_size_in_pax() -> None:
    output = Counting()
    size = 9 << 30
    entry = Entry(path="big", type=EntryType.REGULAR, mode=0o644, size=size, content=Zeros())

    write_layer([entry], output)

    assert output.size == 1024 + 512 + size + 1024
    assert b"size=9663676416\n" in output.head
    assert next(iter(TarReader(io.BytesIO(output.head)))).size == size


def test_a_file_that_shrinks_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"x" * 5000)
    walk = tree_entries(tmp_path)
    entry = next(walk)
    os.truncate(tmp_path / "log", 10)

    with pytest.raises(LayerContentError):
        written(entry)


@pytest.mark.parametrize("program", ["tar", "bsdtar"])
def test_other_programs_unpack_it(program: str, tmp_path: Path) -> None:
    names = ["plain", "ä" * 60, "d" * 120, "n" * 250, os.fsdecode(b"raw\xff"), "l" * 200 + "ü"]
    data = written(*(regular(name, name.encode("utf-8", "surrogateescape")) for name in names))
    environment = {"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}

    done = subprocess.run(
        [program, "-xf", "-", "-C", tmp_path],
        input=data,
        capture_output=True,
        env=environment,
        check=False,
    )

    assert done.stderr == b""
    assert done.returncode == 0
    assert sorted(os.listdir(tmp_path)) == sorted(names)


@pytest.mark.root
def test_gnu_tar_restores_attributes(tmp_path: Path) -> None:
    data = written(regular("x", b"", xattrs=(("user.a", b"\0=\n"),)))

    subprocess.run(["tar", "--xattrs", "-xf", "-", "-C", tmp_path], input=data, check=True)

    assert os.getxattr(tmp_path / "x", "user.a") == b"\0=\n"
