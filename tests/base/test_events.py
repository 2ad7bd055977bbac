"""Events as values."""

import msgspec
import pytest

from imagekit.base.events import (
    Bill,
    Event,
    EventSink,
    Notice,
    Outcome,
    StepEnded,
    StepOutput,
    StepStarted,
    TransferEnded,
    TransferProgress,
    TransferStarted,
    ignore_events,
)

EVENTS = (
    StepStarted(step=1, label="[1/2] FROM scratch"),
    StepOutput(step=1, data=b"\xff"),
    StepEnded(step=1, label="[1/2] FROM scratch", outcome=Outcome.CACHED),
    TransferStarted(name="0123", total_bytes=5),
    TransferProgress(name="0123", advance_bytes=5),
    TransferEnded(name="0123"),
    Notice(message="something odd"),
)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_events_are_frozen_values(event: Event) -> None:
    assert event == msgspec.structs.replace(event)
    assert hash(event) == hash(msgspec.structs.replace(event))
    with pytest.raises(AttributeError):
        setattr(event, msgspec.structs.fields(event)[0].name, None)


def test_defaults_say_nothing() -> None:
    ended = StepEnded(step=1, label="x", outcome=Outcome.DONE)

    assert (ended.reason, ended.bill) == ("", Bill())
    assert TransferEnded(name="x").skipped == ""


def test_a_sink_may_ignore_everything() -> None:
    sink: EventSink = ignore_events

    for event in EVENTS:
        sink(event)
