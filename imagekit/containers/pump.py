"""Moving what a container writes from pipes or a terminal to where it belongs.

Imports the standard library only: the supervisor uses it.
"""

import os
import select
from collections.abc import Callable
from typing import Final

Sink = Callable[[bytes], None]
"""Takes bytes; a BrokenPipeError means that nobody wants any more."""

_CHUNK_BYTES: Final = 64 << 10
_GRACE_MS: Final = 100


class Pump:
    """Reads descriptors into sinks until the process that writes to them has ended.

    Owns the descriptors it is given and closes them. When a sink is broken its descriptor is closed
    at once, so that the writer learns of it as it would without a pump in between.
    """

    def __init__(self, pidfd: int) -> None:
        self._pidfd = pidfd
        self._sinks: dict[int, Sink] = {}
        self._poll = select.poll()
        self._poll.register(pidfd, select.POLLIN)

    def add(self, fd: int, sink: Sink) -> None:
        """Move all that can be read from ``fd`` to ``sink``, and own ``fd``."""
        self._sinks[fd] = sink
        self._poll.register(fd, select.POLLIN)

    def run(self) -> None:
        """Move bytes until the process has ended and its last output has arrived.

        A descriptor that somebody else still holds open then (a process that escaped to the host)
        is given up after a tenth of a second without output.
        """
        ended = False
        while not ended or self._sinks:
            ready = self._poll.poll(_GRACE_MS if ended else None)
            if not ready:
                break
            for fd, _ in ready:
                if fd == self._pidfd:
                    ended = True
                    self._poll.unregister(fd)
                elif fd in self._sinks:
                    self._move(fd)
        for fd in tuple(self._sinks):
            self._drop(fd)

    def _move(self, fd: int) -> None:
        try:
            data = os.read(fd, _CHUNK_BYTES)
        except OSError:  # EIO: the last holder of a terminal has gone
            data = b""
        if not data:
            self._drop(fd)
            return
        try:
            self._sinks[fd](data)
        except BrokenPipeError:
            self._drop(fd)

    def _drop(self, fd: int) -> None:
        if fd in self._sinks:
            del self._sinks[fd]
            self._poll.unregister(fd)
            os.close(fd)


def write_all(fd: int, data: bytes) -> None:
    """Write all of ``data``."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]
