"""HTTP/1.1 on a socket: one connection, one request at a time.

Importing ``http.client`` takes longer than a push that has nothing to send, and its reader copies
each block twice; what a registry without TLS needs of the protocol is small. Timeouts are the
kernel's (SO_RCVTIMEO), so that a read of a mebibyte is one system call and not a poll for each
packet.

Source: RFC 9112.
"""

import os
import re
import socket
import struct
from collections.abc import Mapping

from imagekit.base.streams import CHUNK_BYTES
from imagekit.registry.errors import ProtocolError, UnreachableError
from imagekit.registry.requests import FileRegion, StreamBody, body_chunks, region_of, short_body

MAX_HEAD_BYTES = 64 << 10
MAX_LINE_BYTES = 4 << 10
_SENDFILE_BYTES = 8 * CHUNK_BYTES
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: |$)")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;|$)")
_TARGET = re.compile(r"/[!-~]*\Z")
_UNFIT = re.compile(r"[^\t -~\x80-\xff]")
_IN_HEAD = "its answer is no HTTP"


class Connection:
    """A connection to ``host`` and ``port``; errors are UnreachableError without the address."""

    def __init__(
        self, host: str, port: int, *, connect_timeout_s: float, read_timeout_s: float
    ) -> None:
        try:
            self._socket = socket.create_connection((host, port), connect_timeout_s)
        except (OSError, UnicodeError) as error:
            raise UnreachableError(_reason(error)) from error
        self._socket.settimeout(None)
        timeout = struct.pack("ll", int(read_timeout_s), int(read_timeout_s % 1 * 1e6))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._ahead = b""

    def close(self) -> None:
        """Close the socket; safe to repeat."""
        self._socket.close()

    def is_quiet(self) -> bool:
        """Tell whether an idle connection is open still: a closed one has an end to be read."""
        if self._ahead:
            return False
        try:
            self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def send(self, head: bytes, body: bytes | StreamBody) -> None:
        """Send a request. A server that answers early and closes is no error here."""
        try:
            if isinstance(body, bytes):
                self._socket.sendall(head + body)
                return
            source = body.open()
            try:
                self._socket.sendall(head, socket.MSG_MORE if body.size else 0)
                region = region_of(source)
                if region is None:
                    for data in body_chunks(body, source):
                        self._socket.sendall(data)
                else:
                    listener = source if isinstance(source, FileRegion) else None
                    self._send_file(body, region, listener)
            finally:
                source.close()
        except (BrokenPipeError, ConnectionResetError):
            # It refused before it had read everything; the reason may be there to be read.
            return
        except OSError as error:
            raise UnreachableError(_reason(error)) from error

    def _send_file(
        self, body: StreamBody, region: tuple[int, int], listener: FileRegion | None
    ) -> None:
        descriptor, offset = region
        end = offset + body.size
        while offset < end:
            count = min(end - offset, _SENDFILE_BYTES)
            sent = os.sendfile(self._socket.fileno(), descriptor, offset, count)
            if sent == 0:
                raise short_body(body, end - offset)
            offset += sent
            if listener is not None:
                listener.sent(sent)

    def read_head(self) -> tuple[int, bool, dict[str, str]]:
        """Return status, whether the connection stays open, and headers with lower-case names.

        Interim answers are passed over.
        """
        while True:
            head = self._until(b"\r\n\r\n", MAX_HEAD_BYTES)
            lines = head.split(b"\r\n")
            match = _STATUS.match(lines[0])
            if match is None:
                raise ProtocolError(_IN_HEAD)
            status = int(match.group(2))
            if status >= 200:
                headers = _headers(lines[1:])
                tokens = headers.get("connection", "").lower()
                keep = "close" not in tokens if match.group(1) == b"1" else "keep-alive" in tokens
                return status, keep, headers

    def read_line(self) -> bytes:
        """Return one short line without its end."""
        return self._until(b"\r\n", MAX_LINE_BYTES)

    def read(self, size: int) -> bytes:
        """Return ``size`` bytes, or fewer if the connection ends or what is ahead is less."""
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
            return data
        return self._receive(size, socket.MSG_WAITALL)

    def _until(self, mark: bytes, limit: int) -> bytes:
        data = self._ahead
        while (at := data.find(mark)) < 0:
            if len(data) > limit:
                raise ProtocolError(_IN_HEAD)
            more = self._receive(MAX_HEAD_BYTES, 0)
            if not more:
                if data:
                    raise ProtocolError(_IN_HEAD)
                raise UnreachableError("the connection was closed without an answer")
            data += more
        self._ahead = data[at + len(mark) :]
        return data[:at]

    def _receive(self, size: int, flags: int) -> bytes:
        try:
            return self._socket.recv(size, flags)
        except OSError as error:
            raise UnreachableError(_reason(error)) from error


