"""Entries to a layer blob, with both of its digests from one pass."""

import hashlib
from collections.abc import Iterable
from types import TracebackType
from typing import Protocol, Self

import msgspec

from imagekit.base.streams import Readable, Writable, copy_stream
from imagekit.layers.compression import compressor
from imagekit.layers.entry import Entry
from imagekit.layers.gzipblocks import MAX_THREADS
from imagekit.layers.pipeline import ThreadedWriter
from imagekit.layers.write import LayerWriter
from imagekit.linux.cpus import usable_cpus
from imagekit.oci.digest import Digest
from imagekit.oci.mediatype import Compression


class BlobOutput(Writable, Protocol):
    """An output that digests what it is given, as the writer of a blob in a store does."""

    @property
    def digest(self) -> Digest:
        """The digest of what has been written so far."""
        ...

    @property
    def written_bytes(self) -> int:
        """How much has been written so far."""
        ...


class PackedLayer(msgspec.Struct, frozen=True, kw_only=True):
    """What was written: ``diff_id`` and ``uncompressed_size`` are of the tar stream itself."""

    diff_id: Digest
    digest: Digest
    size: int
    uncompressed_size: int


def layers_at_once() -> int:
    """Return how many layers to pack at the same time: the processors, up to 8 for the memory."""
    return min(usable_cpus(), MAX_THREADS)


def pack(
    entries: Iterable[Entry],
    blob_output: BlobOutput,
    *,
    compression: Compression,
    level: int | None = None,
    clamp_mtime: int | None = None,
    nanoseconds: bool = False,
) -> PackedLayer:
    """Write ``entries`` as a layer blob to ``blob_output``, which is not closed.

    Memory stays at some MiB whatever the size. For more than about a MiB the digest of the blob
    is made in a second thread and the compression in as many as there are processors (``threads``
    of ``compressor``), so ``blob_output`` is then written from that second thread (never from two
    at a time, and never after this function has returned or raised). The bytes do not depend on
    the number of threads. ``clamp_mtime`` and ``nanoseconds`` as in ``write_layer``.

    Raises:
        LayerError: from reading the entries; what ``blob_output`` raises passes through.

    """
    with _Packing(blob_output, compression, level) as packing:
        writer = LayerWriter(packing.plain, clamp_mtime=clamp_mtime, nanoseconds=nanoseconds)
        for entry in entries:
            writer.add(entry)
        writer.finish()
    return packing.result()


def repack(
    plain: Readable,
    blob_output: BlobOutput,
    *,
    compression: Compression,
    level: int | None = None,
) -> PackedLayer:
    """Write a layer's tar stream to ``blob_output`` as ``pack`` does; to the end of ``plain``.

    What ``plain`` and ``blob_output`` raise passes through.
    """
    with _Packing(blob_output, compression, level) as packing:
        copy_stream(plain, packing.plain.write)
    return packing.result()


class _Packing:
    """A blob in the making; ``plain`` takes the tar stream."""

    def __init__(
        self, blob_output: BlobOutput, compression: Compression, level: int | None
    ) -> None:
        self._blob_output = blob_output
        self._compressor = compressor(compression, blob_output, level)
        self._threaded = ThreadedWriter(self._compressor)
        # An uncompressed blob is the tar stream: hashing it once is enough.
        is_plain = compression is Compression.NONE
        self._digesting = None if is_plain else DigestingWriter(self._threaded)
        self.plain: Writable = self._digesting or self._threaded

    def __enter__(self) -> Self:
        self._threaded.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._threaded.__exit__(kind, error, traceback)
            if kind is None:
                self._compressor.close()
        finally:
            self._compressor.abort()

    def result(self) -> PackedLayer:
        content = self._digesting or self._blob_output
        return PackedLayer(
            diff_id=content.digest,
            digest=self._blob_output.digest,
            size=self._blob_output.written_bytes,
            uncompressed_size=content.written_bytes,
        )


def diff_digest(
    entries: Iterable[Entry], *, clamp_mtime: int | None = None, nanoseconds: bool = False
) -> tuple[Digest, int]:
    """Return the diff ID that ``pack`` would give, and the size of the tar stream."""
    plain = DigestingWriter(None)
    writer = LayerWriter(plain, clamp_mtime=clamp_mtime, nanoseconds=nanoseconds)
    for entry in entries:
        writer.add(entry)
    writer.finish()
    return plain.digest, plain.written_bytes


class DigestingWriter:
    """Hashes and counts what passes on its way to ``output``, if there is one."""

    def __init__(self, output: Writable | None) -> None:
        self._output = output
        self._hash = hashlib.sha256()
        self.written_bytes = 0

    def write(self, data: bytes, /) -> None:
        """Take all of ``data``."""
        if self._output is not None:
            self._output.write(data)  # first, so that a second thread can begin with it
        self._hash.update(data)
        self.written_bytes += len(data)

    @property
    def digest(self) -> Digest:
        """The digest of what has been written so far."""
        return Digest("sha256", self._hash.hexdigest())
