"""Layer blobs in another compression: the same content, verified, under another digest."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from imagekit.base.events import EventSink, TransferEnded, TransferProgress, TransferStarted
from imagekit.base.streams import Readable, VerifiedReader
from imagekit.images.damage import layer_blamed, missing_blob, shown_name
from imagekit.images.local import LocalImage
from imagekit.images.unpack import check_diff_id
from imagekit.layers.compression import open_layer
from imagekit.layers.diff import overlay_changes
from imagekit.layers.limits import Limits
from imagekit.layers.pack import BlobOutput, PackedLayer, pack, repack
from imagekit.oci.descriptor import Descriptor
from imagekit.oci.digest import Digest
from imagekit.oci.image_config import next_chain_id
from imagekit.oci.mediatype import Compression
from imagekit.store.layer_blobs import LayerBlob
from imagekit.store.layout import Store
from imagekit.store.leases import Lease


class LayerJob(msgspec.Struct, frozen=True, kw_only=True):
    """A layer of an image and its place there."""

    image: LocalImage
    layer: Descriptor
    diff_id: Digest
    parent_chain_id: Digest | None


class Recompressed(msgspec.Struct, frozen=True, kw_only=True):
    """What a layer became; ``reused`` if such a blob was there already."""

    diff_id: Digest
    source: Descriptor
    digest: Digest
    size: int
    reused: bool


class Recompressor:
    """Makes blobs of one compression; may be used from several threads."""

    def __init__(
        self,
        store: Store,
        lease: Lease,
        *,
        compression: Compression,
        level: int | None,
        force: bool,
        limits: Limits | None,
        events: EventSink,
    ) -> None:
        self._store = store
        self._lease = lease
        self._compression = compression
        self._level = level
        self._force = force
        self._limits = limits
        self._events = events
        self.cancelled = threading.Event()

    def convert(self, job: LayerJob) -> Recompressed:
        """Return the layer in the wanted compression, stored.

        Both digests of what is read and both of what is written are made and compared in one pass.

        Raises:
            BlobMissingError: neither its blob nor what it was unpacked to is here.
            DiffIdMismatchError: it holds another content than the config promises.
            CorruptionError, LayerLimitError: as from ``unpack``.

        """
        layer = job.layer
        with self._told(layer):
            known = None if self._force else self._known(job)
            if known is not None:
                self._events(TransferEnded(name=layer.digest.short, skipped="already there"))
                return self._result(job, known.digest, known.size, reused=True)
            with self._store.blobs.writer() as writer, layer_blamed(self._store, job.image, layer):
                packed = self._pack(job, writer)
                check_diff_id(packed.diff_id, job.diff_id)
                self._lease.add("blob", str(packed.digest))
                writer.commit()
            self._store.layers.record(
                diff_id=packed.diff_id,
                digest=packed.digest,
                compression=self._compression,
                size=packed.size,
                uncompressed_size=packed.uncompressed_size,
            )
            self._events(TransferEnded(name=layer.digest.short))
            return self._result(job, packed.digest, packed.size, reused=False)

    def _known(self, job: LayerJob) -> LayerBlob | None:
        """Return a blob of the same content and the wanted compression, its own one first."""
        blobs = self._store.layers.blobs_of(job.diff_id)
        blobs.sort(key=lambda blob: blob.digest != job.layer.digest)
        for blob in blobs:
            if blob.compression is self._compression:
                self._lease.add("blob", str(blob.digest))
                if self._store.blobs.refresh(blob.digest):
                    return blob
        return None

    def _pack(self, job: LayerJob, output: BlobOutput) -> PackedLayer:
        if self._store.blobs.has(job.layer.digest):
            return self._from_blob(job.layer, output)
        return self._from_snapshot(job, output)

    def _from_blob(self, layer: Descriptor, output: BlobOutput) -> PackedLayer:
        with self._store.blobs.open(layer.digest) as blob:
            counted = _Counted(blob, lambda count: self._advance(layer, count))
            verified = VerifiedReader(counted, digest=str(layer.digest), size=layer.size)
            _, plain = open_layer(verified, limits=self._limits)
            packed = repack(plain, output, compression=self._compression, level=self._level)
            verified.finish()
            return packed

    def _from_snapshot(self, job: LayerJob, output: BlobOutput) -> PackedLayer:
        """Pack what the layer was unpacked to; the content decides whether that is the layer."""
        parent = job.parent_chain_id
        chain_id = next_chain_id(parent, job.diff_id)
        self._lease.add("chain", str(chain_id))
        snapshot = self._store.snapshots.get(chain_id)
        missing = missing_blob(job.layer.digest, shown_name(job.image.name, job.image.id))
        if snapshot is None:
            raise missing
        lowerdirs = self._store.snapshots.lowerdirs(parent) if parent else ()
        packed = pack(
            overlay_changes(snapshot.fs, lowerdirs),
            output,
            compression=self._compression,
            level=self._level,
        )
        if packed.diff_id != job.diff_id:  # another program's archive says the same in other bytes
            raise missing
        return packed

    def _advance(self, layer: Descriptor, count: int) -> None:
        if self.cancelled.is_set():
            raise CancelledError
        self._events(TransferProgress(name=layer.digest.short, advance_bytes=count))

    @contextmanager
    def _told(self, layer: Descriptor) -> Iterator[None]:
        if self.cancelled.is_set():
            raise CancelledError
        name = layer.digest.short
        self._events(TransferStarted(name=name, total_bytes=layer.size, verb="converting"))
        yield

    @staticmethod
    def _result(job: LayerJob, digest: Digest, size: int, *, reused: bool) -> Recompressed:
        return Recompressed(
            diff_id=job.diff_id, source=job.layer, digest=digest, size=size, reused=reused
        )


class CancelledError(Exception):
    """Another layer has failed; only its error is told."""


class _Counted:
    """A reader that tells how much was read."""

    def __init__(self, source: Readable, advance: Callable[[int], None]) -> None:
        self._source = source
        self._advance = advance

    def read(self, size: int = -1, /) -> bytes:
        data = self._source.read(size)
        self._advance(len(data))
        return data
