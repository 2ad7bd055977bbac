"""Progress as plain lines, for logs."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

from imagekit.base import events
from imagekit.base.events import Event, Outcome
from imagekit.cli.render import seconds_text
from imagekit.cli.steps import Painter, Renderer, StepView, bill_text
from imagekit.cli.tables import clean


class PlainProgress(Renderer):
    """A line per event, for logs: ``#3 [build 2/4] RUN make``, ``#3 1.25 output``, ``#3 DONE 2s``.

    With ``quiet`` only notices and the output of a failed step are shown.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        painter: Painter | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        quiet: bool = False,
    ) -> None:
        super().__init__(stream, painter=painter or Painter(), monotonic=monotonic)
        self._quiet = quiet

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
        """Write the lines of an event."""
        with self.lock:
            text = self._lines_of(event)
            if text:
                self.write(text)

    def _lines_of(self, event: Event) -> str:
        match event:
            case events.StepStarted():
                view = self.step(event.step, event.label)
                return "" if self._quiet else f"#{event.step} {view.label}\n"
            case events.StepOutput():
                view = self.step(event.step)
                lines = view.lines.feed(event.data)
                view.tail.extend(lines)
                return "" if self._quiet else self._output(event.step, view, lines)
            case events.StepEnded():
                return self._ended(event)
            case events.Notice():
                return f"{self.paint('warning:', 'yellow')} {clean(event.message)}\n"
            case events.TransferStarted() | events.TransferProgress():
                self.note_transfer(event)
                return ""
            case events.TransferEnded():
                view_of_blob, _ = self.note_transfer(event)
                return "" if self._quiet else f"{self.transfer_line(event, view_of_blob)}\n"
            case _:
                return ""

    def _output(self, step: int, view: StepView, lines: list[str]) -> str:
        elapsed = self.now() - view.started
        return "".join(f"#{step} {elapsed:.3f} {line}\n" for line in lines)

    def _ended(self, event: events.StepEnded) -> str:
        known = event.step in self.steps
        view = self.step(event.step, event.label)
        del self.steps[event.step]
        number = f"#{event.step}"
        rest = view.lines.rest()
        view.tail.extend(rest)
        failure = self.failure(view) if event.outcome is Outcome.FAILED else ""
        if self._quiet:
            return failure
        head = "" if known else f"{number} {view.label}\n"
        head += self._output(event.step, view, rest)
        if event.outcome is Outcome.CACHED:
            return f"{head}{number} {self.paint('CACHED', 'blue')}\n"
        used = bill_text(event.bill)
        details = f" ({used})" if used else ""
        if event.reason:
            head += f"{number} not cached: {clean(event.reason)}\n"
        if event.outcome is Outcome.FAILED:
            word = self.paint("FAILED", "red")
            return f"{head}{number} {word} {seconds_text(event.bill.wall_s)}{details}\n{failure}"
        word = self.paint("DONE", "green")
        return f"{head}{number} {word} {seconds_text(event.bill.wall_s)}{details}\n"