class SizedBody:
    """A body of announced length."""

    def __init__(self, connection: Connection, size: int) -> None:
        self._connection = connection
        self._left = size

    @property
    def ended(self) -> bool:
        """Whether everything has been read."""
        return self._left == 0

    def read(self, size: int) -> bytes:
        """Return some bytes; empty at the end."""
        if not self._left:
            return b""
        data = self._connection.read(min(size, self._left))
        if not data:
            raise UnreachableError("the connection was cut")
        self._left -= len(data)
        return data


class ChunkedBody:
    """A body in chunks (RFC 9112 section 7.1); trailers are read and forgotten."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._left = 0
        self._between = False
        self.ended = False

    def read(self, size: int) -> bytes:
        """Return some bytes; empty at the end."""
        if not self._left and not self.ended:
            self._next_chunk()
        if self.ended:
            return b""
        data = self._connection.read(min(size, self._left))
        if not data:
            raise UnreachableError("the connection was cut")
        self._left -= len(data)
        return data

    def _next_chunk(self) -> None:
        if self._between and self._connection.read_line():
            raise ProtocolError(_IN_HEAD)
        match = _CHUNK_SIZE.match(self._connection.read_line())
        if match is None:
            raise ProtocolError(_IN_HEAD)
        self._between = True
        self._left = int(match.group(1), 16)
        if self._left == 0:
            for _ in range(100):
                if not self._connection.read_line():
                    self.ended = True
                    return
            raise ProtocolError(_IN_HEAD)


class RestBody:
    """A body that ends with the connection, which cannot be used again."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.ended = False

    def read(self, size: int) -> bytes:
        """Return some bytes; empty at the end."""
        return self._connection.read(size)


WireBody = SizedBody | ChunkedBody | RestBody


def body_of(
    connection: Connection, method: str, status: int, headers: Mapping[str, str]
) -> WireBody:
    """Return the body that follows a head.

    Source: RFC 9112 section 6.3.
    """
    if method == "HEAD" or status in (204, 304):
        return SizedBody(connection, 0)
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return ChunkedBody(connection)
    length = headers.get("content-length")
    if length is None:
        return RestBody(connection)
    if not (length.isascii() and length.isdigit() and len(length) < 19):
        raise ProtocolError(_IN_HEAD)
    return SizedBody(connection, int(length))


def head_of(method: str, target: str, host: str, headers: Mapping[str, str]) -> bytes:
    """Return the bytes of a request's head.

    Raises:
        ProtocolError: if a part, which a server may have chosen, would end its line.

    """
    if _TARGET.match(target) is None:
        raise ProtocolError("an address has characters that are not allowed in one")
    lines = [f"{method} {target} HTTP/1.1", f"host: {host}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if any(_UNFIT.search(line) for line in lines):
        raise ProtocolError("a header has characters that are not allowed in one")
    return "\r\n".join((*lines, "\r\n")).encode("latin-1")


def _headers(lines: list[bytes]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        raw_name, colon, raw_value = line.partition(b":")
        if not colon or _NAME.match(raw_name) is None:
            raise ProtocolError(_IN_HEAD)
        name, value = raw_name.decode().lower(), raw_value.strip().decode("latin-1")
        if name == "content-length" and headers.get(name, value) != value:
            raise ProtocolError(_IN_HEAD)
        if name in headers and name != "content-length":
            value = f"{headers[name]}, {value}"
        headers[name] = value
    return headers


def _reason(error: Exception) -> str:
    if isinstance(error, BlockingIOError | TimeoutError):
        return "timed out"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
