"""A writer whose work is done in a second thread."""

import queue
import threading
from types import TracebackType
from typing import Self

from imagekit.base.streams import Writable

DIRECT_BYTES = 1 << 20
QUEUE_PIECES = 4


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
