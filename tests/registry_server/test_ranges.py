"""Byte ranges: the cases of RFC 9110, and that nothing but the error table comes out."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_server import errors
from registry_server.errors import RegistryError
from registry_server.ranges import ByteRange, parse_chunk, parse_range


@pytest.mark.parametrize(
    ("header", "size", "expected"),
    [
        (None, 10, None),
        ("bytes=0-9", 10, ByteRange(0, 9)),
        ("bytes=0-", 10, ByteRange(0, 9)),
        ("bytes=9-", 10, ByteRange(9, 9)),
        ("bytes=-1", 10, ByteRange(9, 9)),
        ("bytes=-99", 10, ByteRange(0, 9)),
        ("bytes=5-99", 10, ByteRange(5, 9)),
        ("BYTES = 1 - 2", 10, ByteRange(1, 2)),
        ("lines=1-2", 10, None),
        ("bytes=1-2,4-5", 10, None),
        ("bytes=-", 10, None),
        ("bytes=a-b", 10, None),
        ("bytes=\u0661-\u0662", 10, None),
    ],
)
def test_range_means(header: str | None, size: int, expected: ByteRange | None) -> None:
    assert parse_range(header, size) == expected


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=10-", 10), ("bytes=0-", 0), ("bytes=-0", 10), ("bytes=5-4", 10)]
)
def test_range_without_bytes_is_unsatisfiable(header: str, size: int) -> None:
    with pytest.raises(RegistryError) as caught:
        parse_range(header, size)

    assert caught.value.row is errors.RANGE_INVALID
    assert caught.value.headers == (("Content-Range", f"bytes */{size}"),)


@given(st.text(), st.integers(min_value=0, max_value=1 << 64))
def test_any_range_header_gives_a_part_or_the_documented_error(header: str, size: int) -> None:
    for text in (header, f"bytes={header}"):
        with contextlib.suppress(RegistryError):
            part = parse_range(text, size)
            assert part is None or 0 <= part.start <= part.last < size


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(1, 1000))
def test_satisfiable_range_is_cut_to_the_size(start: int, length: int, size: int) -> None:
    header = f"bytes={start}-{start + length}"
    if start >= size:
        with pytest.raises(RegistryError):
            parse_range(header, size)
    else:
        assert parse_range(header, size) == ByteRange(start, min(start + length, size - 1))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("0-99", ByteRange(0, 99)),
        ("100-199", ByteRange(100, 199)),
        ("bytes 0-99/200", ByteRange(0, 99)),
        ("bytes=0-99", ByteRange(0, 99)),
        ("bytes 0-99/*", ByteRange(0, 99)),
    ],
)
def test_chunk_means(header: str | None, expected: ByteRange | None) -> None:
    assert parse_chunk(header) == expected


@given(st.text())
def test_any_chunk_header_gives_a_place_or_the_documented_error(header: str) -> None:
    with contextlib.suppress(RegistryError):
        chunk = parse_chunk(header)
        assert chunk is not None
        assert chunk.length >= 0
