"""Uploading a blob: the requests of it, as generators that do no I/O.

Source: OCI distribution-spec 1.1, "Pushing blobs". A blob goes up in one PUT; after a failure the
session is asked how far it got, and the rest follows as a chunk.
"""

import contextlib
import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from imagekit.base.streams import DigestMismatchError
from imagekit.oci.content import OpenBlob
from imagekit.oci.descriptor import Descriptor
from imagekit.registry.endpoints import Endpoints, resolve_location, with_digest
from imagekit.registry.errors import (
    DeniedError,
    NotFoundError,
    ProtocolError,
    RejectedError,
    UnreachableError,
    UnsupportedError,
)
from imagekit.registry.requests import Request, Response, StreamBody

FALLBACK_CHUNK_BYTES = 32 << 20
_RANGE = re.compile(r"(?:bytes[= ])?0-([0-9]{1,18})\Z")
_OCTETS = {"content-type": "application/octet-stream"}

Steps = Generator[Request, Response, None]


@dataclass(slots=True, kw_only=True)
class Upload:
    """How far the upload of one blob got.

    ``location`` is the session's address, None while there is none; ``sure`` says that ``offset``
    is what the registry has; ``chunk_bytes`` is None while the whole blob goes in one request;
    ``finishing`` says that the last request has been sent at least once.
    """

    endpoints: Endpoints
    descriptor: Descriptor
    open_source: OpenBlob
    mount_from: Sequence[str] = ()
    location: str | None = None
    offset: int = 0
    sure: bool = True
    chunk_bytes: int | None = None
    least_chunk_bytes: int = 0
    finishing: bool = False
    done: bool = False

    def run(self) -> Steps:
        """Yield the requests from the present state to the end; may be called again.

        Raises:
            DigestMismatchError: if the registry found other content than the descriptor promises.
            RegistryError: any other failure; transient ones may be followed by another call.

        """
        if self.location is not None and not self.sure:
            yield from self._ask()
        if self.location is None and self.finishing:
            yield from self._look()
        if self.location is None and not self.done:
            yield from self._begin()
        if self.done:
            return
        self.sure = False
        try:
            yield from self._send()
        except NotFoundError as error:
            self._forget()
            raise UnreachableError(f"upload session was lost: {error.message}") from error
        except RejectedError as error:
            self._judge(error)
        self.done = True

    def _judge(self, error: RejectedError) -> None:
        if error.status == 409:
            # The registry has not noticed yet that the connection of our last try is gone.
            raise UnreachableError(f"upload session is busy: {error.message}") from error
        resumed = self.offset > 0
        self._forget()
        if "DIGEST_INVALID" in error.codes and not resumed:
            raise DigestMismatchError(
                f"registry found that content does not match {self.descriptor.digest}",
                hint="Fetch or build it again; the source is corrupt.",
            ) from error
        if error.status == 413 and self.chunk_bytes is None:
            self.chunk_bytes = max(FALLBACK_CHUNK_BYTES, self.least_chunk_bytes)
            raise UnreachableError(f"request was too large: {error.message}") from error
        if resumed and error.status in (400, 416):
            raise UnreachableError(f"upload session was out of step: {error.message}") from error
        raise error

    def _forget(self) -> None:
        self.location, self.offset, self.sure = None, 0, True

    def _begin(self) -> Steps:
        digest = str(self.descriptor.digest)
        for repository in self.mount_from:
            query = {"mount": digest, "from": repository}
            request = _once("POST", self.endpoints.uploads(**query))
            try:
                response = yield request
            except (RejectedError, NotFoundError, DeniedError, UnsupportedError):
                continue
            response.discard()
            # 202: not there, but a session was opened, which is cancelled if it is not needed.
            if self.location is not None:
                yield from self._cancel()
            if response.status == 201:
                self.done = True
                return
            self._take_location(request, response)
        if self.location is not None:
            return
        request = _once("POST", self.endpoints.uploads())
        response = yield request
        response.discard()
        self._take_location(request, response)

    def _cancel(self) -> Steps:
        assert self.location is not None
        request = _once("DELETE", self.location)
        with contextlib.suppress(RejectedError, NotFoundError, DeniedError, UnsupportedError):
            response = yield request
            response.discard()
        self.location = None

    def _look(self) -> Steps:
        """Find out whether only the answer to the last request was lost."""
        try:
            response = yield _once("HEAD", self.endpoints.blob(self.descriptor.digest))
        except NotFoundError:
            return
        response.discard()
        self.done = True

    def _ask(self) -> Steps:
        assert self.location is not None
        request = _once("GET", self.location)
        try:
            response = yield request
        except (NotFoundError, RejectedError):
            self._forget()
            return
        response.discard()
        self.offset = received_bytes(response.headers.get("range", ""))
        if self.offset > self.descriptor.size:
            raise ProtocolError(f"registry has more of {self.descriptor.digest} than was sent")
        if "location" in response.headers:
            self._take_location(request, response)
        self.sure = True

    def _send(self) -> Steps:
        assert self.location is not None
        size = self.descriptor.size
        whole = self.offset == 0 and (self.chunk_bytes is None or size <= self.chunk_bytes)
        while not whole and self.offset < size:
            end = size if self.chunk_bytes is None else min(self.offset + self.chunk_bytes, size)
            yield from self._send_chunk(end)
        final = with_digest(self.location, self.descriptor.digest)
        body = self._body(0, size) if whole and size else b""
        self.finishing = True
        response = yield Request(
            method="PUT", url=final, headers=_OCTETS, body=body, repeatable=False
        )
        response.discard()
        if response.status not in (201, 204):
            raise ProtocolError(f"upload of {self.descriptor.digest} ended with {response.status}")

    def _send_chunk(self, end: int) -> Steps:
        assert self.location is not None
        request = Request(
            method="PATCH",
            url=self.location,
            headers={**_OCTETS, "content-range": f"{self.offset}-{end - 1}"},
            body=self._body(self.offset, end - self.offset),
            repeatable=False,
        )
        response = yield request
        response.discard()
        self.offset = end
        self._take_location(request, response)

    def _body(self, offset: int, size: int) -> StreamBody:
        return StreamBody(open=lambda: self.open_source(offset), size=size)

    def _take_location(self, request: Request, response: Response) -> None:
        self.location = resolve_location(request.url, response.headers.get("location", ""))
        least = response.headers.get("oci-chunk-min-length", "")
        if least.isascii() and least.isdigit():
            self.least_chunk_bytes = int(least[:12])


def _once(method: str, url: str) -> Request:
    """Return a request that is not tried again by itself: whoever calls ``run`` does that."""
    return Request(method=method, url=url, repeatable=False)


def received_bytes(header: str) -> int:
    """Return how many bytes a session's Range header reports; ``0-0`` means none, by custom."""
    match = _RANGE.match(header.strip())
    last = int(match.group(1)) if match else 0
    return last + 1 if last else 0
