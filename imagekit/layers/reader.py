"""A tar stream to entries, with limits on everything that the stream may claim.

What is read: V7, ustar, PAX, GNU long names and links, star prefixes, base-256 numbers and the
sparse formats of ``sparse``; ``header`` says what wins over what. Where an archive ends and what
counts in it is decided as by Go's archive/tar (docker, containerd, BuildKit):

* Two blocks of zeros end it, and so does the end of the stream, with or without one such block.
  One block of zeros with something after it is an error (GNU tar stops there with a warning).
* What follows the end is read, for digests, and ignored: an archive behind another does not count.
* A PAX global header (type ``g``) is passed over and forgets what stands before it.
* Only regular files have content, whatever size the header of a link or directory claims.

Beyond Go, GNU tar's directories of incremental dumps (``D``) and volume labels (``V``) are read.
"""

import os
import sys
from collections.abc import Callable, Iterator
from itertools import chain

import msgspec

from imagekit.base.streams import Readable
from imagekit.layers import tarformat
from imagekit.layers.entry import Entry, EntryType
from imagekit.layers.errors import (
    LayerError,
    LayerFormatError,
    LayerLimitError,
    LayerTruncatedError,
    shown,
)
from imagekit.layers.header import Fields, Pax, full_name
from imagekit.layers.holes import SMALLEST_HOLE_BYTES, write_all, write_pieces, zeros
from imagekit.layers.limits import Limits, check
from imagekit.layers.sparse import SparseMap

CHUNK_BYTES = 1 << 17
"""Larger buffers are new memory for the allocator each time, and the kernel clears it each time."""
_BLOCK = tarformat.BLOCK_BYTES
# What os.fsdecode looks up every time.
_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()

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
_CONTINUED = b"M"  # GNU multi-volume


