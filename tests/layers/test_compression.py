"""Compression in and out."""

import bz2
import contextlib
import gzip
import io
import lzma
import os
import resource
import subprocess
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.layers.compression import compressor, open_layer, sniff
from imagekit.layers.errors import LayerError, LayerFormatError
from imagekit.oci.mediatype import Compression

DATA = os.urandom(300_000) + b"layer" * 200_000


def _zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": _zstd,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}


def read_all(data: bytes, size: int = 1 << 16) -> bytes:
    _, plain = open_layer(io.BytesIO(data))
    pieces = []
    while piece := plain.read(size):
        assert len(piece) <= size
        pieces.append(piece)
    assert plain.read(size) == b""
    return b"".join(pieces)


@pytest.mark.parametrize("name", PACKERS)
def test_packed_streams_are_recognised_and_read(name: str) -> None:
    packed = PACKERS[name](DATA)

    assert sniff(packed[:6]) == name
    assert open_layer(io.BytesIO(packed))[0] == name
    assert read_all(packed) == DATA
    assert open_layer(io.BytesIO(packed))[1].read() == DATA


@pytest.mark.parametrize("name", PACKERS)
def test_concatenated_members_are_one_stream(name: str) -> None:
    pack = PACKERS[name]

    assert read_all(pack(DATA) + pack(b"") + pack(b"more") + pack(b"")) == DATA + b"more"


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz"])
def test_zeros_after_the_end_are_padding(name: str) -> None:
    assert read_all(PACKERS[name](DATA) + bytes(700_000)) == DATA


@pytest.mark.parametrize("name", PACKERS)
@pytest.mark.parametrize("lost", [1, 5, 5000])
def test_a_cut_off_stream_is_an_error(name: str, lost: int) -> None:
    with pytest.raises(LayerFormatError):
        read_all(PACKERS[name](DATA)[:-lost])


@pytest.mark.parametrize("name", PACKERS)
def test_a_damaged_stream_is_an_error(name: str) -> None:
    packed = bytearray(PACKERS[name](DATA))
    packed[len(packed) // 2] ^= 0x55

    with pytest.raises(LayerFormatError):
        read_all(bytes(packed))


@pytest.mark.parametrize("name", PACKERS)
def test_something_else_after_the_end_is_an_error(name: str) -> None:
    with pytest.raises(LayerFormatError):
        read_all(PACKERS[name](DATA) + b"something else")


def test_skippable_zstd_frames_are_skipped() -> None:
    skippable = b"\x5e\x2a\x4d\x18\x04\0\0\0abcd"

    assert read_all(skippable + _zstd(DATA) + skippable + _zstd(b"x") + skippable) == DATA + b"x"
    with pytest.raises(LayerFormatError):
        read_all(_zstd(DATA) + skippable[:-2])


def test_large_and_small_zstd_blocks() -> None:
    writer = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    packed = b""
    for number in range(2000):
        packed += writer.compress(b"%d" % number)
        packed += writer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    packed += writer.flush()

    assert read_all(packed) == b"".join(b"%d" % number for number in range(2000))
    for cut in range(1, 200, 7):
        with pytest.raises(LayerFormatError):
            read_all(packed[:-cut])


@pytest.mark.parametrize("plain", [b"", b"x", b"short", DATA])
def test_plain_streams_pass_through(plain: bytes) -> None:
    name, reader = open_layer(io.BytesIO(plain))

    assert name == Compression.NONE
    assert reader.read() == plain


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_a_bomb_costs_no_memory(name: str) -> None:
    bomb = PACKERS[name](bytes(48 << 20))
    read_all(PACKERS[name](DATA), 1 << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    _, plain = open_layer(io.BytesIO(bomb))
    total = 0
    while piece := plain.read(1 << 20):
        total += len(piece)

    assert total == 48 << 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 << 10


@pytest.mark.parametrize("kind", list(Compression))
@pytest.mark.parametrize("size", [0, 1, 700_000])
def test_what_is_packed_comes_back(kind: Compression, size: int) -> None:
    output = io.BytesIO()
    packer = compressor(kind, output)
    for at in range(0, size, 100_000):
        packer.write(DATA[at : min(size, at + 100_000)])
    packer.close()

    assert read_all(output.getvalue()) == DATA[:size]


def test_gzip_header_says_nothing_about_when_and_where() -> None:
    output = io.BytesIO()
    packer = compressor(Compression.GZIP, output)
    packer.write(b"data")
    packer.close()

    assert output.getvalue()[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    assert gzip.decompress(output.getvalue()) == b"data"


def test_the_gzip_program_reads_it() -> None:
    output = io.BytesIO()
    packer = compressor(Compression.GZIP, output)
    packer.write(DATA)
    packer.close()

    done = subprocess.run(["gzip", "-dc"], input=output.getvalue(), capture_output=True, check=True)
    assert done.stdout == DATA


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(sorted(PACKERS)),
    edits=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_damage_raises_only_layer_errors(name: str, edits: list[tuple[int, int]]) -> None:
    packed = bytearray(PACKERS[name](b"content " * 500 + bytes(range(256))))
    for at, value in edits:
        packed[at % len(packed)] = value
    with contextlib.suppress(LayerError):
        read_all(bytes(packed))
