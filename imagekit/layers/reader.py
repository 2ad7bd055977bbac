"""A tar stream to entries, with limits on everything that the stream may claim.

What is read: V7, ustar, PAX, GNU long names and links, star prefixes, base-256 numbers and the
sparse formats of ``sparse``. PAX global headers are skipped, as Go's archive/tar (and with it
docker and containerd) does: a layer must mean the same everywhere.
"""

import os
from collections.abc import Iterator

import msgspec

from imagekit.base.streams import Readable
from imagekit.layers import tarformat
from imagekit.layers.entry import Entry, EntryType
from imagekit.layers.errors import LayerFormatError, LayerLimitError
from imagekit.layers.holes import write_pieces, zeros
from imagekit.layers.sparse import SparseMap

CHUNK_BYTES = 1 << 20
_BLOCK = tarformat.BLOCK_BYTES
_SECOND_NS = 1_000_000_000
_MAX_ID = 0xFFFFFFFE
_XATTR_PREFIX = "SCHILY.xattr."
_PAX_NUMBERS = frozenset(("size", "uid", "gid"))
_MODE_BITS = 0o7777

_TYPES = {
    b"0": EntryType.REGULAR,
    b"\0": EntryType.REGULAR,
    b"7": EntryType.REGULAR,  # "contiguous", never seen to differ
    b"S": EntryType.REGULAR,  # GNU sparse
    b"1": EntryType.HARDLINK,
    b"2": EntryType.SYMLINK,
    b"3": EntryType.CHARACTER,
    b"4": EntryType.BLOCK,
    b"5": EntryType.DIRECTORY,
    b"D": EntryType.DIRECTORY,  # GNU incremental dump: a directory with a listing as content
    b"6": EntryType.FIFO,
}
_EXTENDED = frozenset((b"x", b"X"))  # POSIX, Solaris
_SKIPPED = frozenset((b"g", b"V"))  # PAX global header, GNU volume label


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much an archive may ask for. The defaults stop bombs, not images."""

    entries: int = 10_000_000
    unpacked_bytes: int = 1 << 40
    header_bytes: int = 1 << 20
    """Of one PAX header, which also carries extended attributes."""
    path_bytes: int = 4096
    """Of a name or link target; PATH_MAX, since the kernel takes no longer one."""


class TarReader:
    """Iterate over the entries of an uncompressed tar stream.

    An entry's ``content`` can be read once, before the next entry is asked for; what is not read
    is skipped. Paths come as they are in the archive but for trailing slashes: **they are not
    safe to use as they are**. After the last entry the rest of the stream is read to its end, so
    that a digest of the whole stream can be checked.

    Raises:
        LayerFormatError: the stream is not tar, or is cut off.
        LayerLimitError: a limit was reached.

    """

    def __init__(self, stream: Readable, *, limits: Limits | None = None) -> None:
        self._stream = stream
        self._limits = limits or Limits()
        self._buffer = b""
        self._at = 0
        self._content_left = 0  # of the current entry, with padding
        self._padding = 0
        self.entries = 0
        self.unpacked_bytes = 0

    def __iter__(self) -> Iterator[Entry]:
        while (entry := self._next()) is not None:
            yield entry
        self._drain()

    def _next(self) -> Entry | None:
        long_name = long_link = None
        pax: list[tuple[str, bytes]] = []
        while True:
            if self._content_left:
                self._skip(self._content_left)
                self._content_left = 0
            block = self._take_header()
            if block is None:
                if pax or long_name or long_link:
                    raise LayerFormatError("the tar archive ends after an extended header")
                return None
            kind = block[156:157]
            if kind in _TYPES:
                return self._entry(block, pax, long_name, long_link)
            if kind in _EXTENDED:
                pax = tarformat.parse_pax(self._take_extension(block))
            elif kind == b"L":
                long_name = self._take_extension(block).partition(b"\0")[0]
            elif kind == b"K":
                long_link = self._take_extension(block).partition(b"\0")[0]
            elif kind in _SKIPPED:
                self._content_left = _padded(self._size(block))
            else:
                raise LayerFormatError(f"unknown tar member type {kind!r}")

    def _take_header(self) -> bytes | None:
        block = self._take(_BLOCK, at_end=True)
        if block == tarformat.ZERO_BLOCK or not block:
            return None
        if len(block) != _BLOCK:
            raise LayerFormatError("the tar archive ends in the middle of a header")
        if not tarformat.is_header(block):
            raise LayerFormatError("not a tar header (wrong checksum)")
        return block

    def _size(self, block: bytes) -> int:
        size = tarformat.parse_number(block[124:136])
        if size < 0 or size >= 1 << 63:
            raise LayerFormatError("bad size in a tar header")
        return size

    def _take_extension(self, block: bytes) -> bytes:
        size = self._size(block)
        if size > self._limits.header_bytes:
            raise LayerLimitError(
                f"an extended tar header has {size} bytes (limit {self._limits.header_bytes})"
            )
        return self._take(_padded(size))[:size]

    def _entry(
        self,
        block: bytes,
        pax: list[tuple[str, bytes]],
        long_name: bytes | None,
        long_link: bytes | None,
    ) -> Entry:
        (name, mode, uid, gid, _, mtime, _, kind, link, magic, _, _, major, minor, prefix, pad) = (
            tarformat.HEADER.unpack(block)
        )
        name = name.partition(b"\0")[0]
        link = link.partition(b"\0")[0]
        if magic == tarformat.MAGIC_POSIX:
            if pad[8:] == b"tar\0":
                prefix = prefix[:131]
            if prefix[0]:
                name = prefix.partition(b"\0")[0] + b"/" + name
        values = _Values(
            name=name if long_name is None else long_name,
            link=link if long_link is None else long_link,
            uid=tarformat.parse_number(uid),
            gid=tarformat.parse_number(gid),
            mtime_ns=tarformat.parse_number(mtime) * _SECOND_NS,
            size=self._size(block),
        )
        entry_type = _TYPES[kind]
        if pax:
            values.override(pax)
        return self._finish(block, values, entry_type, mode, (major, minor))

    def _finish(
        self,
        block: bytes,
        values: "_Values",
        entry_type: EntryType,
        mode: bytes,
        device: tuple[bytes, bytes],
    ) -> Entry:
        limits = self._limits
        name = values.name
        if name.endswith(b"/"):
            if entry_type is EntryType.REGULAR and block[156:157] != b"S":
                entry_type = EntryType.DIRECTORY  # V7 had no type for directories
            name = name.rstrip(b"/") or b"/"
        if len(name) > limits.path_bytes or len(values.link) > limits.path_bytes:
            raise LayerLimitError(f"a name in the archive is longer than {limits.path_bytes} bytes")
        if not name or b"\0" in name or b"\0" in values.link:
            raise LayerFormatError("a tar member has an empty name or a NUL in it")
        if not (0 <= values.uid <= _MAX_ID and 0 <= values.gid <= _MAX_ID):
            raise LayerFormatError(f"owner {values.uid}:{values.gid} is not a pair of 32-bit ids")
        if abs(values.mtime_ns) >= _SECOND_NS << 62:
            raise LayerFormatError("bad time in a tar header")
        size = 0
        content: ArchiveContent | None = None
        if entry_type is EntryType.REGULAR:
            content, size = self._content(block, values)
        elif block[156:157] == b"D":
            self._content_left = _padded(values.size)
        self.entries += 1
        self.unpacked_bytes += size
        if self.entries > limits.entries:
            raise LayerLimitError(f"the archive has more than {limits.entries} entries")
        if self.unpacked_bytes > limits.unpacked_bytes:
            raise LayerLimitError(f"the archive unpacks to more than {limits.unpacked_bytes} bytes")
        numbers = (0, 0)
        if entry_type is EntryType.CHARACTER or entry_type is EntryType.BLOCK:
            numbers = (tarformat.parse_number(device[0]), tarformat.parse_number(device[1]))
            if not (0 <= numbers[0] < 1 << 12 and 0 <= numbers[1] < 1 << 20):
                raise LayerFormatError(f"bad device number {numbers[0]}:{numbers[1]}")
        return Entry(
            path=os.fsdecode(name),
            type=entry_type,
            mode=tarformat.parse_number(mode) & _MODE_BITS,
            uid=values.uid,
            gid=values.gid,
            mtime_ns=values.mtime_ns,
            size=size,
            link=os.fsdecode(values.link) if values.link else "",
            device=numbers,
            xattrs=values.xattrs,
            content=content,
        )

    def _content(self, block: bytes, values: "_Values") -> tuple["ArchiveContent", int]:
        stored = values.size
        self._content_left = _padded(stored)
        self._padding = self._content_left - stored
        sparse: SparseMap | None = None
        if block[156:157] == b"S":
            sparse = SparseMap.from_gnu_header(block, self._take)
        elif values.sparse:
            sparse, used = SparseMap.from_pax(values.sparse, self._take, stored)
            self._content_left -= used
            stored -= used
        if sparse is not None:
            sparse.check(stored)
        return ArchiveContent(self, self.entries + 1, sparse), (
            stored if sparse is None else sparse.real_size
        )

    def read_content(self, number: int, size: int) -> bytes:
        """Return up to ``size`` bytes of the current entry's stored content, b"" at its end."""
        if number != self.entries:
            raise ValueError("the content of an earlier entry is gone")
        left = self._content_left - self._padding
        if left <= 0:
            return b""
        wanted = min(size, left)
        start = self._at
        here = len(self._buffer) - start
        if here == 0:
            data = self._stream.read(wanted)
            if not data:
                raise LayerFormatError("the tar archive ends in the middle of a file")
        else:
            data = self._buffer[start : start + wanted]
            self._at = start + len(data)
        self._content_left -= len(data)
        return data

    def _take(self, size: int, *, at_end: bool = False) -> bytes:
        """Return exactly ``size`` bytes; at the end of the stream fewer if ``at_end``."""
        start = self._at
        stop = start + size
        buffer = self._buffer
        if stop <= len(buffer):
            self._at = stop
            return buffer[start:stop]
        pieces = [buffer[start:]]
        have = len(pieces[0])
        while have < size:
            piece = self._stream.read(CHUNK_BYTES)
            if not piece:
                if at_end:
                    break
                raise LayerFormatError("the tar archive ends in the middle of a member")
            pieces.append(piece)
            have += len(piece)
        self._buffer = b"".join(pieces)
        self._at = min(size, have)
        return self._buffer[:size]

    def _skip(self, size: int) -> None:
        here = len(self._buffer) - self._at
        if size <= here:
            self._at += size
            return
        size -= here
        self._buffer, self._at = b"", 0
        while size > 0:
            piece = self._stream.read(min(size, CHUNK_BYTES))
            if not piece:
                raise LayerFormatError("the tar archive ends in the middle of a file")
            size -= len(piece)

    def _drain(self) -> None:
        self._buffer, self._at = b"", 0
        total = 0
        while piece := self._stream.read(CHUNK_BYTES):
            total += len(piece)
            if total > self._limits.unpacked_bytes:
                raise LayerLimitError("too many bytes follow the end of the archive")


