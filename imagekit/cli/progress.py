"""Events shown as they happen: plain lines, a live region of a terminal, or JSON lines.

Every renderer is an ``EventSink`` and a context manager; events may come from several threads.
Everything goes to standard error, so that standard output stays free for data.
"""

import re
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self, TextIO

from imagekit.base import events
from imagekit.base.events import Event, Outcome
from imagekit.cli.render import seconds_text, size_text
from imagekit.cli.tables import clean, cut
from imagekit.config import Color, ProgressMode

TAIL_LINES = 20
LIVE_LINES = 5
MAX_PENDING_BYTES = 8192
_REDRAW_S = 0.1
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
_COLORS = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "dim": "2"}


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
            return TtyProgress(stream, painter=painter, size=size, monotonic=monotonic)
        case _:
            return PlainProgress(stream, painter=painter, monotonic=monotonic)


@dataclass(frozen=True, slots=True, kw_only=True)
class Painter:
    """Colours text, or leaves it alone."""

    on: bool = False

    def __call__(self, text: str, color: str) -> str:
        """Return ``text`` in a colour."""
        return f"\x1b[{_COLORS[color]}m{text}\x1b[0m" if self.on else text


class LineSplitter:
    """Bytes in pieces to printable lines; what a carriage return overwrites is left out."""

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that are now complete."""
        *lines, self._pending = (self._pending + data).split(b"\n")
        if len(self._pending) > MAX_PENDING_BYTES:
            lines.append(self._pending)
            self._pending = b""
        return [printable(line) for line in lines]

    def rest(self) -> list[str]:
        """Return the last line if it has no end."""
        pending, self._pending = self._pending, b""
        return [printable(pending)] if pending else []

    @property
    def current(self) -> str:
        """The unfinished line as it looks now."""
        return printable(self._pending)


def printable(line: bytes) -> str:
    """Return a line of output without escape sequences and control characters."""
    text = line.decode("utf-8", "replace").rstrip("\r").rpartition("\r")[2]
    return clean(_ESCAPES.sub("", text).expandtabs())


def bill_text(bill: events.Bill) -> str:
    """Return ``cpu 1.2s, peak 45MB, read 3MB, wrote 10MB``; what is zero is left out."""
    parts = []
    if bill.cpu_s >= 0.005:
        parts.append(f"cpu {seconds_text(bill.cpu_s)}")
    if bill.peak_memory_bytes:
        parts.append(f"peak {size_text(bill.peak_memory_bytes)}")
    if bill.read_bytes:
        parts.append(f"read {size_text(bill.read_bytes)}")
    if bill.written_bytes:
        parts.append(f"wrote {size_text(bill.written_bytes)}")
    return ", ".join(parts)


@dataclass(slots=True, kw_only=True)
class StepView:
    """What a renderer remembers about a running step."""

    label: str
    started: float
    lines: LineSplitter = field(default_factory=LineSplitter)
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))


@dataclass(slots=True, kw_only=True)
class TransferView:
    """What a renderer remembers about a blob on its way."""

    verb: str
    total_bytes: int
    started: float
    moved_bytes: int = 0


class _Renderer:
    """The state that the renderers for people share."""

    def __init__(
        self, stream: TextIO, *, painter: Painter, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream
        self._paint = painter
        self._now = monotonic
        self._lock = threading.Lock()
        self._steps: dict[int, StepView] = {}
        self._transfers: dict[str, TransferView] = {}

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()

    def _step(self, number: int, label: str = "") -> StepView:
        """Return the view of a step; one that is heard of for the first time has begun now."""
        view = self._steps.get(number)
        if view is None:
            view = self._steps[number] = StepView(label=clean(label), started=self._now())
        return view

    def _note_transfer(self, event: Event) -> tuple[TransferView, bool]:
        """Update the view of a blob; tell whether it has arrived."""
        assert isinstance(
            event, events.TransferStarted | events.TransferProgress | events.TransferEnded
        )
        view = self._transfers.get(event.name)
        if view is None:
            view = TransferView(verb="copying", total_bytes=0, started=self._now())
            self._transfers[event.name] = view
        if isinstance(event, events.TransferStarted):
            view.verb, view.total_bytes = event.verb, event.total_bytes
        elif isinstance(event, events.TransferProgress):
            view.moved_bytes += event.advance_bytes
        else:
            del self._transfers[event.name]
            return view, True
        return view, False

    def _transfer_line(self, event: events.TransferEnded, view: TransferView) -> str:
        name = clean(event.name)
        if event.skipped:
            return f"{name}: {clean(event.skipped)}"
        elapsed = self._now() - view.started
        size = size_text(view.total_bytes or view.moved_bytes)
        return f"{name}: {size} in {seconds_text(elapsed)}"

    def _failure(self, view: StepView) -> str:
        """Return the last output of a failed step, framed."""
        shown = [*view.tail, *view.lines.rest()][-TAIL_LINES:]
        if not shown:
            return ""
        body = "".join(f"{line}\n" for line in shown)
        return f"------\n > {view.label}:\n{body}------\n"


class PlainProgress(_Renderer):
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
        with self._lock:
            text = self._lines_of(event)
            if text:
                self._write(text)

    def _lines_of(self, event: Event) -> str:
        match event:
            case events.StepStarted():
                view = self._step(event.step, event.label)
                return "" if self._quiet else f"#{event.step} {view.label}\n"
            case events.StepOutput():
                view = self._step(event.step)
                lines = view.lines.feed(event.data)
                view.tail.extend(lines)
                return "" if self._quiet else self._output(event.step, view, lines)
            case events.StepEnded():
                return self._ended(event)
            case events.Notice():
                return f"{self._paint('warning:', 'yellow')} {clean(event.message)}\n"
            case events.TransferStarted() | events.TransferProgress():
                self._note_transfer(event)
                return ""
            case events.TransferEnded():
                view_of_blob, _ = self._note_transfer(event)
                return "" if self._quiet else f"{self._transfer_line(event, view_of_blob)}\n"
            case _:
                return ""

    def _output(self, step: int, view: StepView, lines: list[str]) -> str:
        elapsed = self._now() - view.started
        return "".join(f"#{step} {elapsed:.3f} {line}\n" for line in lines)

    def _ended(self, event: events.StepEnded) -> str:
        known = event.step in self._steps
        view = self._step(event.step, event.label)
        del self._steps[event.step]
        number = f"#{event.step}"
        rest = view.lines.rest()
        view.tail.extend(rest)
        failure = self._failure(view) if event.outcome is Outcome.FAILED else ""
        if self._quiet:
            return failure
        head = "" if known else f"{number} {view.label}\n"
        head += self._output(event.step, view, rest)
        if event.outcome is Outcome.CACHED:
            return f"{head}{number} {self._paint('CACHED', 'blue')}\n"
        used = bill_text(event.bill)
        details = f" ({used})" if used else ""
        if event.reason:
            head += f"{number} not cached: {clean(event.reason)}\n"
        if event.outcome is Outcome.FAILED:
            word = self._paint("FAILED", "red")
            return f"{head}{number} {word} {seconds_text(event.bill.wall_s)}{details}\n{failure}"
        word = self._paint("DONE", "green")
        return f"{head}{number} {word} {seconds_text(event.bill.wall_s)}{details}\n"


class TtyProgress(_Renderer):
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
        with self._lock:
            self._write(self._erase())

    def __call__(self, event: Event, /) -> None:
        """Show an event: a permanent line, or a change of the region at the next redraw."""
        with self._lock:
            lasting = self._note(event)
            if lasting or self._now() - self._last_draw >= _REDRAW_S:
                self._draw(lasting)

    def frame(self) -> list[str]:
        """Return the lines of the region as it should look now, without ends.

        It never has more lines than the terminal: what has scrolled away could not be erased. The
        steps share the space for their output; when there are too many of them the rest is counted.
        """
        width, height = self._width(), max(3, self._size()[1] - 1)
        heads = len(self._steps) + len(self._transfers)
        share = min(LIVE_LINES, (height - heads) // max(1, len(self._steps)))
        lines = []
        for view in self._steps.values():
            elapsed = seconds_text(self._now() - view.started)
            label = cut(f" => {view.label}", width - len(elapsed) - 1)
            lines.append(f"{label} {elapsed}")
            recent = [*view.tail, *filter(None, (view.lines.current,))]
            shown = recent[-share:] if share > 0 else []
            lines.extend(self._paint(cut(f" |  {line}", width), "dim") for line in shown)
        for name, blob in self._transfers.items():
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
                self._step(event.step, event.label)
            case events.StepOutput():
                view = self._step(event.step)
                view.tail.extend(view.lines.feed(event.data))
            case events.StepEnded():
                return self._ended(event)
            case events.TransferStarted() | events.TransferProgress():
                self._note_transfer(event)
            case events.TransferEnded():
                blob, _ = self._note_transfer(event)
                return "" if event.skipped else f" => {self._transfer_line(event, blob)}\n"
            case events.Notice():
                return f"{self._paint('warning:', 'yellow')} {clean(event.message)}\n"
            case _:
                pass
        return ""

    def _ended(self, event: events.StepEnded) -> str:
        view = self._step(event.step, event.label)
        del self._steps[event.step]
        width = self._width()
        if event.outcome is Outcome.CACHED:
            return f" => {self._paint('CACHED', 'blue')} {cut(view.label, width - 11)}\n"
        elapsed = seconds_text(event.bill.wall_s)
        label = cut(view.label, width - len(elapsed) - 5)
        details = [bill_text(event.bill)]
        if event.reason:
            details.append(f"not cached: {clean(event.reason)}")
        told = "; ".join(filter(None, details))
        second = f"{self._paint(cut(f'    {told}', width), 'dim')}\n" if told else ""
        if event.outcome is Outcome.FAILED:
            return f" => {self._paint(label, 'red')} {elapsed}\n{second}{self._failure(view)}"
        return f" => {label} {elapsed}\n{second}"

    def _draw(self, lasting: str = "") -> None:
        frame = self.frame()
        self._write(self._erase() + lasting + "".join(f"{line}\n" for line in frame))
        self._drawn = len(frame)
        self._last_draw = self._now()

    def _erase(self) -> str:
        """Return what takes the region away: up to its first line, clear to the end."""
        drawn, self._drawn = self._drawn, 0
        return f"\x1b[{drawn}F\x1b[J" if drawn else ""

    def _tick(self) -> None:
        while not self._stop.wait(_REDRAW_S * 2):
            with self._lock:
                if self._steps or self._transfers:
                    self._draw()


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
        import dataclasses
        import json

        name = re.sub(r"(?<!^)(?=[A-Z])", "-", type(event).__name__).lower()
        fields = dataclasses.asdict(event)
        line = json.dumps({"event": name, **fields}, default=_as_text)
        with self._lock:
            self._stream.write(f"{line}\n")
            self._stream.flush()


def _as_text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