class TarReader:
    """Iterate over the entries of an uncompressed tar stream.

    An entry's ``content`` can be read once, before the next entry is asked for; what is not read
    is skipped. Paths come as they are in the archive but for trailing slashes: **they are not
    safe to use as they are**. After the last entry the rest of the stream is read to its end, so
    that a digest of the whole stream can be checked.

    ``skip`` passes over so many bytes of a stream that can seek. Then content that nobody asks for
    is not read, what follows the end is not read, and a cut-off content is not noticed.
    ``what`` the stream is stands in the errors.

    Raises:
        LayerFormatError: the stream is not tar, or is cut off.
        LayerLimitError: a limit was reached.

    """

    def __init__(
        self,
        stream: Readable,
        *,
        limits: Limits | None = None,
        skip: Callable[[int], object] | None = None,
        what: str = "layer",
    ) -> None:
        self._stream = stream
        self._skip_stream = skip
        self._what = what
        self._limits = limits or Limits()
        self._buffer = b""
        self._at = 0
        self._content_left = 0  # of the current entry, with padding
        self._padding = 0
        self._path = ""  # of the entry that was read last
        self._block = b""  # the header of the entry being read
        self._pax: Pax = {}
        self._long_name = b""
        self._long_link = b""
        self.entries = 0
        self.unpacked_bytes = 0

    def __iter__(self) -> Iterator[Entry]:
        try:
            while (entry := self._next()) is not None:
                yield entry
            self._drain()
        except LayerError as error:
            raise self._named(error) from error

    def _next(self) -> Entry | None:
        while True:
            if self._content_left:
                self._skip(self._content_left)
                self._content_left = 0
            self._block = b""
            block = self._take_header()
            if block is None:
                if self._pax or self._long_name or self._long_link:
                    raise LayerTruncatedError("the tar archive ends after an extended header")
                return None
            kind = block[156:157]
            if kind in _TYPES:
                self._block = block
                header = Fields(block, self._pax, self._long_name, self._long_link)
                entry = self._entry(header, block)
                if self._pax or self._long_name or self._long_link:
                    self._forget()
                return entry
            if kind in _EXTENDED:
                self._pax = tarformat.parse_pax(self._take_extension(block))
            elif kind == b"L":
                self._long_name = self._take_extension(block).partition(b"\0")[0]
            elif kind == b"K":
                self._long_link = self._take_extension(block).partition(b"\0")[0]
            elif kind in _SKIPPED:
                self._content_left = _padded(self._size(block))
                self._forget()
            elif kind == _CONTINUED:
                raise LayerFormatError(
                    "this is not the first volume of a multi-volume archive",
                    hint="Unpack all volumes with GNU tar and pack them again as one archive.",
                )
            else:
                self._block = block
                raise LayerFormatError(f"unknown tar member type {kind!r}")

    def _forget(self) -> None:
        self._pax = {}
        self._long_name = self._long_link = b""

    def _take_header(self) -> bytes | None:
        block = self._take(_BLOCK, at_end=True)
        if not block:
            return None
        if block == tarformat.ZERO_BLOCK:
            second = self._take(_BLOCK, at_end=True)
            if not second or second == tarformat.ZERO_BLOCK:
                return None
            raise LayerFormatError("a lone block of zeros stands in the middle of the tar archive")
        if len(block) != _BLOCK:
            raise LayerTruncatedError("the tar archive ends in the middle of a header")
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

    def _entry(self, header: Fields, block: bytes) -> Entry:
        limits = self._limits
        kind = header.kind
        entry_type = _TYPES[kind]
        if kind == b"\0" and header.name.endswith(b"/"):
            entry_type = EntryType.DIRECTORY  # V7 had no type for directories
        size = 0
        content: ArchiveContent | None = None
        if entry_type is EntryType.REGULAR:
            content, size = self._content(block, header)
        elif kind == b"D":
            self._content_left = _padded(header.size)
        elif header.is_sparse:
            raise LayerFormatError("only a regular file can be sparse")
        name = header.name
        if name.endswith(b"/"):
            name = name.rstrip(b"/") or b"/"
        check(header, name, limits)
        self.entries += 1
        self.unpacked_bytes += size
        if self.entries > limits.entries:
            raise LayerLimitError(f"the archive has more than {limits.entries} entries")
        if self.unpacked_bytes > limits.unpacked_bytes:
            raise LayerLimitError(f"the archive unpacks to more than {limits.unpacked_bytes} bytes")
        self._path = path = name.decode(_ENCODING, _ERRORS)
        return Entry(
            path=path,
            type=entry_type,
            mode=header.mode,
            uid=header.uid,
            gid=header.gid,
            mtime_ns=header.mtime_ns,
            size=size,
            link=header.link.decode(_ENCODING, _ERRORS) if header.link else "",
            device=header.device,
            xattrs=header.xattrs,
            content=content,
        )

    def _named(self, error: LayerError) -> LayerError:
        """Return the error with the place in the archive where it happened."""
        if block := self._block:
            name = self._long_name or self._pax.get("path") or full_name(block)
            where = f"in {self._what} entry {shown(os.fsdecode(name))}: "
        elif self._path:
            where = f"after {self._what} entry {shown(self._path)}: "
        else:
            return error
        return type(error)(where + error.message, hint=error.hint)

    def _content(self, block: bytes, header: Fields) -> tuple["ArchiveContent", int]:
        stored = header.size
        self._content_left = _padded(stored)
        self._padding = self._content_left - stored
        sparse: SparseMap | None = None
        if header.kind == b"S":
            if header.magic != tarformat.GNU:
                raise LayerFormatError("a sparse file of an unknown format (star's?)")
            sparse = SparseMap.from_gnu_header(block, self._take)
        elif header.is_sparse:
            header.name = self._pax.get("GNU.sparse.name") or header.name
            sparse, used = SparseMap.from_pax(self._pax, self._take, stored)
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
                raise self._named(
                    LayerTruncatedError("the tar archive ends in the middle of a file")
                )
        else:
            data = self._buffer[start : start + wanted]
            self._at = start + len(data)
        self._content_left -= len(data)
        return data

    @property
    def ahead_bytes(self) -> int:
        """How many bytes of the stream were read beyond the place that the reader has reached."""
        return len(self._buffer) - self._at

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
                raise LayerTruncatedError("the tar archive ends in the middle of a member")
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
        if self._skip_stream is not None:
            self._skip_stream(size)
            return
        while size > 0:
            piece = self._stream.read(min(size, CHUNK_BYTES))
            if not piece:
                if size <= self._padding:
                    return  # as Go does: all of the content was there
                raise LayerTruncatedError("the tar archive ends in the middle of a file")
            size -= len(piece)

    def _drain(self) -> None:
        if self._skip_stream is not None:
            return
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

    @property
    def is_sparse(self) -> bool:
        """Tell whether the archive holds parts of the file only."""
        return self.sparse is not None

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
            piece = self.reader.read_content(self.number, min(size, CHUNK_BYTES))
            if len(piece) == size < SMALLEST_HOLE_BYTES:  # most files: no generators for them
                write_all(fd, piece)
            else:
                write_pieces(fd, chain((piece,), self._stored(size - len(piece))))
            return
        for offset, length in self.sparse.segments:
            os.lseek(fd, offset, os.SEEK_SET)
            write_pieces(fd, self._stored(length))
        os.ftruncate(fd, size)

    def _stored(self, size: int) -> Iterator[bytes]:
        while size > 0:
            data = self.reader.read_content(self.number, min(size, CHUNK_BYTES))
            if not data:
                raise LayerTruncatedError("a file in the tar archive is shorter than it says")
            size -= len(data)
            yield data


def _padded(size: int) -> int:
    return size + -size % _BLOCK
