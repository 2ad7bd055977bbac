"""Layer compression: recognised by magic when read, reproducible when written.

gzip and zstd run in C libraries that release the GIL. Every reader follows concatenated members
and frames, gives at most the bytes asked for (a bomb costs time, not memory) and turns truncation
and corruption into ``LayerFormatError``.
"""

import struct
from collections.abc import Callable
from typing import Protocol, cast

from imagekit.base.streams import Readable, Writable
from imagekit.layers.errors import LayerFormatError
from imagekit.layers.zstdframes import FrameWatch
from imagekit.oci.mediatype import Compression

INPUT_BYTES = 1 << 18
XZ_MEMORY_BYTES = 100 << 20
"""Enough for ``xz -9`` (65 MiB); a larger dictionary is an error instead of an eaten machine."""

GZIP_LEVEL = 2
ZSTD_LEVEL = 3

BZIP2 = "bzip2"
XZ = "xz"
_MAGICS = (
    (b"\x1f\x8b", Compression.GZIP.value),
    (b"\x28\xb5\x2f\xfd", Compression.ZSTD.value),
    (b"BZh", BZIP2),
    (b"\xfd7zXZ\0", XZ),
)
_SKIPPABLE_FRAME = b"\x2a\x4d\x18"


class Compressor(Protocol):
    """Takes plain bytes and writes packed ones to the output it was made with."""

    def write(self, data: bytes, /) -> object:
        """Take ``data``; some of its packed form may appear in the output later."""
        ...

    def close(self) -> None:
        """Write what is left and the end mark; does not close the output."""
        ...


def sniff(head: bytes) -> str:
    """Return the compression that a stream's first 6 bytes say, "none" when they say nothing."""
    for magic, name in _MAGICS:
        if head.startswith(magic):
            return name
    # zstd:chunked and others may begin with a skippable frame: 0x184D2A5? little endian.
    if head[1:4] == _SKIPPABLE_FRAME and head[0] & 0xF0 == 0x50:
        return Compression.ZSTD.value
    return Compression.NONE.value


def open_layer(raw: Readable) -> tuple[str, Readable]:
    """Return the name of the compression of ``raw`` and a reader of its plain bytes.

    Names are ``none gzip zstd bzip2 xz`` (comparable with ``Compression``). Errors of a corrupt
    stream come from the reader, as ``LayerFormatError``.
    """
    head = b""
    while len(head) < 6 and (piece := raw.read(6 - len(head))):
        head += piece
    source = _Rewound(head, raw)
    name = sniff(head)
    if name == Compression.GZIP:
        from isal import igzip_lib

        error = cast("type[Exception]", igzip_lib.IsalError)  # its stub calls it an instance
        return name, _MemberReader(source, _gzip_member, (error,), name)
    if name == BZIP2:
        import bz2

        return name, _MemberReader(source, bz2.BZ2Decompressor, (OSError, ValueError), name)
    if name == XZ:
        import lzma

        return name, _MemberReader(source, _xz_member, (lzma.LZMAError,), name)
    if name == Compression.ZSTD:
        return name, _ZstdReader(source)
    return name, source


def compressor(kind: Compression, output: Writable, level: int | None = None) -> Compressor:
    """Return a compressor to ``output``; equal input gives equal output.

    gzip has no time, no name and no operating system in its header. Its bytes are those of the
    ISA-L of this machine: other versions may pack the same content differently.
    """
    match kind:
        case Compression.NONE:
            return _Plain(output)
        case Compression.GZIP:
            return _Gzip(output, GZIP_LEVEL if level is None else level)
        case Compression.ZSTD:
            return _Zstd(output, ZSTD_LEVEL if level is None else level)


class _Rewound:
    """A stream with its first bytes put back."""

    def __init__(self, head: bytes, rest: Readable) -> None:
        self._head = head
        self._rest = rest

    def read(self, size: int = -1, /) -> bytes:
        if not self._head:
            return self._rest.read(size)
        if size < 0:
            data, self._head = self._head + self._rest.read(), b""
            return data
        data, self._head = self._head[:size], self._head[size:]
        return data


