"""Events shown as they happen: plain lines, a live region of a terminal, or JSON lines.

Every renderer is an ``EventSink`` and a context manager; events may come from several threads.
Everything goes to standard error, so that standard output stays free for data.
"""

import re
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self, TextIO

from imagekit.base.events import Event
from imagekit.cli.plain import PlainProgress
from imagekit.cli.steps import Painter
from imagekit.config import Color, ProgressMode


class Progress(Protocol):
    """Something that shows events until it is closed."""

    def __call__(self, event: Event, /) -> None:
        """Show an event; may be called from any thread."""
        ...

    def __enter__(self) -> Self:
        """Begin to show."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the terminal as it should stay."""
        ...


def make_progress(
    mode: ProgressMode,
    stream: TextIO,
    *,
    color: Color = Color.AUTO,
    size: Callable[[], tuple[int, int]] = lambda: (80, 24),
    quiet: bool = False,
    monotonic: Callable[[], float] = time.monotonic,
) -> Progress:
    """Return the renderer for a stream; ``auto`` looks whether it is a terminal."""
    is_terminal = stream.isatty()
    painter = Painter(on=color is Color.ALWAYS or (color is Color.AUTO and is_terminal))
    if quiet:
        return PlainProgress(stream, painter=painter, monotonic=monotonic, quiet=True)
    if mode is ProgressMode.AUTO:
        mode = ProgressMode.TTY if is_terminal else ProgressMode.PLAIN
    match mode:
        case ProgressMode.JSON:
            return JsonProgress(stream)
        case ProgressMode.TTY:
            from imagekit.cli.live import TtyProgress

            return TtyProgress(stream, painter=painter, size=size, monotonic=monotonic)
        case _:
            return PlainProgress(stream, painter=painter, monotonic=monotonic)


class JsonProgress:
    """One JSON object a line: the event's name in ``event``, its fields, output as text."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        del kind, error, traceback

    def __call__(self, event: Event, /) -> None:
        """Write an event."""
        import json

        import msgspec

        name = re.sub(r"(?<!^)(?=[A-Z])", "-", type(event).__name__).lower()
        fields = msgspec.structs.asdict(event)
        line = json.dumps({"event": name, **fields}, default=_as_json)
        with self._lock:
            self._stream.write(f"{line}\n")
            self._stream.flush()


def _as_json(value: object) -> object:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    import msgspec

    return msgspec.structs.asdict(value) if isinstance(value, msgspec.Struct) else str(value)
