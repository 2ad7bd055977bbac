"""Time as something that is passed in."""

import time
from datetime import UTC, datetime
from typing import Protocol

RACY_NS = 20_000_000
"""More than a tick of any kernel's clock (1 to 10 ms)."""

COARSE_NS = 2_000_000_000 + RACY_NS
"""As much for file systems that keep whole seconds, or, as FAT, even ones."""

_SECOND_NS = 1_000_000_000


class Clock(Protocol):
    """Wall time and elapsed time."""

    def now(self) -> datetime:
        """Return the present time, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds since an arbitrary start; never goes back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the present time, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds since an arbitrary start; never goes back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class FixedClock:
    """A clock that stands still until told to move; sleeping moves it."""

    def __init__(self, time: datetime) -> None:
        self.time = time
        self.elapsed = 0.0
        self.slept: list[float] = []

    def now(self) -> datetime:
        """Return the set time."""
        return self.time

    def monotonic(self) -> float:
        """Return the seconds that have been slept."""
        return self.elapsed

    def sleep(self, seconds: float) -> None:
        """Move on without waiting, and remember it."""
        self.elapsed += seconds
        self.slept.append(seconds)


def is_racy(changed_ns: int, looked_ns: int) -> bool:
    """Tell whether a change after a look at a file could leave the time of the one before it.

    ``changed_ns`` is the time that the file has, ``looked_ns`` the wall time at or before the look.
    A time of whole seconds may come from a file system that keeps no others.

    Source: git, Documentation/technical/racy-git.
    """
    tick_ns = RACY_NS if changed_ns % _SECOND_NS else COARSE_NS
    return changed_ns >= looked_ns - tick_ns


def rfc3339(moment: datetime) -> str:
    """Return a UTC time as image documents write it, in microseconds, with ``Z``.

    Source: RFC 3339 section 5.6, OCI image-spec config.md "created".
    """
    text = moment.astimezone(UTC).isoformat(timespec="microseconds")
    return text.replace("+00:00", "Z")
