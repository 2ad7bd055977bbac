"""Sparse members: which parts of a file the archive holds.

Four spellings: the old GNU one (type ``S``, map in the header and in extra header blocks) and
PAX 0.0 (repeated offset and numbytes records), 0.1 (one map record) and 1.0 (map in front of the
content).

Source: GNU tar manual, "Storing Sparse Files"; Go archive/tar for the checks.
"""

from collections.abc import Callable
from typing import Self

import msgspec

from imagekit.layers import tarformat
from imagekit.layers.errors import LayerFormatError, LayerLimitError

MAX_SEGMENTS = 1 << 17
_EXTENSION_SEGMENTS = 21
_MAJOR = "GNU.sparse.major"
_MINOR = "GNU.sparse.minor"
_VERSIONS = frozenset(((b"0", b"0"), (b"0", b"1"), (b"1", b"0")))
_BLOCK = tarformat.BLOCK_BYTES
Take = Callable[[int], bytes]


class SparseMap(msgspec.Struct, frozen=True, kw_only=True):
    """Where the stored bytes belong: (offset, length) in order, and the size of the whole file."""

    segments: tuple[tuple[int, int], ...]
    real_size: int

    def check(self, stored_bytes: int) -> None:
        """Refuse a map that overlaps, runs past the end or does not use all stored bytes.

        Raises:
            LayerFormatError: it does.

        """
        end = 0
        total = 0
        for offset, length in self.segments:
            if offset < end:
                raise LayerFormatError("the map of a sparse file is not in order")
            end = offset + length
            total += length
        if end > self.real_size or total != stored_bytes or self.real_size >= 1 << 63:
            raise LayerFormatError("the map of a sparse file does not fit its content")

    @classmethod
    def from_gnu_header(cls, block: bytes, take: Take) -> Self:
        """Return the map of an old GNU member; ``take`` reads the blocks that continue it."""
        segments = _gnu_segments(block[386:482])
        more = block[482]
        extensions = 0
        while more:
            extension = take(_BLOCK)
            segments += _gnu_segments(extension[:504])
            more = extension[504]
            extensions += 1  # they may hold fewer parts than they can, even none
            _limit(extensions * _EXTENSION_SEGMENTS)
        return cls(segments=tuple(segments), real_size=_positive(block[483:495]))

    @staticmethod
    def is_in(records: dict[str, bytes]) -> bool:
        """Tell whether PAX records announce a map of a version that is known.

        With another version, or none and no map, the file is an ordinary one, as for Go.
        """
        version = (records.get(_MAJOR, b""), records.get(_MINOR, b""))
        if version == (b"", b""):
            return bool(records.get("GNU.sparse.map"))
        return version in _VERSIONS

    @classmethod
    def from_pax(cls, records: dict[str, bytes], take: Take, stored_bytes: int) -> tuple[Self, int]:
        """Return the map that PAX records describe and how many content bytes it took up."""
        size = records.get("GNU.sparse.size") or records.get("GNU.sparse.realsize")
        used = 0
        if records.get(_MAJOR) == b"1":
            numbers, used = _leading_map(take, stored_bytes)
        else:
            numbers = _listed_map(records)
        segments = tuple(zip(numbers[::2], numbers[1::2], strict=True))
        return cls(segments=segments, real_size=_decimal(size) if size else stored_bytes), used


def _listed_map(records: dict[str, bytes]) -> list[int]:
    """Return the numbers of a PAX 0.x map, which must be as many as announced."""
    listed = records.get("GNU.sparse.map", b"")
    numbers = [_decimal(text) for text in listed.split(b",")] if listed else []
    _limit(len(numbers) // 2)
    if len(numbers) != 2 * _decimal(records.get("GNU.sparse.numblocks", b"")):
        raise LayerFormatError("the map of a sparse file is cut off")
    return numbers


def _gnu_segments(table: bytes) -> list[tuple[int, int]]:
    segments = []
    for at in range(0, len(table), 24):
        if table[at] == 0:
            break
        segments.append((_positive(table[at : at + 12]), _positive(table[at + 12 : at + 24])))
    return segments


def _leading_map(take: Take, stored_bytes: int) -> tuple[list[int], int]:
    """Read a PAX 1.0 map: decimal lines, count first, padded to whole blocks."""
    text = b""
    used = 0
    lines: list[bytes] = []
    wanted = 1
    while len(lines) < wanted:
        used += _BLOCK
        if used > stored_bytes:
            raise LayerFormatError("the map of a sparse file is cut off")
        *complete, text = (text + take(_BLOCK)).split(b"\n")
        lines += complete
        if wanted == 1 and lines:
            count = _decimal(lines[0])
            _limit(count)
            wanted = 1 + 2 * count
        if len(text) > 20 and len(lines) < wanted:
            raise LayerFormatError("bad number in the map of a sparse file")
    return [_decimal(line) for line in lines[1:wanted]], used


def _limit(segments: int) -> None:
    if segments > MAX_SEGMENTS:
        raise LayerLimitError(f"a sparse file has more than {MAX_SEGMENTS} parts")


def _positive(field: bytes) -> int:
    value = tarformat.parse_number(field)
    if value < 0:
        raise LayerFormatError("bad number in the map of a sparse file")
    return value


def _decimal(text: bytes) -> int:
    return tarformat.parse_pax_number("sparse map", text)
