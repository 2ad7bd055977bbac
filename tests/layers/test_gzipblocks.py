"""Compression by several threads: the bytes are those of one thread."""

import gzip
import hashlib
import io
import random
import subprocess
import threading
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagekit.layers.compression import compressor
from imagekit.layers.errors import LayerLevelError
from imagekit.layers.gzipblocks import BLOCK_BYTES, BlockGzip
from imagekit.oci.mediatype import Compression

DATA = (random.Random(1).randbytes(200_000) + b"text of a file " * 50_000) * 6


def packed(
    data: bytes, *, kind: Compression, threads: int | None, piece: int, level: int | None = None
) -> bytes:
    output = io.BytesIO()
    packer = compressor(kind, output, level, threads=threads)
    for at in range(0, len(data), piece):
        packer.write(data[at : at + piece])
    packer.close()
    return output.getvalue()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    kind=st.sampled_from([Compression.GZIP, Compression.ZSTD]),
    size=st.one_of(
        st.integers(0, len(DATA)),
        st.integers(0, 5).map(lambda blocks: blocks * BLOCK_BYTES),
    ),
    threads=st.integers(2, 9),
    piece=st.integers(50_000, 3 * BLOCK_BYTES),
)
def test_neither_threads_nor_pieces_show_in_the_bytes(
    kind: Compression, size: int, threads: int, piece: int
) -> None:
    data = DATA[:size]
    expected = packed(data, kind=kind, threads=1, piece=len(DATA))

    assert packed(data, kind=kind, threads=threads, piece=piece) == expected
    assert packed(data, kind=kind, threads=None, piece=piece) == expected
    if kind is Compression.GZIP:
        inflate = zlib.decompressobj(31)
        assert inflate.decompress(expected) == data
        assert inflate.eof
        assert inflate.unused_data == b""  # one member


@pytest.mark.parametrize("program", [["gzip", "-dc"], ["bsdcat"], ["python3", "-m", "gzip", "-d"]])
def test_other_programs_read_it(program: list[str]) -> None:
    data = packed(DATA, kind=Compression.GZIP, threads=3, piece=1 << 20)

    done = subprocess.run(program, input=data, capture_output=True, check=True)

    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(DATA).digest()


def test_one_block_is_what_a_single_stream_gives() -> None:
    data = packed(DATA[:BLOCK_BYTES], kind=Compression.GZIP, threads=4, piece=300_000)

    assert data.count(b"\0\0\xff\xff") == 0  # no flush inside, which an empty stored block ends
    assert gzip.decompress(data) == DATA[:BLOCK_BYTES]


def test_cutting_into_blocks_costs_less_than_a_hundredth() -> None:
    from isal import isal_zlib

    whole = isal_zlib.compressobj(2, isal_zlib.DEFLATED, -15)
    size = len(whole.compress(DATA) + whole.flush())

    assert len(packed(DATA, kind=Compression.GZIP, threads=2, piece=1 << 20)) < size * 1.01


class _Full(io.BytesIO):
    def write(self, data: object, /) -> int:
        raise OSError(28, "No space left on device")


def test_an_output_that_fails_fails_the_writer_and_ends_the_threads() -> None:
    packer = BlockGzip(_Full(), 2, threads=3)

    with pytest.raises(OSError, match="No space left"):
        packer.write(DATA * 3)
    packer.abort()

    assert [thread for thread in threading.enumerate() if thread.name.startswith("gzip")] == []


@pytest.mark.parametrize(
    ("kind", "level"),
    [(Compression.GZIP, 4), (Compression.GZIP, -1), (Compression.ZSTD, 0), (Compression.ZSTD, 23),
     (Compression.NONE, 0)],
)  # fmt: skip
def test_a_level_that_there_is_not_is_a_users_error(kind: Compression, level: int) -> None:
    with pytest.raises(LayerLevelError):
        compressor(kind, io.BytesIO(), level)


@pytest.mark.parametrize("level", range(4))
def test_every_level_of_gzip_is_read_back(level: int) -> None:
    data = packed(DATA, kind=Compression.GZIP, threads=2, piece=1 << 20, level=level)

    assert gzip.decompress(data) == DATA


def test_high_levels_of_zstd_ask_for_no_more_than_8_mib() -> None:
    import zstandard

    for level in (19, 22):
        data = packed(DATA[: 1 << 20], kind=Compression.ZSTD, threads=2, piece=1 << 20, level=level)
        assert zstandard.get_frame_parameters(data).window_size <= 8 << 20
        frame = zstandard.ZstdDecompressor().decompressobj()
        assert frame.decompress(data) == DATA[: 1 << 20]
