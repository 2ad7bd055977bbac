"""Time that is passed in."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagekit.base.clock import Clock, FixedClock, SystemClock, is_racy, rfc3339

# A busy machine makes a test slow, not wrong.
CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

MOMENT = datetime(2024, 2, 29, 12, 30, 1, 5, tzinfo=UTC)


def test_the_system_clock_is_aware_and_goes_forward() -> None:
    clock: Clock = SystemClock()

    first, started = clock.now(), clock.monotonic()
    clock.sleep(0.001)

    assert first.utcoffset() == timedelta(0)
    assert clock.monotonic() - started >= 0.001


def test_a_fixed_clock_stands_still_and_sleeps_at_once() -> None:
    clock = FixedClock(MOMENT)
    as_clock: Clock = clock

    as_clock.sleep(30)
    as_clock.sleep(0.5)

    assert as_clock.now() == as_clock.now() == MOMENT
    assert as_clock.monotonic() == 30.5
    assert clock.slept == [30, 0.5]


@pytest.mark.parametrize(
    ("changed_ns", "age_ns", "racy"),
    [
        (10**18 + 1, 10_000_000, True),
        (10**18 + 1, 30_000_000, False),
        (10**18 + 1, -(10**10), True),  # the clock was set back
        (10**18, 1_999_999_999, True),  # perhaps from a file system of even seconds
        (10**18, 3_000_000_000, False),
    ],
)
def test_a_change_within_a_tick_of_the_look_is_racy(
    changed_ns: int, age_ns: int, *, racy: bool
) -> None:
    assert is_racy(changed_ns, changed_ns + age_ns) is racy


def test_rfc3339_is_utc_in_microseconds() -> None:
    elsewhere = MOMENT.astimezone(timezone(timedelta(hours=5, minutes=30)))

    assert rfc3339(MOMENT) == rfc3339(elsewhere) == "2024-02-29T12:30:01.000005Z"


@CALM
@given(
    st.datetimes(
        min_value=datetime(1, 1, 3),  # noqa: DTZ001 hypothesis wants naive bounds
        max_value=datetime(9999, 12, 29),  # noqa: DTZ001 as above
        timezones=st.timezones(),
    )
)
def test_rfc3339_can_be_read_back(moment: datetime) -> None:
    assert datetime.fromisoformat(rfc3339(moment)) == moment.astimezone(UTC)
