"""The user's terminal joined to a container's: raw mode, bytes both ways, and the window size."""

import contextlib
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

from imagekit.containers.pump import Sink, write_all

_CHUNK_BYTES: Final = 16 << 10


def window_size(fd: int) -> tuple[int, int] | None:
    """Return (rows, columns) of the terminal ``fd``; None if it is no terminal."""
    try:
        size = os.get_terminal_size(fd)
    except OSError:
        return None
    return size.lines, size.columns


@contextlib.contextmanager
def raw_mode(fd: int) -> Iterator[None]:
    """Let every key through as a byte while the block runs; does nothing if it is no terminal.

    Source: termios(3) "Raw mode".
    """
    if not os.isatty(fd):
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(fd)
    tty.setraw(fd, termios.TCSANOW)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


@contextlib.contextmanager
def resized(fd: int, resize: Callable[[int, int], object]) -> Iterator[None]:
    """Call ``resize`` with the window size now and at every change, while the block runs."""
    size = window_size(fd)
    if size is None or threading.current_thread() is not threading.main_thread():
        if size is not None:
            resize(*size)
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        del number, frame
        if (changed := window_size(fd)) is not None:
            resize(*changed)

    before = signal.signal(signal.SIGWINCH, handle)
    resize(*size)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before if before is not None else signal.SIG_DFL)


def relay(controller_fd: int, *, pidfd: int, stdin: int | None, output: Sink) -> None:
    """Move bytes between the user and a container's terminal until its process has ended.

    ``stdin`` None sends nothing in. At the end of the input an end-of-transmission is typed, as a
    terminal cannot be half closed.
    """
    poll = select.poll()
    poll.register(controller_fd, select.POLLIN)
    poll.register(pidfd, select.POLLIN)
    if stdin is not None:
        poll.register(stdin, select.POLLIN)
    ended = False
    while True:
        ready = dict(poll.poll(0 if ended else None))
        if ended and controller_fd not in ready:
            return
        if controller_fd in ready:
            data = _read(controller_fd)
            if not data:
                return
            output(data)
        if stdin is not None and stdin in ready and not ended:
            data = _read(stdin)
            if not data:
                poll.unregister(stdin)
                stdin = None
            with contextlib.suppress(OSError):  # EIO: the container has just closed its end
                write_all(controller_fd, data or b"\x04")
        if pidfd in ready and not ended:
            ended = True
            poll.unregister(pidfd)


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, _CHUNK_BYTES)
    except OSError:  # EIO: nobody holds the other end any more
        return b""
