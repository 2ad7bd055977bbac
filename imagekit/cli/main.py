"""The entry point: this process's signals, and answers that need not wait for click.

Importing click takes longer than everything else that a quick command does.
"""

import gc
import signal
import sys
from types import FrameType
from typing import NoReturn

from imagekit.cli.version import version_text

GC_THRESHOLD = 20_000
"""Imports make many objects and no garbage: at 700, Python's default, a run starts 8% later."""


def main() -> NoReturn:
    """Run the program for this process: its arguments, environment and signals."""
    if sys.argv[1:] in (["version"], ["--version"]):
        sys.stdout.write(version_text() + "\n")
        sys.exit(0)
    gc.set_threshold(GC_THRESHOLD, 10, 10)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, end)
    from imagekit.cli.app import cli

    cli.main(prog_name="imagekit")


def end(number: int, frame: FrameType | None) -> NoReturn:
    """Leave through every context manager, so that a terminated build cleans up after itself."""
    del frame
    raise SystemExit(128 + number)