class ArchiveContent(msgspec.Struct, frozen=True):
    """Content that stands in a stream: to be read once, in order, before the next entry."""

    reader: TarReader
    number: int
    sparse: SparseMap | None

    def chunks(self, size: int) -> Iterator[bytes]:
        """Yield the file's bytes, holes as zeros."""
        if self.sparse is None:
            yield from self._stored(size)
            return
        at = 0
        for offset, length in self.sparse.segments:
            yield from zeros(offset - at)
            yield from self._stored(length)
            at = offset + length
        yield from zeros(size - at)

    def write_to(self, fd: int, size: int) -> None:
        """Write the file's bytes to the empty file ``fd``; holes and runs of zeros stay holes."""
        if self.sparse is None:
            write_pieces(fd, self._stored(size))
            return
        for offset, length in self.sparse.segments:
            os.lseek(fd, offset, os.SEEK_SET)
            write_pieces(fd, self._stored(length))
        os.ftruncate(fd, size)

    def _stored(self, size: int) -> Iterator[bytes]:
        while size > 0:
            data = self.reader.read_content(self.number, min(size, CHUNK_BYTES))
            if not data:
                raise LayerFormatError("a file in the tar archive is shorter than it says")
            size -= len(data)
            yield data


class _Values:
    """Those fields of a header that a PAX header can override."""

    __slots__ = ("gid", "link", "mtime_ns", "name", "size", "sparse", "uid", "xattrs")

    def __init__(
        self, *, name: bytes, link: bytes, uid: int, gid: int, mtime_ns: int, size: int
    ) -> None:
        self.name = name
        self.link = link
        self.uid = uid
        self.gid = gid
        self.mtime_ns = mtime_ns
        self.size = size
        self.xattrs: tuple[tuple[str, bytes], ...] = ()
        self.sparse: list[tuple[str, bytes]] = []

    def override(self, records: list[tuple[str, bytes]]) -> None:
        """Apply PAX records; a later one of the same key wins, an empty one means nothing."""
        xattrs: dict[str, bytes] = {}
        for key, value in records:
            if key.startswith(_XATTR_PREFIX):
                xattrs[key[len(_XATTR_PREFIX) :]] = value
            elif key.startswith("GNU.sparse."):
                self.sparse.append((key, value))
            elif not value:
                continue
            elif key == "path":
                self.name = value
            elif key == "linkpath":
                self.link = value
            elif key in _PAX_NUMBERS:
                setattr(self, key, tarformat.parse_pax_number(key, value))
            elif key == "mtime":
                self.mtime_ns = tarformat.parse_pax_time(value)
        if self.size >= 1 << 63:
            raise LayerFormatError("bad size in an extended tar header")
        for key, value in self.sparse:
            if key == "GNU.sparse.name" and value:
                self.name = value
        if xattrs:
            self.xattrs = tuple(sorted(xattrs.items()))


def _padded(size: int) -> int:
    return size + -size % _BLOCK
