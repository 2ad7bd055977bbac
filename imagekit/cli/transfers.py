"""Transfers on a terminal: one tqdm bar per blob. Elsewhere the plain renderer tells of each."""

import threading
from types import TracebackType
from typing import TYPE_CHECKING, Never, Self, TextIO

from imagekit.base import events
from imagekit.base.events import Event
from imagekit.cli.progress import Progress, make_progress
from imagekit.cli.tables import clean
from imagekit.config import Color, ProgressMode

if TYPE_CHECKING:
    from tqdm import tqdm


def make_transfer_progress(
    mode: ProgressMode, stream: TextIO, *, color: Color = Color.AUTO, quiet: bool = False
) -> Progress:
    """Return bars for a terminal, and what ``make_progress`` gives otherwise."""
    wants_bars = mode is ProgressMode.TTY or (mode is ProgressMode.AUTO and stream.isatty())
    if wants_bars and not quiet:
        return TransferBars(stream)
    return make_progress(mode, stream, color=color, quiet=quiet)


class TransferBars:
    """A bar per blob on its way; a blob that has arrived leaves one line."""

    def __init__(self, stream: TextIO) -> None:
        from tqdm import tqdm  # here, so that only who shows bars pays for it

        tqdm.monitor_interval = 0  # no watching thread for bars that live a few seconds
        tqdm.set_lock(threading.RLock())  # the default also makes semaphores between processes
        self._tqdm = tqdm
        self._stream = stream
        self._lock = threading.Lock()
        self._bars: dict[str, tqdm[Never]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        del kind, error, traceback
        with self._lock:
            for bar in self._bars.values():
                bar.close()
            self._bars.clear()

    def __call__(self, event: Event, /) -> None:
        """Move a bar."""
        with self._lock:
            match event:
                case events.TransferStarted():
                    self._bars[event.name] = self._bar(event)
                case events.TransferProgress():
                    if event.name in self._bars:
                        self._bars[event.name].update(event.advance_bytes)
                case events.TransferEnded():
                    self._finish(event)
                case events.Notice():
                    self._say(f"warning: {event.message}")
                case _:
                    pass

    def _bar(self, event: events.TransferStarted) -> "tqdm[Never]":
        return self._tqdm(
            total=event.total_bytes,
            desc=f"{clean(event.verb)} {clean(event.name)}",
            unit="B",
            unit_scale=True,
            file=self._stream,
            dynamic_ncols=True,
            leave=False,
        )

    def _finish(self, event: events.TransferEnded) -> None:
        bar = self._bars.pop(event.name, None)
        size = ""
        if bar is not None:
            size = bar.format_sizeof(bar.n, suffix="B", divisor=1000)
            bar.close()
        self._say(f"{event.name}: {event.skipped or size or 'done'}")

    def _say(self, text: str) -> None:
        self._tqdm.write(clean(text), file=self._stream)