class _Decompressor(Protocol):
    """What bz2, lzma and isal decompressors of one member have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes: ...


def _gzip_member() -> _Decompressor:
    from isal import igzip_lib

    member: _Decompressor = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
    return member


def _xz_member() -> _Decompressor:
    import lzma

    return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=XZ_MEMORY_BYTES)


class _MemberReader:
    """Members of one format, one after the other, as one stream."""

    def __init__(
        self,
        source: Readable,
        new_member: Callable[[], _Decompressor],
        errors: tuple[type[Exception], ...],
        name: str,
    ) -> None:
        self._errors = errors
        self._source = source
        self._new_member = new_member
        self._name = name
        self._member: _Decompressor | None = new_member()
        self._input = b""

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(INPUT_BYTES), b""))
        if size == 0:
            return b""
        while self._member is not None:
            member = self._member
            if member.eof:
                self._next_member(member.unused_data)
                continue
            if member.needs_input and not self._input:
                self._input = self._source.read(INPUT_BYTES)
                if not self._input:
                    raise LayerFormatError(f"the {self._name} stream ends in the middle")
            try:
                data = member.decompress(self._input, size)
            except self._errors as error:
                raise LayerFormatError(f"the {self._name} stream is corrupt: {error}") from error
            self._input = b""
            if data:
                return data
        return b""

    def _next_member(self, rest: bytes) -> None:
        # Padding of zeros after the last member is common (tapes, tar -z to a block device).
        rest = rest.lstrip(b"\0")
        while not rest:
            piece = self._source.read(INPUT_BYTES)
            if not piece:
                self._member = None
                return
            rest = piece.lstrip(b"\0")
        self._input = rest
        self._member = self._new_member()


class _ZstdReader:
    """Frames of zstd, skippable ones included, as one stream."""

    def __init__(self, source: Readable) -> None:
        import zstandard

        self._error: type[Exception] = zstandard.ZstdError
        self._source = FrameWatch(source)
        self._frames = zstandard.ZstdDecompressor().stream_reader(
            self._source,  # type: ignore[arg-type]  # it needs read(size) only, its stub a whole IO
            read_size=INPUT_BYTES,
            read_across_frames=True,
        )

    def read(self, size: int = -1, /) -> bytes:
        try:
            return self._frames.read(size)
        except self._error as error:
            raise LayerFormatError(f"the zstd stream is corrupt: {error}") from error


class _Plain:
    def __init__(self, output: Writable) -> None:
        self._output = output

    def write(self, data: bytes, /) -> None:
        self._output.write(data)

    def close(self) -> None:
        pass


class _Gzip:
    """A gzip member: magic, deflate, no flags, time 0, no extra flags, unknown system (255)."""

    def __init__(self, output: Writable, level: int) -> None:
        from isal import isal_zlib

        self._output = output
        self._crc32 = isal_zlib.crc32
        self._deflate = isal_zlib.compressobj(level, isal_zlib.DEFLATED, -15)
        self._crc = 0
        self._size = 0
        self._header = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"

    def write(self, data: bytes, /) -> None:
        self._crc = self._crc32(data, self._crc)
        self._size += len(data)
        packed = self._header + self._deflate.compress(data)
        self._header = b""
        if packed:
            self._output.write(packed)

    def close(self) -> None:
        trailer = struct.pack("<II", self._crc, self._size & 0xFFFFFFFF)
        self._output.write(self._header + self._deflate.flush() + trailer)


class _Zstd:
    def __init__(self, output: Writable, level: int) -> None:
        import zstandard

        self._output = output
        self._frame = zstandard.ZstdCompressor(level=level, write_checksum=True).compressobj()

    def write(self, data: bytes, /) -> None:
        if packed := self._frame.compress(data):
            self._output.write(packed)

    def close(self) -> None:
        self._output.write(self._frame.flush())
