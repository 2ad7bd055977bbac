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
    signal.SIGALRM,
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


@contextlib.contextmanager
def forwarded(send: Callable[[int], object]) -> Iterator[None]:
    """Send the signals that this process gets on to a container, while the block runs.

    Only the main thread may handle signals; on another one nothing is forwarded.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        send(number)

    before = {number: signal.signal(number, handle) for number in _FORWARDED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
