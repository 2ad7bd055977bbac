"""HTTP without TLS and without a proxy: the registry on this machine or in the same cluster.

``requests`` takes a quarter of a second to import; a push to the registry next door that moves
nothing takes a twentieth. The standard library's client is enough here, and gives the socket, by
which the kernel sends a blob straight from its file (sendfile(2)).
"""

import contextlib
import http.client
import os
import select
import stat
import threading
from urllib.parse import urlsplit

from imagekit.base.streams import CHUNK_BYTES
from imagekit.registry.errors import UnreachableError, redacted
from imagekit.registry.requests import (
    FileRegion,
    Request,
    Response,
    StreamBody,
    body_chunks,
    region_of,
    short_body,
)

_PIECE_BYTES = 8 * CHUNK_BYTES
_MAX_IDLE = 16


class PlainTransport:
    """A Transport for ``http://`` with idle connections kept for the next request."""

    def __init__(self, *, connect_timeout_s: float = 10.0, read_timeout_s: float = 60.0) -> None:
        self._connect_timeout_s = connect_timeout_s
        self._read_timeout_s = read_timeout_s
        self._lock = threading.Lock()
        self._idle: dict[str, list[http.client.HTTPConnection]] = {}

    def __call__(self, request: Request, /) -> Response:
        """Send ``request`` and return its answer, with the body unread."""
        host = urlsplit(request.url).netloc.rpartition("@")[2]
        connection = self._take(host)
        if connection is not None and isinstance(request.body, StreamBody):
            return self._exchange(connection, host, request)
        if connection is not None:
            # The server may have closed the idle connection while the request was on its way.
            with contextlib.suppress(UnreachableError):
                return self._exchange(connection, host, request)
        return self._exchange(self._connect(host, request), host, request)

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            connections = [one for idle in self._idle.values() for one in idle]
            self._idle.clear()
        for connection in connections:
            connection.close()

    def _connect(self, host: str, request: Request) -> http.client.HTTPConnection:
        try:
            connection = http.client.HTTPConnection(host, timeout=self._connect_timeout_s)
            connection.connect()
        except (OSError, http.client.HTTPException) as error:
            raise _unreachable(request, error) from error
        connection.sock.settimeout(self._read_timeout_s)
        return connection

    def _exchange(
        self, connection: http.client.HTTPConnection, host: str, request: Request
    ) -> Response:
        try:
            try:
                _send(connection, request)
            except (BrokenPipeError, ConnectionResetError):
                # A server that refuses answers before it has read the body, and then closes.
                answer = connection.getresponse()
            else:
                answer = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise _unreachable(request, error) from error
        except BaseException:
            connection.close()
            raise
        headers: dict[str, str] = {}
        for name, value in answer.getheaders():
            key = name.lower()
            headers[key] = f"{headers[key]}, {value}" if key in headers else value
        return Response(
            status=answer.status,
            headers=headers,
            body=_Body(self, connection, host, answer, request),
            url=request.url,
        )

    def _take(self, host: str) -> http.client.HTTPConnection | None:
        while True:
            with self._lock:
                idle = self._idle.get(host)
                connection = idle.pop() if idle else None
            if connection is None or _is_quiet(connection):
                return connection
            connection.close()

    def give_back(self, host: str, connection: http.client.HTTPConnection) -> None:
        """Keep a connection whose answer has been read to the end."""
        with self._lock:
            idle = self._idle.setdefault(host, [])
            if len(idle) < _MAX_IDLE:
                idle.append(connection)
                return
        connection.close()


class _Body:
    """The body of an answer; at its end the connection goes back to the idle ones."""

    def __init__(
        self,
        transport: PlainTransport,
        connection: http.client.HTTPConnection,
        host: str,
        answer: http.client.HTTPResponse,
        request: Request,
    ) -> None:
        self._transport = transport
        self._connection = connection
        self._host = host
        self._answer = answer
        self._request = request
        self._open = True
        self._settle()

    def read(self, size: int = -1, /) -> bytes:
        if not self._open or size == 0:
            return b""
        try:
            data = self._answer.read(None if size < 0 else size)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise _unreachable(self._request, error) from error
        if not data and self._answer.length:
            self.close()
            raise _unreachable(self._request, EOFError("the connection was cut"))
        self._settle()
        return data

    def close(self) -> None:
        if self._open:
            self._open = False
            self._answer.close()
            self._connection.close()

    def _settle(self) -> None:
        if self._open and self._answer.isclosed():
            self._open = False
            if self._connection.sock is not None:
                self._transport.give_back(self._host, self._connection)


def _send(connection: http.client.HTTPConnection, request: Request) -> None:
    parts = urlsplit(request.url)
    target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
    connection.putrequest(request.method, target, skip_accept_encoding=True)
    for name, value in request.headers.items():
        connection.putheader(name, value)
    body = request.body
    if isinstance(body, bytes):
        if body or request.method not in ("GET", "HEAD", "DELETE"):
            connection.putheader("content-length", str(len(body)))
        connection.endheaders(body or None)
        return
    connection.putheader("content-length", str(body.size))
    with contextlib.closing(body.open()) as source:
        connection.endheaders()
        region = region_of(source)
        if region is not None and stat.S_ISREG(os.fstat(region[0]).st_mode):
            _send_file(connection, body, region, source if isinstance(source, FileRegion) else None)
        else:
            for data in body_chunks(body, source):
                connection.send(data)


def _send_file(
    connection: http.client.HTTPConnection,
    body: StreamBody,
    region: tuple[int, int],
    listener: FileRegion | None,
) -> None:
    """Send a body by sendfile(2), waiting for room as the socket's timeout allows."""
    descriptor, offset = region
    end = offset + body.size
    socket = connection.sock
    timeout_s = socket.gettimeout()
    room = select.poll()
    room.register(socket, select.POLLOUT)
    while offset < end:
        if not room.poll(None if timeout_s is None else timeout_s * 1000):
            raise TimeoutError("timed out while sending")
        try:
            count = os.sendfile(
                socket.fileno(), descriptor, offset, min(end - offset, _PIECE_BYTES)
            )
        except BlockingIOError:
            continue
        if count == 0:
            raise short_body(body, end - offset)
        offset += count
        if listener is not None:
            listener.sent(count)


def _is_quiet(connection: http.client.HTTPConnection) -> bool:
    """Tell whether an idle connection is still open: a closed one has an end to be read."""
    if connection.sock is None:
        return False
    readable = select.poll()
    readable.register(connection.sock, select.POLLIN | select.POLLHUP)
    return not readable.poll(0)


def _unreachable(request: Request, error: Exception) -> UnreachableError:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return UnreachableError(f"{request.method} {redacted(request.url)} failed: {reason}")
