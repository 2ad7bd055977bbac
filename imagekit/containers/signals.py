"""Names of signals, and passing on those that this process gets."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from imagekit.containers.errors import InvalidRunRequestError

_FORWARDED = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTERM,
)


def signal_number(text: str) -> int:
    """Return the number of "SIGTERM", "term" or "15".

    Raises:
        InvalidRunRequestError: if there is no such signal.

    """
    if text.isdecimal() and 0 < int(text) < signal.NSIG:
        return int(text)
    name = text.upper().removeprefix("SIG")
    found = getattr(signal.Signals, f"SIG{name}", None)
    if found is not None:
        return int(found)
    base, sign, offset = name.partition("+") if "+" in name else name.partition("-")
    if base in ("RTMIN", "RTMAX") and offset.isdecimal():
        number = signal.Signals[f"SIG{base}"] + int(sign + offset)
        if signal.SIGRTMIN <= number <= signal.SIGRTMAX:
            return int(number)
    raise InvalidRunRequestError(
        f"unknown signal {text!r}", hint="Give a name like SIGTERM or a number."
    )


class Forwarder:
    """Takes signals, and hands them on once it is connected to a process."""

    def __init__(self) -> None:
        self._send: Callable[[int], object] | None = None
        self._pending: list[int] = []

    def connect(self, send: Callable[[int], object]) -> None:
        """Hand on what has come and what will come to ``send``."""
        self._send = send
        for number in self._pending:
            send(number)

    def take(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        del frame
        if self._send is None:
            self._pending.append(number)
        else:
            self._send(number)


@contextlib.contextmanager
def forwarded() -> Iterator[Forwarder]:
    """Take the signals that this process gets for a container, while the block runs.

    To be entered before the container is started, so that no signal falls in between. Only the
    main thread may handle signals; on another one nothing is forwarded.
    """
    forwarder = Forwarder()
    if threading.current_thread() is not threading.main_thread():
        yield forwarder
        return
    before = {number: signal.signal(number, forwarder.take) for number in _FORWARDED}
    try:
        yield forwarder
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
