"""Requests and responses as values of our own, so that nothing else knows an HTTP library."""

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from imagekit.base.streams import CHUNK_BYTES, DigestMismatchError
from imagekit.oci.content import BlobReader
from imagekit.registry.errors import MAX_ERROR_BYTES, ProtocolError, RegistryError, redacted

MAX_JSON_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamBody:
    """A request body of known length that is read while it is sent.

    ``open`` is called by each attempt to send it, and what it returns is closed by the transport.
    """

    open: Callable[[], BlobReader]
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to send. Headers are not shown by ``repr``, because they may carry secrets.

    ``repeatable`` tells that sending it twice does no harm, so that it may be tried again.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | StreamBody = field(default=b"", repr=False)
    repeatable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer: its headers with names in lower case, and its body still to be read.

    ``body`` must be read to its end or closed; only then can the connection be used again.
    """

    status: int
    headers: Mapping[str, str]
    body: BlobReader
    url: str

    def read_all(self, limit: int = MAX_JSON_BYTES) -> bytes:
        """Return the whole body and close it.

        Raises:
            ProtocolError: if it has more than ``limit`` bytes.

        """
        with contextlib.closing(self.body):
            data = _read_up_to(self.body, limit + 1)
        if len(data) > limit:
            raise ProtocolError(f"answer of {redacted(self.url)} has more than {limit} bytes")
        return data

    def read_beginning(self) -> bytes:
        """Return the first bytes of the body, for an error message, and close it."""
        with contextlib.closing(self.body):
            try:
                return _read_up_to(self.body, MAX_ERROR_BYTES)
            except RegistryError:
                return b""

    def discard(self) -> None:
        """Read a short rest so that the connection can be used again, and close."""
        self.read_beginning()


class BytesReader:
    """A body that is in memory."""

    def __init__(self, data: bytes = b"") -> None:
        self._data = memoryview(data)

    def read(self, size: int = -1, /) -> bytes:
        """Return at most ``size`` bytes."""
        end = len(self._data) if size < 0 else size
        data, self._data = bytes(self._data[:end]), self._data[end:]
        return data

    def close(self) -> None:
        """Forget what is left."""
        self._data = memoryview(b"")


class Transport(Protocol):
    """Sends one request and returns its answer, whatever the status. Safe from several threads.

    It follows no redirect, tries nothing again and adds no credentials; those are decided above.
    Raises UnreachableError when there is no complete answer; reading the body raises it too when
    the connection breaks. A plain function will do.
    """

    def __call__(self, request: Request, /) -> Response:
        """Send ``request``."""
        ...


@runtime_checkable
class FileRegion(Protocol):
    """A reader of a plain file, whose bytes the kernel can send by itself."""

    def region(self) -> tuple[int, int] | None:
        """Return the file's descriptor and the next byte's offset; None if there is no file."""
        ...

    def sent(self, count: int) -> None:
        """Take note that ``count`` bytes of the region have been sent."""
        ...


def region_of(source: BlobReader) -> tuple[int, int] | None:
    """Return descriptor and offset of the plain file that ``source`` reads, if it is one."""
    if isinstance(source, FileRegion):
        return source.region()
    if isinstance(source, io.BufferedReader | io.FileIO):
        return source.fileno(), source.tell()
    return None


def body_chunks(body: StreamBody, source: BlobReader) -> Iterator[bytes]:
    """Yield exactly the promised bytes of a body in large pieces.

    Raises:
        DigestMismatchError: if ``source`` ends before; what was announced cannot be sent any more.

    """
    left = body.size
    while left > 0:
        data = source.read(min(CHUNK_BYTES, left))
        if not data:
            raise short_body(body, left)
        left -= len(data)
        yield data


def short_body(body: StreamBody, missing: int) -> DigestMismatchError:
    """Return the error of content that ends before its announced size."""
    return DigestMismatchError(
        f"content to send ended after {body.size - missing} of {body.size} bytes"
    )


def _read_up_to(source: BlobReader, limit: int) -> bytes:
    parts = bytearray()
    while len(parts) < limit and (data := source.read(limit - len(parts))):
        parts += data
    return bytes(parts)
