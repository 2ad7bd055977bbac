"""Reading a blob from a registry, through any number of broken connections."""

import re
from collections.abc import Callable

from imagekit.base.streams import CHUNK_BYTES, SizeMismatchError
from imagekit.oci.content import BlobReader
from imagekit.registry.errors import ProtocolError, RegistryError, UnreachableError
from imagekit.registry.requests import Response
from imagekit.registry.retry import Retrier

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]+/(?:[0-9]+|\*)\Z")


class ResumingReader:
    """The bytes of a blob from ``offset`` to ``size``.

    ``fetch(offset)`` sends the request for the bytes from an offset on, once. When the connection
    breaks, or ends early, the rest is asked for; tries are counted anew whenever bytes arrived.
    """

    def __init__(
        self,
        fetch: Callable[[int], Response],
        *,
        name: str,
        offset: int,
        size: int,
        retrier: Retrier,
    ) -> None:
        self._fetch = fetch
        self._name = name
        self._offset = offset
        self._size = size
        self._retrier = retrier
        self._closed = False
        self._body: BlobReader | None = retrier.run(self._begin) if offset < size else None

    def read(self, size: int = -1, /) -> bytes:
        """Return at most ``size`` bytes.

        Raises:
            RegistryError: when the blob cannot be had after the tries that the policy allows.
            SizeMismatchError: when the registry has more or fewer bytes than were announced.

        """
        if self._closed or size == 0:
            return b""
        if size < 0:
            return b"".join(iter(lambda: self.read(CHUNK_BYTES), b""))
        data = self._retrier.run(lambda: self._read_some(size), progress=lambda: self._offset)
        self._offset += len(data)
        return data

    def close(self) -> None:
        """Give up the connection."""
        self._closed = True
        self._drop()

    def _read_some(self, size: int) -> bytes:
        if self._body is None:
            if self._offset >= self._size:
                return b""
            self._body = self._begin()
        try:
            data = self._body.read(size)
        except RegistryError:
            self._drop()
            raise
        if not data and self._offset < self._size:
            self._drop()
            raise UnreachableError(f"{self._name} ended after {self._offset} of {self._size} bytes")
        return data

    def _begin(self) -> BlobReader:
        response = self._fetch(self._offset)
        body = response.body
        if response.status == 206:
            match = _CONTENT_RANGE.match(response.headers.get("content-range", ""))
            if match is None or int(match.group(1)) != self._offset:
                body.close()
                raise ProtocolError(f"registry answered another range of {self._name}")
        else:
            self._check_length(response)
            _skip(body, self._offset)
        return body

    def _check_length(self, response: Response) -> None:
        """Tell a blob of another size at once, instead of waiting for bytes that never come."""
        length = response.headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length) != self._size:
            response.body.close()
            raise SizeMismatchError(
                f"{self._name} has {length} bytes at the registry, not the announced {self._size}",
                hint="The registry's copy is damaged; push the image again.",
            )

    def _drop(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None


def _skip(body: BlobReader, count: int) -> None:
    """Read over the beginning that a server sends which knows no ranges."""
    while count > 0 and (data := body.read(min(count, CHUNK_BYTES))):
        count -= len(data)
