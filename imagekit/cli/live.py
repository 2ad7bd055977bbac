"""Progress on a terminal: what is finished as lines, what runs in a region that is redrawn."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

from imagekit.base import events
from imagekit.base.events import Event, Outcome
from imagekit.cli.render import seconds_text, size_text
from imagekit.cli.steps import Painter, Renderer, bill_text
from imagekit.cli.tables import clean, cut

LIVE_LINES = 5
_REDRAW_S = 0.1


class TtyProgress(Renderer):
    """Finished steps as lines, and below them a region that is redrawn: what runs now."""

    def __init__(
        self,
        stream: TextIO,
        *,
        painter: Painter | None = None,
        size: Callable[[], tuple[int, int]] = lambda: (80, 24),
        monotonic: Callable[[], float] = time.monotonic,
        ticking: bool = True,
    ) -> None:
        super().__init__(stream, painter=painter or Painter(), monotonic=monotonic)
        self._size = size
        self._drawn = 0
        self._last_draw = float("-inf")
        self._stop = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True) if ticking else None

    def __enter__(self) -> Self:
        if self._ticker is not None:
            self._ticker.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        del kind, error, traceback
        self._stop.set()
        if self._ticker is not None:
            self._ticker.join()
        with self.lock:
            self.write(self._erase())

    def __call__(self, event: Event, /) -> None:
        """Show an event: a permanent line, or a change of the region at the next redraw."""
        with self.lock:
            lasting = self._note(event)
            if lasting or self.now() - self._last_draw >= _REDRAW_S:
                self._draw(lasting)

    def frame(self) -> list[str]:
        """Return the lines of the region as it should look now, without ends.

        It never has more lines than the terminal: what has scrolled away could not be erased. The
        steps share the space for their output; when there are too many of them the rest is counted.
        """
        width, height = self._width(), max(3, self._size()[1] - 1)
        heads = len(self.steps) + len(self.transfers)
        share = min(LIVE_LINES, (height - heads) // max(1, len(self.steps)))
        lines = []
        for view in self.steps.values():
            elapsed = seconds_text(self.now() - view.started)
            label = cut(f" => {view.label}", width - len(elapsed) - 1)
            lines.append(f"{label} {elapsed}")
            recent = [*view.tail, *filter(None, (view.lines.current,))]
            shown = recent[-share:] if share > 0 else []
            lines.extend(self.paint(cut(f" |  {line}", width), "dim") for line in shown)
        for name, blob in self.transfers.items():
            moved = f"{size_text(blob.moved_bytes)} / {size_text(blob.total_bytes)}"
            lines.append(cut(f" => {blob.verb} {clean(name)} {moved}", width))
        if len(lines) > height:
            lines[height - 1 :] = [f" => and {len(lines) - height + 1} more"]
        return lines

    def _width(self) -> int:
        """Return how long a line may be: one less than the terminal, so that none is wrapped."""
        return max(20, self._size()[0] - 1)

    def _note(self, event: Event) -> str:
        """Take an event into the state; return the lines that stay."""
        match event:
            case events.StepStarted():
                self.step(event.step, event.label)
            case events.StepOutput():
                view = self.step(event.step)
                view.tail.extend(view.lines.feed(event.data))
            case events.StepEnded():
                return self._ended(event)
            case events.TransferStarted() | events.TransferProgress():
                self.note_transfer(event)
            case events.TransferEnded():
                blob, _ = self.note_transfer(event)
                return "" if event.skipped else f" => {self.transfer_line(event, blob)}\n"
            case events.Notice():
                return f"{self.paint('warning:', 'yellow')} {clean(event.message)}\n"
            case _:
                pass
        return ""

    def _ended(self, event: events.StepEnded) -> str:
        view = self.step(event.step, event.label)
        del self.steps[event.step]
        width = self._width()
        if event.outcome is Outcome.CACHED:
            return f" => {self.paint('CACHED', 'blue')} {cut(view.label, width - 11)}\n"
        elapsed = seconds_text(event.bill.wall_s)
        label = cut(view.label, width - len(elapsed) - 5)
        details = [bill_text(event.bill)]
        if event.reason:
            details.append(f"not cached: {clean(event.reason)}")
        told = "; ".join(filter(None, details))
        second = f"{self.paint(cut(f'    {told}', width), 'dim')}\n" if told else ""
        if event.outcome is Outcome.FAILED:
            return f" => {self.paint(label, 'red')} {elapsed}\n{second}{self.failure(view)}"
        return f" => {label} {elapsed}\n{second}"

    def _draw(self, lasting: str = "") -> None:
        frame = self.frame()
        self.write(self._erase() + lasting + "".join(f"{line}\n" for line in frame))
        self._drawn = len(frame)
        self._last_draw = self.now()

    def _erase(self) -> str:
        """Return what takes the region away: up to its first line, clear to the end."""
        drawn, self._drawn = self._drawn, 0
        return f"\x1b[{drawn}F\x1b[J" if drawn else ""

    def _tick(self) -> None:
        while not self._stop.wait(_REDRAW_S * 2):
            with self.lock:
                if self.steps or self.transfers:
                    self._draw()
