"""HTTP without TLS and without a proxy: the registry on this machine or in the same cluster.

``requests`` takes a quarter of a second to import; a push to the registry next door that has
nothing to send takes a tenth. Blobs go from their file to the socket inside of the kernel.
"""

import contextlib
import threading
from urllib.parse import urlsplit

from imagekit.registry.errors import ProtocolError, RegistryError, UnreachableError, redacted
from imagekit.registry.requests import Request, Response, StreamBody
from imagekit.registry.wire import Connection, WireBody, body_of, head_of

_MAX_IDLE = 16
_BODILESS = ("GET", "HEAD", "DELETE")


class PlainTransport:
    """A Transport for ``http://`` that keeps idle connections for the next request."""

    def __init__(self, *, connect_timeout_s: float = 10.0, read_timeout_s: float = 60.0) -> None:
        self._connect_timeout_s = connect_timeout_s
        self._read_timeout_s = read_timeout_s
        self._lock = threading.Lock()
        self._idle: dict[str, list[Connection]] = {}

    def __call__(self, request: Request, /) -> Response:
        """Send ``request`` and return its answer, with the body unread."""
        host = urlsplit(request.url).netloc.rpartition("@")[2]
        try:
            connection = self._take(host)
            if connection is not None and isinstance(request.body, bytes):
                # The server may have closed the idle connection just now.
                with contextlib.suppress(UnreachableError):
                    return self._exchange(connection, host, request)
                connection = None
            return self._exchange(connection or self._connect(request), host, request)
        except RegistryError as error:
            raise _placed(error, request) from error

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            connections = [one for idle in self._idle.values() for one in idle]
            self._idle.clear()
        for connection in connections:
            connection.close()

    def give_back(self, host: str, connection: Connection) -> None:
        """Keep a connection whose answer has been read to the end."""
        with self._lock:
            idle = self._idle.setdefault(host, [])
            if len(idle) < _MAX_IDLE:
                idle.append(connection)
                return
        connection.close()

    def _connect(self, request: Request) -> Connection:
        parts = urlsplit(request.url)
        try:
            port = parts.port or 80
        except ValueError as error:
            raise ProtocolError("its port is no number") from error
        return Connection(
            parts.hostname or "",
            port,
            connect_timeout_s=self._connect_timeout_s,
            read_timeout_s=self._read_timeout_s,
        )

    def _exchange(self, connection: Connection, host: str, request: Request) -> Response:
        try:
            connection.send(_head(host, request), request.body)
            status, keep, headers = connection.read_head()
            body = body_of(connection, request.method, status, headers)
        except BaseException:
            connection.close()
            raise
        return Response(
            status=status,
            headers=headers,
            body=_Body(self, connection, host, body, request, keep=keep),
            url=request.url,
        )

    def _take(self, host: str) -> Connection | None:
        while True:
            with self._lock:
                idle = self._idle.get(host)
                connection = idle.pop() if idle else None
            if connection is None or connection.is_quiet():
                return connection
            connection.close()


class _Body:
    """The body of an answer; at its end the connection goes back to the idle ones."""

    def __init__(
        self,
        transport: PlainTransport,
        connection: Connection,
        host: str,
        body: WireBody,
        request: Request,
        *,
        keep: bool,
    ) -> None:
        self._transport = transport
        self._connection = connection
        self._host = host
        self._body = body
        self._request = request
        self._keep = keep
        self._open = True
        self._settle()

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(1 << 20), b""))
        if not self._open or size == 0:
            return b""
        try:
            data = self._body.read(size)
        except RegistryError as error:
            self.close()
            raise _placed(error, self._request) from error
        self._settle()
        return data

    def close(self) -> None:
        if self._open:
            self._open = False
            self._connection.close()

    def _settle(self) -> None:
        if self._open and self._body.ended:
            self._open = False
            if self._keep:
                self._transport.give_back(self._host, self._connection)
            else:
                self._connection.close()


def _head(host: str, request: Request) -> bytes:
    parts = urlsplit(request.url)
    target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
    headers = dict(request.headers)
    size = request.body.size if isinstance(request.body, StreamBody) else len(request.body)
    if size or request.method not in _BODILESS:
        headers["content-length"] = str(size)
    return head_of(request.method, target, host, headers)


def _placed(error: RegistryError, request: Request) -> RegistryError:
    """Return the error with the request it happened to."""
    return type(error)(f"{request.method} {redacted(request.url)} failed: {error.message}")
