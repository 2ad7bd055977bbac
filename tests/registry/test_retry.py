import pytest

from imagekit.base.clock import FixedClock
from imagekit.registry.errors import NotFoundError, RateLimitedError, UnreachableError
from imagekit.registry.retry import Retrier, RetryPolicy, parse_retry_after


def _retrier(clock: FixedClock, **policy: float) -> Retrier:
    return Retrier(policy=RetryPolicy(**policy), clock=clock, random=lambda: 1.0)  # type: ignore[arg-type]  # by name


def _raise(error: Exception) -> None:
    raise error


def test_waits_double_and_end_with_success(clock: FixedClock) -> None:
    errors = [UnreachableError("cut")] * 3
    calls = iter(range(10))

    def operation() -> str:
        number = next(calls)
        if number < len(errors):
            raise errors[number]
        return "done"

    assert _retrier(clock, first_wait_s=1.0, longest_wait_s=3.0).run(operation) == "done"
    assert clock.slept == [1.0, 2.0, 3.0]


def test_the_last_error_is_raised_after_the_tries(clock: FixedClock) -> None:
    with pytest.raises(UnreachableError):
        _retrier(clock, attempts=3).run(lambda: _raise(UnreachableError("cut")))

    assert len(clock.slept) == 2


def test_a_final_refusal_is_not_tried_again(clock: FixedClock) -> None:
    with pytest.raises(NotFoundError):
        _retrier(clock).run(lambda: _raise(NotFoundError("no")))

    assert clock.slept == []


def test_retry_after_is_followed_with_a_little_more(clock: FixedClock) -> None:
    calls = iter([RateLimitedError("slow down", retry_after_s=7.0), None])

    def operation() -> None:
        if (error := next(calls)) is not None:
            raise error

    _retrier(clock).run(operation)

    assert clock.slept == [pytest.approx(7.7)]


def test_a_long_retry_after_ends_the_tries(clock: FixedClock) -> None:
    with pytest.raises(RateLimitedError):
        _retrier(clock).run(lambda: _raise(RateLimitedError("later", retry_after_s=3600)))

    assert clock.slept == []


def test_progress_makes_tries_count_anew(clock: FixedClock) -> None:
    reached = 0

    def operation() -> int:
        nonlocal reached
        if reached < 10:
            reached += 1
            raise UnreachableError("cut")
        return reached

    assert _retrier(clock, attempts=2).run(operation, progress=lambda: reached) == 10


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        ("Thu, 01 Jan 2026 00:00:30 GMT", 30.0),
        ("Wed, 31 Dec 2025 00:00:30 GMT", 0.0),
        ("soon", None),
        ("-1", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(
    value: str, seconds: float | None, clock: FixedClock
) -> None:
    assert parse_retry_after(value, clock) == seconds
