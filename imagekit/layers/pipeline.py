"""Readers and writers whose work is done in a second thread."""

import contextlib
import queue
import threading
from types import TracebackType
from typing import Self

from imagekit.base.streams import Readable, Writable

DIRECT_BYTES = 1 << 20
QUEUE_PIECES = 4
AHEAD_BYTES = 1 << 18
AHEAD_PIECES = 16


class ThreadedWriter:
    """Hand every piece to ``output`` in order; from a second thread once there is much of it.

    The first MiB goes straight through, so small streams cost no thread. An error of the output
    is raised by the next ``write`` or at the end of the block. At the end of the block all pieces
    were written and the thread has ended; when the block ends with an error, pieces still waiting
    are dropped.
    """

    def __init__(self, output: Writable) -> None:
        self._output = output
        self._direct_bytes = 0
        self._pieces: queue.Queue[bytes | None] = queue.Queue(QUEUE_PIECES)
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._drop = False

    def write(self, data: bytes, /) -> None:
        """Pass ``data`` on; it must not change afterwards."""
        if self._thread is None:
            if self._direct_bytes < DIRECT_BYTES:
                self._direct_bytes += len(data)
                self._output.write(data)
                return
            self._thread = threading.Thread(target=self._run, name="layer-writer", daemon=True)
            self._thread.start()
        if self._error is not None:
            raise self._error
        self._pieces.put(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._thread is not None:
            self._drop = kind is not None
            self._pieces.put(None)
            self._thread.join()
        if self._error is not None and error is None:
            raise self._error

    def _run(self) -> None:
        # Keeps taking pieces after an error, so that the other side never waits for a full queue.
        while (piece := self._pieces.get()) is not None:
            if self._drop or self._error is not None:
                continue
            try:
                self._output.write(piece)
            except BaseException as error:  # noqa: BLE001 - handed to the other thread whole
                self._error = error


class ReadAhead:
    """Read ``source`` in a second thread, a few MiB ahead, once more than a MiB was asked for.

    So unpacking and checking a digest run beside the work on what was unpacked. An error of the
    source is raised by the ``read`` that would have met it. At the end of the block the thread
    has ended and ``source`` is the caller's again, at an undefined place unless its end was read.
    """

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._direct_bytes = 0
        self._pieces: queue.Queue[bytes | BaseException] = queue.Queue(AHEAD_PIECES)
        self._thread: threading.Thread | None = None
        self._piece = b""
        self._at = 0
        self._end: bytes | BaseException | None = None
        self._stop = False

    def read(self, size: int = -1, /) -> bytes:
        """Return at most ``size`` bytes, all that is left when negative."""
        if size < 0:
            return b"".join(iter(lambda: self.read(AHEAD_BYTES), b""))
        if self._thread is None:
            if self._direct_bytes < DIRECT_BYTES:
                data = self._source.read(min(size, AHEAD_BYTES))
                self._direct_bytes += len(data)
                return data
            self._thread = threading.Thread(target=self._run, name="layer-reader", daemon=True)
            self._thread.start()
        start = self._at
        if start == len(self._piece):
            piece = self._next()
            if len(piece) <= size:
                return piece
            self._piece, start = piece, 0
        data = self._piece[start : start + size]
        self._at = start + len(data)
        return data

    def _next(self) -> bytes:
        """Return the next piece; the end and an error stay what they are for ever."""
        self._piece, self._at = b"", 0
        piece = self._pieces.get() if self._end is None else self._end
        if isinstance(piece, BaseException):
            self._end = piece
            raise piece
        if not piece:
            self._end = piece
        return piece

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        thread = self._thread
        if thread is None:
            return
        self._stop = True
        while thread.is_alive():
            # Makes room for the one piece that it may be waiting to hand over.
            with contextlib.suppress(queue.Empty):
                self._pieces.get_nowait()
            thread.join(0.01)

    def _run(self) -> None:
        while not self._stop:
            try:
                piece = self._source.read(AHEAD_BYTES)
            except BaseException as error:  # noqa: BLE001 - handed to the other thread whole
                self._pieces.put(error)
                return
            self._pieces.put(piece)
            if not piece:
                return
