import io
import itertools
import json
import threading
from collections.abc import Callable

import pytest

from imagekit.base.events import (
    Bill,
    Event,
    Notice,
    Outcome,
    StepEnded,
    StepOutput,
    StepStarted,
    TransferEnded,
    TransferProgress,
    TransferStarted,
)
from imagekit.cli.live import TtyProgress
from imagekit.cli.plain import PlainProgress
from imagekit.cli.progress import JsonProgress, make_progress
from imagekit.cli.steps import LineSplitter
from imagekit.config import ProgressMode


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def ticking(step_s: float = 0.5) -> Callable[[], float]:
    counter = itertools.count()
    return lambda: next(counter) * step_s


def shown(*events: Event, quiet: bool = False) -> list[str]:
    stream = io.StringIO()
    with PlainProgress(stream, monotonic=ticking(), quiet=quiet) as progress:
        for event in events:
            progress(event)
    return stream.getvalue().splitlines()


FAILED = (
    StepStarted(step=2, label="[build 2/4] RUN make"),
    StepOutput(step=2, data=b"compiling\nerr"),
    StepOutput(step=2, data=b"or: no rule"),
    StepEnded(step=2, label="[build 2/4] RUN make", outcome=Outcome.FAILED, bill=Bill(wall_s=1.25)),
)


def test_a_step_is_told_with_its_bill_and_the_reason_for_the_miss() -> None:
    lines = shown(
        StepStarted(step=1, label="[1/2] COPY . /app"),
        StepEnded(
            step=1,
            label="[1/2] COPY . /app",
            outcome=Outcome.DONE,
            bill=Bill(wall_s=2.0, cpu_s=1.5, peak_memory_bytes=45_000_000, written_bytes=1000),
            reason="app.py changed",
        ),
    )

    assert lines == [
        "#1 [1/2] COPY . /app",
        "#1 not cached: app.py changed",
        "#1 DONE 2.0s (cpu 1.5s, peak 45MB, wrote 1kB)",
    ]


def test_a_cached_step_that_never_started_is_named() -> None:
    lines = shown(StepEnded(step=3, label="[2/2] RUN true", outcome=Outcome.CACHED))

    assert lines == ["#3 [2/2] RUN true", "#3 CACHED"]


def test_a_failed_step_repeats_its_last_output_whole_lines() -> None:
    lines = shown(*FAILED)

    assert lines[1].endswith(" compiling")
    assert lines[2].endswith(" error: no rule")
    assert lines[3:] == [
        "#2 FAILED 1.2s",
        "------",
        " > [build 2/4] RUN make:",
        "compiling",
        "error: no rule",
        "------",
    ]


def test_quiet_shows_nothing_but_failures_and_warnings() -> None:
    lines = shown(Notice(message="old syntax"), *FAILED, quiet=True)

    assert lines[0] == "warning: old syntax"
    assert lines[1:4] == ["------", " > [build 2/4] RUN make:", "compiling"]


def test_blobs_are_told_when_they_have_arrived() -> None:
    lines = shown(
        TransferStarted(name="abc", total_bytes=2_000_000, verb="pushing"),
        TransferProgress(name="abc", advance_bytes=2_000_000),
        TransferEnded(name="abc"),
        TransferEnded(name="def", skipped="already there"),
    )

    assert lines == ["abc: 2MB in 500ms", "def: already there"] or lines[0].startswith("abc: 2MB")
    assert lines[1] == "def: already there"


def test_output_loses_escapes_and_what_a_carriage_return_overwrites() -> None:
    splitter = LineSplitter()

    lines = splitter.feed(b"10%\r20%\r\n\x1b[31mred\x1b[0m\x07\n\x1b]0;title\x07bell\npart")

    assert lines == ["20%", "red ", "bell"]
    assert splitter.current == "part"
    assert splitter.rest() == ["part"]
    assert splitter.rest() == []


def test_a_line_without_end_does_not_grow_without_bound() -> None:
    splitter = LineSplitter()

    lines = [line for _ in range(100) for line in splitter.feed(b"x" * 1000)]

    assert sum(map(len, lines)) > 80_000


def test_the_live_region_is_erased_and_fits_the_width() -> None:
    stream = Terminal()
    progress = TtyProgress(stream, size=lambda: (40, 24), monotonic=ticking(), ticking=False)
    with progress:
        progress(StepStarted(step=1, label="[1/2] RUN " + "x" * 100))
        progress(StepOutput(step=1, data=b"y" * 200 + b"\n"))
        assert all(len(line) <= 39 for line in progress.frame())
        progress(StepEnded(step=1, label="", outcome=Outcome.DONE, bill=Bill(wall_s=1)))

    assert "\x1b[1F\x1b[J" in stream.getvalue()
    assert progress.frame() == []


@pytest.mark.parametrize(("steps", "height"), [(1, 24), (4, 10), (9, 10), (30, 10)])
def test_the_live_region_is_never_higher_than_the_terminal(steps: int, height: int) -> None:
    progress = TtyProgress(
        Terminal(), size=lambda: (80, height), monotonic=ticking(), ticking=False
    )
    for step in range(steps):
        progress(StepStarted(step=step, label=f"step {step}"))
        progress(StepOutput(step=step, data=b"line\n" * 20))

    frame = progress.frame()

    assert steps <= len(frame) < height or frame[-1] == f" => and {steps - height + 2} more"
    assert len(frame) < height


def test_the_terminal_shows_the_tail_of_a_failed_step() -> None:
    stream = Terminal()
    with TtyProgress(stream, monotonic=ticking(), ticking=False) as progress:
        for event in FAILED:
            progress(event)

    assert "error: no rule\n------\n" in stream.getvalue()


def test_a_ticker_thread_ends_with_its_block() -> None:
    before = threading.active_count()
    with TtyProgress(Terminal()) as progress:
        progress(StepStarted(step=1, label="x"))

    assert threading.active_count() == before


def test_json_progress_is_one_object_a_line() -> None:
    stream = io.StringIO()
    with JsonProgress(stream) as progress:
        for event in FAILED:
            progress(event)

    documents = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [document["event"] for document in documents] == [
        "step-started",
        "step-output",
        "step-output",
        "step-ended",
    ]
    assert documents[1]["data"] == "compiling\nerr"
    assert documents[3]["outcome"] == "failed"
    assert documents[3]["bill"]["wall_s"] == 1.25


@pytest.mark.parametrize(
    ("mode", "stream", "kind"),
    [
        (ProgressMode.AUTO, io.StringIO(), PlainProgress),
        (ProgressMode.AUTO, Terminal(), TtyProgress),
        (ProgressMode.PLAIN, Terminal(), PlainProgress),
        (ProgressMode.TTY, io.StringIO(), TtyProgress),
        (ProgressMode.JSON, Terminal(), JsonProgress),
    ],
)
def test_auto_looks_at_the_stream(
    mode: ProgressMode, stream: io.StringIO, kind: type[object]
) -> None:
    assert type(make_progress(mode, stream)) is kind
