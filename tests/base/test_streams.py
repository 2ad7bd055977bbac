"""Readers that hash and verify what passes through them."""

import hashlib
import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagekit.base.streams import (
    CHUNK_BYTES,
    DigestMismatchError,
    HashingReader,
    Readable,
    VerifiedReader,
    copy_stream,
)

# A busy machine makes a test slow, not wrong.
CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Trickle:
    """A source that gives less than was asked for, as sockets do."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._source = io.BytesIO(data)
        self._sizes = sizes
        self.given = 0

    def read(self, size: int = -1, /) -> bytes:
        least = self._sizes.pop() if self._sizes else 7
        data = self._source.read(least if size < 0 else min(size, least))
        self.given += len(data)
        return data


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def read_all(source: Readable, size: int) -> bytes:
    return b"".join(iter(lambda: source.read(size), b""))


@CALM
@given(data=st.binary(max_size=300), sizes=st.lists(st.integers(1, 50)), size=st.integers(1, 100))
def test_hashing_changes_nothing_and_counts(data: bytes, sizes: list[int], size: int) -> None:
    reader = HashingReader(Trickle(data, sizes))

    assert read_all(reader, size) == data
    assert reader.size == len(data)
    assert reader.hexdigest() == hashlib.sha256(data).hexdigest()


def test_hashing_by_another_algorithm() -> None:
    reader = HashingReader(io.BytesIO(b"abc"), "sha512")

    assert reader.read() == b"abc"
    assert reader.hexdigest() == hashlib.sha512(b"abc").hexdigest()


@CALM
@given(
    data=st.binary(max_size=300),
    sizes=st.lists(st.integers(1, 50)),
    size=st.integers(1, 100),
    is_size_known=st.booleans(),
)
def test_right_content_passes(
    data: bytes, sizes: list[int], size: int, is_size_known: bool
) -> None:
    reader = VerifiedReader(
        Trickle(data, sizes), digest=sha256(data), size=len(data) if is_size_known else None
    )

    assert read_all(reader, size) == data
    reader.finish()
    reader.finish()


@CALM
@given(data=st.binary(min_size=1, max_size=200), at=st.integers(0, 199), bit=st.integers(0, 7))
def test_any_changed_bit_fails(data: bytes, at: int, bit: int) -> None:
    changed = bytearray(data)
    changed[at % len(data)] ^= 1 << bit
    reader = VerifiedReader(io.BytesIO(changed), digest=sha256(data), size=len(data))

    with pytest.raises(DigestMismatchError, match="does not match"):
        read_all(reader, 64)


@CALM
@given(data=st.binary(min_size=1, max_size=200), keep=st.integers(0, 199))
def test_truncated_content_fails(data: bytes, keep: int) -> None:
    kept = keep % len(data)
    reader = VerifiedReader(io.BytesIO(data[:kept]), digest=sha256(data), size=len(data))

    with pytest.raises(DigestMismatchError, match=f"ended after {kept} of {len(data)} bytes"):
        read_all(reader, 64)


def test_truncated_content_of_unknown_size_fails_too() -> None:
    reader = VerifiedReader(io.BytesIO(b"ab"), digest=sha256(b"abc"), size=None)

    with pytest.raises(DigestMismatchError) as caught:
        reader.finish()

    assert caught.value.hint is not None
    assert caught.value.code == "digest-mismatch"


def test_endless_content_is_cut_as_soon_as_it_is_too_long() -> None:
    source = Trickle(b"x" * 10_000, [100] * 100)
    reader = VerifiedReader(source, digest=sha256(b"x" * 150), size=150)

    with pytest.raises(DigestMismatchError, match="longer than the announced 150 bytes"):
        read_all(reader, 1000)

    assert source.given == 200


def test_finish_reads_what_is_left() -> None:
    good = VerifiedReader(io.BytesIO(b"abcdef"), digest=sha256(b"abcdef"), size=6)
    bad = VerifiedReader(io.BytesIO(b"abcdef"), digest=sha256(b"abcdeg"), size=6)

    assert (good.read(2), bad.read(2)) == (b"ab", b"ab")
    good.finish()
    with pytest.raises(DigestMismatchError):
        bad.finish()


def test_reading_nothing_is_not_the_end() -> None:
    reader = VerifiedReader(io.BytesIO(b"abc"), digest=sha256(b"abc"), size=3)

    assert reader.read(0) == b""
    assert reader.read() == b"abc"


@CALM
@given(data=st.binary(max_size=300), sizes=st.lists(st.integers(1, 50)), size=st.integers(1, 60))
def test_copy_moves_everything(data: bytes, sizes: list[int], size: int) -> None:
    output = io.BytesIO()

    assert copy_stream(Trickle(data, sizes), output.write, chunk_bytes=size) == len(data)
    assert output.getvalue() == data


def test_copy_asks_for_large_blocks() -> None:
    asked = []

    class Source(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            asked.append(size)
            return super().read(size)

    copy_stream(Source(b"abc"), lambda data: None)

    assert asked == [CHUNK_BYTES, CHUNK_BYTES]
