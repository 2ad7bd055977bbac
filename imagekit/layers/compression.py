"""Layer compression: recognised by magic when read, reproducible when written.

gzip and zstd run in C libraries that release the GIL. Every reader follows concatenated members
and frames, gives at most the bytes asked for (a bomb costs time, not memory) and turns truncation
and corruption into ``LayerFormatError``.
"""

from collections.abc import Callable, Mapping
from typing import Protocol, cast

from imagekit.base.streams import Readable, Writable
from imagekit.layers.bounded import CountingReader, LimitedReader
from imagekit.layers.errors import LayerCompressionError, LayerLevelError, LayerTruncatedError
from imagekit.layers.gzipblocks import MAX_THREADS, BlockGzip
from imagekit.layers.limits import Limits
from imagekit.layers.zstdframes import FrameWatch
from imagekit.linux.cpus import usable_cpus
from imagekit.oci.mediatype import Compression

INPUT_BYTES = 1 << 18
XZ_MEMORY_BYTES = 100 << 20
"""Enough for ``xz -9`` (65 MiB); a larger dictionary is an error instead of an eaten machine."""

GZIP_LEVEL = 2
"""Of ISA-L, 0 to 3. On a minimal Debian it is 4.3 times as fast as ``gzip -1``, for 1.3 % more
bytes; 3 is 1.7 times as fast, for 1 % fewer (tests/benchmarks/bench_layers.py)."""

ZSTD_LEVEL = 3

LEVELS: Mapping[Compression, range] = {
    Compression.NONE: range(0),
    Compression.GZIP: range(4),
    Compression.ZSTD: range(1, 23),
}

_LAST_WITH_8_MIB = 19
_WINDOW_LOG = 23
"""8 MiB, which every decoder of zstd should bear (RFC 8878, section 3.1.1.1.2). Levels above 19
would look back up to 128 MiB."""


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

    def abort(self) -> None:
        """End the threads and write nothing more; harmless after ``close``."""
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


def open_layer(raw: Readable, *, limits: Limits | None = None) -> tuple[str, Readable]:
    """Return the name of the compression of ``raw`` and a reader of its plain bytes.

    Names are ``none gzip zstd bzip2 xz`` (comparable with ``Compression``). Errors of a corrupt
    stream come from the reader, as ``LayerFormatError``, those of a bomb as ``LayerLimitError``.
    """
    packed = CountingReader(raw)
    name, plain = _open(packed)
    return name, LimitedReader(plain, packed, limits or Limits())


def _open(raw: Readable) -> tuple[str, Readable]:
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


def check_level(kind: Compression, level: int | None) -> None:
    """Raise LayerLevelError if ``kind`` does not have this level."""
    levels = LEVELS[kind]
    if level is None or level in levels:
        return
    if not levels:
        raise LayerLevelError("what is not compressed has no level", hint="Leave the level out.")
    raise LayerLevelError(
        f"{kind} has no level {level}", hint=f"Choose one from {levels[0]} to {levels[-1]}."
    )


def compressor(
    kind: Compression, output: Writable, level: int | None = None, *, threads: int | None = None
) -> Compressor:
    """Return a compressor to ``output``; equal input gives equal output.

    The work is done by ``threads``, by default as many as there are processors (at most 8), and
    the output does not depend on their number. gzip has no time, no name and no operating system
    in its header. Its bytes are those of the ISA-L of this machine: other versions may pack the
    same content differently.

    Raises:
        LayerLevelError: ``level`` is none of ``LEVELS``.

    """
    check_level(kind, level)
    match kind:
        case Compression.NONE:
            return _Plain(output)
        case Compression.GZIP:
            return BlockGzip(output, GZIP_LEVEL if level is None else level, threads)
        case Compression.ZSTD:
            return _Zstd(output, ZSTD_LEVEL if level is None else level, threads)


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
                    raise LayerTruncatedError(f"the {self._name} stream ends in the middle")
            try:
                data = member.decompress(self._input, size)
            except self._errors as error:
                raise LayerCompressionError(
                    f"the {self._name} stream is corrupt: {error}"
                ) from error
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
            raise LayerCompressionError(f"the zstd stream is corrupt: {error}") from error


class _Plain:
    def __init__(self, output: Writable) -> None:
        self._output = output

    def write(self, data: bytes, /) -> None:
        self._output.write(data)

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


class _Zstd:
    """A frame; with threads zstd cuts the input itself, not depending on how many there are."""

    def __init__(self, output: Writable, level: int, threads: int | None) -> None:
        import zstandard

        self._output = output
        threads = threads or min(usable_cpus(), MAX_THREADS)
        if level <= _LAST_WITH_8_MIB:
            compressor = zstandard.ZstdCompressor(level, write_checksum=True, threads=threads)
        else:
            parameters = zstandard.ZstdCompressionParameters.from_level(
                level, window_log=_WINDOW_LOG, write_checksum=True, threads=threads
            )
            compressor = zstandard.ZstdCompressor(compression_params=parameters)
        self._frame = compressor.compressobj()

    def write(self, data: bytes, /) -> None:
        if packed := self._frame.compress(data):
            self._output.write(packed)

    def close(self) -> None:
        self._output.write(self._frame.flush())

    def abort(self) -> None:
        pass
