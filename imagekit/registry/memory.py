"""Content kept in memory: for images made by a program, and for tests."""

import contextlib
import threading

from imagekit.base.streams import CHUNK_BYTES, VerifiedReader
from imagekit.oci.content import BlobReader, OpenBlob
from imagekit.oci.descriptor import Descriptor
from imagekit.oci.digest import Digest
from imagekit.registry.errors import ContentMissingError
from imagekit.registry.requests import BytesReader


class MemoryContent:
    """A source and sink of content in memory. Safe from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._content: dict[Digest, bytes] = {}
        self._tags: dict[str, Descriptor] = {}

    def add(self, data: bytes, media_type: str) -> Descriptor:
        """Keep ``data`` and return its descriptor."""
        digest = Digest.of(data)
        with self._lock:
            self._content[digest] = data
        return Descriptor(media_type=media_type, digest=digest, size=len(data))

    def digests(self) -> frozenset[Digest]:
        """Return what is kept."""
        with self._lock:
            return frozenset(self._content)

    def resolve(self, reference: str) -> Descriptor:
        """Return what was tagged with this text.

        Raises:
            ContentMissingError: if nothing was.

        """
        with self._lock:
            found = self._tags.get(reference)
        if found is None:
            raise ContentMissingError(f"nothing is tagged {reference!r} in memory")
        return found

    def open(self, descriptor: Descriptor, offset: int = 0) -> BlobReader:
        """Open content from an offset on.

        Raises:
            ContentMissingError: if it is not kept.

        """
        with self._lock:
            data = self._content.get(descriptor.digest)
        if data is None:
            raise ContentMissingError(f"{descriptor.digest} is not in memory")
        return BytesReader(data[offset:])

    def has(self, descriptor: Descriptor) -> bool:
        """Tell whether the content is kept."""
        with self._lock:
            return descriptor.digest in self._content

    def write(self, descriptor: Descriptor, open_source: OpenBlob) -> None:
        """Keep a blob after verifying it."""
        with contextlib.closing(open_source(0)) as source:
            reader = VerifiedReader(source, digest=str(descriptor.digest), size=descriptor.size)
            data = b"".join(iter(lambda: reader.read(CHUNK_BYTES), b""))
        with self._lock:
            self._content[descriptor.digest] = data

    def put_document(self, descriptor: Descriptor, raw: bytes) -> None:
        """Keep a manifest or index after verifying it."""
        self.write(descriptor, lambda offset: BytesReader(raw[offset:]))

    def tag(self, descriptor: Descriptor, reference: str) -> None:
        """Make ``reference`` name ``descriptor``."""
        with self._lock:
            self._tags[reference] = descriptor
