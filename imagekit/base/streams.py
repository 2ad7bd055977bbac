"""Readers that count, hash and verify while bytes pass through them.

Hashing is done by OpenSSL through ``hashlib`` in blocks of at least 64 KiB, where it releases the
GIL; the readers add one method call per block and never copy.
"""

import hashlib
from collections.abc import Callable
from typing import Protocol

from imagekit.base.errors import CorruptionError

CHUNK_BYTES = 1 << 20


class Readable(Protocol):
    """Anything with ``read(size) -> bytes``; an empty result is the end."""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most ``size`` bytes (all that is left when negative)."""
        ...


class Writable(Protocol):
    """Anything that takes bytes."""

    def write(self, data: bytes, /) -> object:
        """Take all of ``data``; the result has no meaning."""
        ...


class DigestMismatchError(CorruptionError):
    """The bytes of a stream are not those that its digest or size promised."""

    code = "digest-mismatch"


class SizeMismatchError(DigestMismatchError):
    """A stream is longer than announced, or was cut off."""

    code = "size-mismatch"


class HashingReader:
    """Pass a stream through while counting and hashing it."""

    def __init__(self, source: Readable, algorithm: str = "sha256") -> None:
        self._source = source
        self._hash = hashlib.new(algorithm)
        self.size = 0

    def read(self, size: int = -1, /) -> bytes:
        """Read from the source; what is returned has been counted and hashed."""
        data = self._source.read(size)
        self._hash.update(data)
        self.size += len(data)
        return data

    def hexdigest(self) -> str:
        """Return the lower-case hex digest of everything read so far."""
        return self._hash.hexdigest()


class VerifiedReader:
    """Pass a stream through and fail unless it has exactly the promised digest and size.

    ``digest`` is ``algorithm:hex``. More bytes than ``size`` fail at once, so a hostile server
    cannot fill the disk. The check runs when the end of the stream is read; a caller that stops
    early calls ``finish``.
    """

    def __init__(self, source: Readable, *, digest: str, size: int | None) -> None:
        algorithm, _, self._expected = digest.partition(":")
        self._digest = digest
        self._size = size
        self._reader = HashingReader(source, algorithm)
        self._checked = False

    def read(self, size: int = -1, /) -> bytes:
        """Read from the source.

        Raises:
            DigestMismatchError: at the end.
            SizeMismatchError: at the end, or as soon as more than ``size`` bytes came.

        """
        data = self._reader.read(size)
        if self._size is not None and self._reader.size > self._size:
            raise SizeMismatchError(
                f"content of {self._digest} is longer than the announced {self._size} bytes"
            )
        if not data and size != 0:
            self._check()
        return data

    def finish(self) -> None:
        """Read what is left and check it; safe to repeat."""
        while not self._checked:
            self.read(CHUNK_BYTES)

    def _check(self) -> None:
        if self._size is not None and self._reader.size != self._size:
            raise SizeMismatchError(
                f"content of {self._digest} ended after {self._reader.size} of {self._size} bytes"
            )
        if self._reader.hexdigest() != self._expected:
            raise DigestMismatchError(
                f"content does not match {self._digest}",
                hint="Fetch it again; if that repeats, the source is corrupt.",
            )
        self._checked = True


def copy_stream(
    source: Readable, write: Callable[[bytes], object], *, chunk_bytes: int = CHUNK_BYTES
) -> int:
    """Move everything from ``source`` to ``write`` and return the number of bytes."""
    total = 0
    while data := source.read(chunk_bytes):
        write(data)
        total += len(data)
    return total
