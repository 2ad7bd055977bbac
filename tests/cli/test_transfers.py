import io

import pytest

from imagekit.base.events import Notice, TransferEnded, TransferProgress, TransferStarted
from imagekit.cli.plain import PlainProgress
from imagekit.cli.progress import JsonProgress
from imagekit.cli.session import LateProgress
from imagekit.cli.transfers import TransferBars, make_transfer_progress
from imagekit.config import ProgressMode


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_per_blob_and_a_line_at_its_end() -> None:
    stream = Terminal()
    with TransferBars(stream) as progress:
        progress(TransferStarted(name="abc", total_bytes=4_000_000, verb="pushing"))
        progress(TransferProgress(name="abc", advance_bytes=4_000_000))
        progress(TransferProgress(name="unknown", advance_bytes=1))
        progress(TransferEnded(name="abc"))
        progress(TransferEnded(name="def", skipped="already there"))
        progress(Notice(message="old\x1b[2J schema"))

    text = stream.getvalue()
    assert "pushing abc" in text
    assert "abc: 4.00MB\n" in text
    assert "def: already there\n" in text
    assert "warning: old [2J schema\n" in text


def test_bars_of_an_interrupted_transfer_are_closed() -> None:
    stream = Terminal()
    progress = TransferBars(stream)
    progress(TransferStarted(name="abc", total_bytes=10))

    progress.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)

    assert progress._bars == {}


def test_a_late_renderer_is_made_at_the_first_event() -> None:
    made = []

    def make() -> PlainProgress:
        made.append(PlainProgress(io.StringIO()))
        return made[-1]

    with LateProgress(make) as progress:
        assert made == []
        progress(Notice(message="a"))
        progress(Notice(message="b"))

    assert len(made) == 1


@pytest.mark.parametrize(
    ("mode", "stream", "quiet", "kind"),
    [
        (ProgressMode.AUTO, Terminal(), False, TransferBars),
        (ProgressMode.TTY, io.StringIO(), False, TransferBars),
        (ProgressMode.AUTO, io.StringIO(), False, PlainProgress),
        (ProgressMode.AUTO, Terminal(), True, PlainProgress),
        (ProgressMode.JSON, Terminal(), False, JsonProgress),
    ],
)
def test_bars_are_for_terminals(
    mode: ProgressMode, stream: io.StringIO, quiet: bool, kind: type[object]
) -> None:
    assert type(make_transfer_progress(mode, stream, quiet=quiet)) is kind
