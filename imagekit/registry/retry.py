"""Trying again: when, how often and after how long."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from typing import TypeVar

from imagekit.base.clock import Clock
from imagekit.registry.errors import RegistryError

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """At most ``attempts`` tries; waits double from ``first_wait_s`` to ``longest_wait_s``.

    A server's Retry-After is followed when it is at most ``longest_retry_after_s``; a longer one
    ends the tries, since the user is better told than kept waiting.
    """

    attempts: int = 5
    first_wait_s: float = 0.2
    longest_wait_s: float = 10.0
    longest_retry_after_s: float = 120.0


class Retrier:
    """Runs operations under a policy. ``random`` gives numbers from 0 to 1 for the jitter."""

    def __init__(self, *, policy: RetryPolicy, clock: Clock, random: Callable[[], float]) -> None:
        self._policy = policy
        self._clock = clock
        self._random = random

    @property
    def clock(self) -> Clock:
        """The clock that waits."""
        return self._clock

    def run(self, operation: Callable[[], T], *, progress: Callable[[], object] | None = None) -> T:
        """Return what ``operation`` returns, trying again while its error is transient.

        ``progress`` gives a value that changes whenever the operation got further; tries are
        counted anew from there, so that a long download survives any number of cuts.

        Raises:
            RegistryError: the last one.

        """
        failures, reached = 0, progress() if progress else None
        while True:
            try:
                return operation()
            except RegistryError as error:
                if progress and progress() != reached:
                    failures, reached = 0, progress()
                failures += 1
                if not error.transient or failures >= self._policy.attempts:
                    raise
                wait_s = self._wait(failures, error.retry_after_s)
                if wait_s is None:
                    raise
                self._clock.sleep(wait_s)

    def _wait(self, failures: int, retry_after_s: float | None) -> float | None:
        policy = self._policy
        if retry_after_s is not None:
            # A little more than asked for, at random: all clients of a limited registry were told
            # the same second.
            asked = max(retry_after_s, 0.0)
            return (
                None if asked > policy.longest_retry_after_s else asked * (1 + self._random() / 10)
            )
        wait_s = min(policy.first_wait_s * 2.0 ** (failures - 1), policy.longest_wait_s)
        return wait_s * (0.5 + self._random() / 2)


def parse_retry_after(value: str, clock: Clock) -> float | None:
    """Return the seconds a Retry-After header asks for, None if it says nothing useful.

    Source: RFC 9110 section 10.2.3, seconds or a date.
    """
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    from email.utils import parsedate_to_datetime  # late: dates are rare, and it takes a while

    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, IndexError, TypeError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max((moment - clock.now()).total_seconds(), 0.0)
