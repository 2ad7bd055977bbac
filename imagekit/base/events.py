"""What happens, told as values: every long operation reports to an ``EventSink``.

A sink is any callable that takes one event. It may be called from several threads and must not
raise. The command line renders events; a program may collect them.
"""

import dataclasses
import enum
from collections.abc import Callable


class Outcome(enum.StrEnum):
    """How a step ended."""

    DONE = "done"
    CACHED = "cached"
    FAILED = "failed"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What a step used; zero where the machine does not tell."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_memory_bytes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StepStarted(Event):
    """A step began; ``label`` is ``[stage i/n] INSTR ...``."""

    step: int
    label: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StepOutput(Event):
    """Bytes a step wrote to its standard output or error, in order, not split at lines."""

    step: int
    data: bytes


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StepEnded(Event):
    """A step ended; ``reason`` says why it was not cached, empty when it was."""

    step: int
    label: str
    outcome: Outcome
    bill: Bill = Bill()
    reason: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TransferStarted(Event):
    """A blob's move began; ``name`` is a short digest, ``total_bytes`` its size."""

    name: str
    total_bytes: int
    verb: str = "copying"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TransferProgress(Event):
    """``advance_bytes`` more bytes of a blob moved."""

    name: str
    advance_bytes: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TransferEnded(Event):
    """A blob has arrived; ``skipped`` says why nothing was moved, empty when it was."""

    name: str
    skipped: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Notice(Event):
    """Something worth a line: a warning that stops nothing."""

    message: str


EventSink = Callable[[Event], None]


def ignore_events(event: Event) -> None:
    """Take an event and do nothing."""
    del event
