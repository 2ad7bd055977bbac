"""Publishing a port: a TCP listener of this process that hands connections on.

In user space it needs no privilege and no firewall rule, and also serves connections to loopback.
"""

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Final

from imagekit.sandbox.errors import SandboxError

_CHUNK_BYTES: Final = 1 << 16
_BACKLOG: Final = 128
_CONNECT_TIMEOUT_S: Final = 10


class PortProxy:
    """Listen on ``host_address:host_port`` (0 is any free port) and connect to the target."""

    def __init__(self, *, host_address: str, host_port: int, target: tuple[str, int]) -> None:
        self._target = target
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        family = socket.AF_INET6 if ":" in host_address else socket.AF_INET
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listener.bind((host_address, host_port))
            self._listener.listen(_BACKLOG)
        except OSError as error:
            self._listener.close()
            raise SandboxError(
                f"cannot listen on {host_address}:{host_port}: {error.strerror}",
                operation="publish",
                errno=error.errno or 0,
                hint="Choose another host port.",
            ) from error
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, name="imagekit-port", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and break what is connected; safe to repeat."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()  # first: it must not accept from another file with the same number
        self._listener.close()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        with client:
            try:
                server = socket.create_connection(self._target, timeout=_CONNECT_TIMEOUT_S)
            except OSError:
                return  # the client sees a closed connection, as when nobody listened
            server.settimeout(None)
            with server, self._counted(client, server):
                back = threading.Thread(target=_pump, args=(server, client), daemon=True)
                back.start()
                _pump(client, server)
                back.join()

    @contextlib.contextmanager
    def _counted(self, *connections: socket.socket) -> Iterator[None]:
        with self._lock:
            self._connections.update(connections)
        try:
            yield
        finally:
            with self._lock:
                self._connections.difference_update(connections)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Move bytes until the source ends, then tell the sink."""
    try:
        while data := source.recv(_CHUNK_BYTES):
            sink.sendall(data)
    except OSError:
        pass  # either side has gone; the other is told below, as it would be without a proxy
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
