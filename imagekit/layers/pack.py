"""Entries to a layer blob, with both of its digests from one pass."""

import hashlib
from collections.abc import Iterable

import msgspec

from imagekit.base.streams import Writable
from imagekit.layers.compression import compressor
from imagekit.layers.entry import Entry
from imagekit.layers.pipeline import ThreadedWriter
from imagekit.layers.write import LayerWriter
from imagekit.oci.digest import Digest
from imagekit.oci.mediatype import Compression


class PackedLayer(msgspec.Struct, frozen=True, kw_only=True):
    """What was written: ``diff_id`` and ``uncompressed_size`` are of the tar stream itself."""

    diff_id: Digest
    digest: Digest
    size: int
    uncompressed_size: int


def pack(
    entries: Iterable[Entry],
    blob_output: Writable,
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
    # An uncompressed blob is the tar stream: hashing it once is enough.
    is_plain = compression is Compression.NONE
    blob = _Digesting(blob_output)
    packer = compressor(compression, blob_output if is_plain else blob, level)
    with ThreadedWriter(packer) as threaded:
        plain = _Digesting(threaded)
        writer = LayerWriter(plain, clamp_mtime=clamp_mtime, nanoseconds=nanoseconds)
        for entry in entries:
            writer.add(entry)
        writer.finish()
    packer.close()
    if is_plain:
        blob = plain
    return PackedLayer(
        diff_id=plain.digest(), digest=blob.digest(), size=blob.size, uncompressed_size=plain.size
    )


def diff_digest(
    entries: Iterable[Entry], *, clamp_mtime: int | None = None, nanoseconds: bool = False
) -> tuple[Digest, int]:
    """Return the diff ID that ``pack`` would give, and the size of the tar stream."""
    plain = _Digesting(None)
    writer = LayerWriter(plain, clamp_mtime=clamp_mtime, nanoseconds=nanoseconds)
    for entry in entries:
        writer.add(entry)
    writer.finish()
    return plain.digest(), plain.size


class _Digesting:
    """Hash and count what passes on its way to ``output``, if there is one."""

    def __init__(self, output: Writable | None) -> None:
        self._output = output
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes, /) -> None:
        if self._output is not None:
            self._output.write(data)  # first, so that a second thread can begin with it
        self._hash.update(data)
        self.size += len(data)

    def digest(self) -> Digest:
        return Digest("sha256", self._hash.hexdigest())
