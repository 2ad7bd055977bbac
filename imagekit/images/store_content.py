"""The local store as a source and a sink of content."""

from typing import BinaryIO

from imagekit.base.streams import CHUNK_BYTES
from imagekit.images.errors import ImageNotFoundError
from imagekit.oci.content import BlobReader, OpenBlob
from imagekit.oci.descriptor import Descriptor
from imagekit.oci.reference import Reference
from imagekit.store.layout import Store
from imagekit.store.leases import Lease


class StoreContent:
    """Read from and write to a store; what is written is kept alive by ``lease``.

    Implements ``oci.content.ContentSource`` and ``ContentSink``.
    """

    def __init__(self, store: Store, lease: Lease) -> None:
        self._store = store
        self._lease = lease

    def resolve(self, reference: str) -> Descriptor:
        """Return what a local tag names.

        Raises:
            ImageNotFoundError: if nothing has this name.

        """
        name = str(Reference.parse(reference).with_default_tag())
        tagged = self._store.images.get(name)
        if tagged is None:
            raise ImageNotFoundError(f"no local image {reference!r}")
        return tagged.descriptor

    def open(self, descriptor: Descriptor, offset: int = 0) -> BinaryIO:
        """Open a blob at ``offset``; the caller closes it."""
        file = self._store.blobs.open(descriptor.digest)
        file.seek(offset)
        return file

    def has(self, descriptor: Descriptor) -> bool:
        """Tell whether the blob is here; from now on it stays while the lease is held."""
        self._lease.add("blob", str(descriptor.digest))
        return self._store.blobs.has(descriptor.digest)

    def write(self, descriptor: Descriptor, open_source: OpenBlob) -> None:
        """Store a blob, verified, visible only when whole."""
        self._lease.add("blob", str(descriptor.digest))
        with self._store.blobs.writer(descriptor.digest, descriptor.size) as writer:
            source: BlobReader = open_source(0)
            try:
                while data := source.read(CHUNK_BYTES):
                    writer.write(data)
            finally:
                source.close()
            writer.commit()

    def put_document(self, descriptor: Descriptor, raw: bytes) -> None:
        """Store a manifest or index."""
        self._lease.add("blob", str(descriptor.digest))
        with self._store.blobs.writer(descriptor.digest, descriptor.size) as writer:
            writer.write(raw)
            writer.commit()

    def tag(self, descriptor: Descriptor, reference: str) -> None:
        """Make ``reference`` name the document."""
        name = str(Reference.parse(reference).with_default_tag())
        self._store.images.set(name, descriptor)
