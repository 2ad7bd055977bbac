"""What the renderers for people share: running steps and transfers, their output as lines."""

import re
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO

from imagekit.base import events
from imagekit.base.events import Event
from imagekit.cli.render import seconds_text, size_text
from imagekit.cli.tables import clean

TAIL_LINES = 20
MAX_PENDING_BYTES = 8192
_ESCAPES = r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])"
_COLORS = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "dim": "2"}


class Painter:
    """Colours text, or leaves it alone."""

    def __init__(self, *, on: bool = False) -> None:
        self.on = on

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
    if "\x1b" in text:
        text = re.sub(_ESCAPES, "", text)
    return clean(text.expandtabs())


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


class StepView:
    """What a renderer remembers about a running step."""

    def __init__(self, *, label: str, started: float) -> None:
        self.label = label
        self.started = started
        self.lines = LineSplitter()
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)


class TransferView:
    """What a renderer remembers about a blob on its way."""

    def __init__(self, *, verb: str, total_bytes: int, started: float) -> None:
        self.verb = verb
        self.total_bytes = total_bytes
        self.started = started
        self.moved_bytes = 0


class Renderer:
    """The state that the renderers for people share."""

    def __init__(
        self, stream: TextIO, *, painter: Painter, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.stream = stream
        self.paint = painter
        self.now = monotonic
        self.lock = threading.Lock()
        self.steps: dict[int, StepView] = {}
        self.transfers: dict[str, TransferView] = {}

    def write(self, text: str) -> None:
        """Write at once."""
        self.stream.write(text)
        self.stream.flush()

    def step(self, number: int, label: str = "") -> StepView:
        """Return the view of a step; one that is heard of for the first time has begun now."""
        view = self.steps.get(number)
        if view is None:
            view = self.steps[number] = StepView(label=clean(label), started=self.now())
        return view

    def note_transfer(self, event: Event) -> tuple[TransferView, bool]:
        """Update the view of a blob; tell whether it has arrived."""
        assert isinstance(
            event, events.TransferStarted | events.TransferProgress | events.TransferEnded
        )
        view = self.transfers.get(event.name)
        if view is None:
            view = TransferView(verb="copying", total_bytes=0, started=self.now())
            self.transfers[event.name] = view
        if isinstance(event, events.TransferStarted):
            view.verb, view.total_bytes = event.verb, event.total_bytes
        elif isinstance(event, events.TransferProgress):
            view.moved_bytes += event.advance_bytes
        else:
            del self.transfers[event.name]
            return view, True
        return view, False

    def transfer_line(self, event: events.TransferEnded, view: TransferView) -> str:
        """Return what is told of a blob that has arrived."""
        name = clean(event.name)
        if event.skipped:
            return f"{name}: {clean(event.skipped)}"
        elapsed = self.now() - view.started
        size = size_text(view.total_bytes or view.moved_bytes)
        return f"{name}: {size} in {seconds_text(elapsed)}"

    def failure(self, view: StepView) -> str:
        """Return the last output of a failed step, framed."""
        shown = [*view.tail, *view.lines.rest()][-TAIL_LINES:]
        if not shown:
            return ""
        body = "".join(f"{line}\n" for line in shown)
        return f"------\n > {view.label}:\n{body}------\n"
