"""What happens, told as values: every long operation reports to an ``EventSink``.

A sink is any callable that takes one event. It may be called from several threads and must not
raise. The command line renders events; a program may collect them.
"""

import enum
from collections.abc import Callable

import msgspec


class Outcome(enum.StrEnum):
    """How a step ended."""

    DONE = "done"
    CACHED = "cached"
    FAILED = "failed"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all events."""


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """What a step used; zero where the machine does not tell."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_memory_bytes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0


class StepStarted(Event, frozen=True, kw_only=True):
    """A step began; ``label`` is ``[stage i/n] INSTR ...``."""

    step: int
    label: str


class StepOutput(Event, frozen=True, kw_only=True):
    """Bytes a step wrote to its standard output or error, in order, not split at lines."""

    step: int
    data: bytes


class StepEnded(Event, frozen=True, kw_only=True):
    """A step ended; ``reason`` says why it was not cached, empty when it was."""

    step: int
    label: str
    outcome: Outcome
    bill: Bill = Bill()
    reason: str = ""


class TransferStarted(Event, frozen=True, kw_only=True):
    """A blob's move began; ``name`` is a short digest, ``total_bytes`` its size."""

    name: str
    total_bytes: int
    verb: str = "copying"


class TransferProgress(Event, frozen=True, kw_only=True):
    """``advance_bytes`` more bytes of a blob moved."""

    name: str
    advance_bytes: int


class TransferEnded(Event, frozen=True, kw_only=True):
    """A blob has arrived; ``skipped`` says why nothing was moved, empty when it was."""

    name: str
    skipped: str = ""


class Notice(Event, frozen=True, kw_only=True):
    """Something worth a line: a warning that stops nothing."""

    message: str


EventSink = Callable[[Event], None]


def ignore_events(event: Event) -> None:
    """Take an event and do nothing."""
    del event
