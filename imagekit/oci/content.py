"""Where content comes from and where it goes: the seam between registries, stores and archives.

Push, pull, save, load and copy are one function over these two Protocols. Each sentence of a
method's docstring is a promise that tests/contracts checks for every implementation.
"""

from collections.abc import Callable
from typing import Protocol

from imagekit.oci.descriptor import Descriptor


class BlobReader(Protocol):
    """An open blob."""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most ``size`` bytes; empty at the end."""
        ...

    def close(self) -> None:
        """Free what it holds; safe to repeat."""
        ...


class ContentSource(Protocol):
    """Content to read. Safe to use from several threads."""

    def resolve(self, reference: str) -> Descriptor:
        """Return the descriptor of the manifest or index that a tag or digest names.

        Raises NotFound of the implementation's room (an ImagekitError) if there is none.
        """
        ...

    def open(self, descriptor: Descriptor, offset: int = 0) -> BlobReader:
        """Open the content from ``offset`` on; the caller verifies and closes."""
        ...


OpenBlob = Callable[[int], BlobReader]


class ContentSink(Protocol):
    """Content to write. Safe to use from several threads."""

    def has(self, descriptor: Descriptor) -> bool:
        """Tell whether the content is there already."""
        ...

    def write(self, descriptor: Descriptor, open_source: OpenBlob) -> None:
        """Store a blob: verified against the descriptor, visible only when whole.

        ``open_source(offset)`` opens the content at an offset, and may be called again to go on
        after a failure.
        """
        ...

    def put_document(self, descriptor: Descriptor, raw: bytes) -> None:
        """Store a manifest or index; everything it refers to has been written before."""
        ...

    def tag(self, descriptor: Descriptor, reference: str) -> None:
        """Make ``reference`` name a document that has been put."""
        ...
