import os
import pty
from datetime import UTC, datetime, timedelta

import pytest

from imagekit.cli import render

NOW = datetime(2026, 2, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0B"),
        (999, "999B"),
        (1000, "1kB"),
        (1536, "1.54kB"),
        (999_499, "999kB"),
        (999_500, "1MB"),
        (123_456_789, "123MB"),
        (5_000_000_000, "5GB"),
    ],
)
def test_sizes_have_three_digits(size_bytes: int, text: str) -> None:
    assert render.size_text(size_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0ms"), (0.0123, "12ms"), (0.44, "0.4s"), (59.94, "59.9s"), (125, "2m05s")],
)
def test_measured_times(seconds: float, text: str) -> None:
    assert render.seconds_text(seconds) == text


def test_hours() -> None:
    assert render.seconds_text(3 * 3600 + 65) == "3h01m"


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (NOW - timedelta(minutes=3), "3 minutes ago"),
        (NOW + timedelta(minutes=3), "Less than a second ago"),
        (datetime(1970, 1, 1, tzinfo=UTC), "N/A"),
        (None, "N/A"),
    ],
)
def test_ages(moment: datetime | None, text: str) -> None:
    assert render.age_text(moment, NOW) == text


def test_ids_are_shortened_without_their_algorithm() -> None:
    assert render.short_id("sha256:" + "ab" * 32) == "abababababab"


def test_only_a_terminal_has_a_width(monkeypatch: pytest.MonkeyPatch) -> None:
    assert render.terminal_width() is None

    controller, terminal = pty.openpty()
    with os.fdopen(controller), os.fdopen(terminal, "w") as stream:
        import fcntl
        import struct
        import termios

        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 97, 0, 0))
        monkeypatch.setattr("sys.stdout", stream)
        assert render.terminal_width() == 97


def test_every_line_of_a_message_is_cleaned(capsys: pytest.CaptureFixture[str]) -> None:
    from imagekit.base.errors import UserError

    render.report_error(UserError("two\nlines\x1b[0m\tand a tab", hint="do\x07 it"))

    assert capsys.readouterr().err == "imagekit: error: two\nlines [0m\tand a tab\nhint: do  it\n"
