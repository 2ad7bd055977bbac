"""Entries to a layer blob, with both of its digests from one pass."""

import hashlib
from collections.abc import Iterable
from typing import Protocol

import msgspec

from imagekit.base.streams import Writable
from imagekit.layers.compression import compressor
from imagekit.layers.entry import Entry
from imagekit.layers.pipeline import ThreadedWriter
from imagekit.layers.write import LayerWriter
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

    Memory stays at a few MiB whatever the size. For more than about a MiB the compressor and the
    digest of the blob run in a second thread, so ``blob_output`` is then written from that thread
    (never from two at a time, and never after this function has returned or raised).
    ``clamp_mtime`` and ``nanoseconds`` as in ``write_layer``.

    Raises:
        LayerError: from reading the entries; what ``blob_output`` raises passes through.

    """
    packer = compressor(compression, blob_output, level)
    with ThreadedWriter(packer) as threaded:
        # An uncompressed blob is the tar stream: hashing it once is enough.
        is_plain = compression is Compression.NONE
        plain = None if is_plain else DigestingWriter(threaded)
        writer = LayerWriter(plain or threaded, clamp_mtime=clamp_mtime, nanoseconds=nanoseconds)
        for entry in entries:
            writer.add(entry)
        writer.finish()
    packer.close()
    content = plain or blob_output
    return PackedLayer(
        diff_id=content.digest,
        digest=blob_output.digest,
        size=blob_output.written_bytes,
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
