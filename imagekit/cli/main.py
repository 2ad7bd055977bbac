"""The entry point: this process's signals, and answers that need not wait for click.

Importing click takes longer than everything else that a quick command does.
"""

import signal
import sys
from types import FrameType
from typing import NoReturn

from imagekit.cli.version import version_text


def main() -> NoReturn:
    """Run the program for this process: its arguments, environment and signals."""
    if sys.argv[1:] in (["version"], ["--version"]):
        sys.stdout.write(version_text() + "\n")
        sys.exit(0)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, end)
    from imagekit.cli.app import cli

    cli.main(prog_name="imagekit")


def end(number: int, frame: FrameType | None) -> NoReturn:
    """Leave through every context manager, so that a terminated build cleans up after itself."""
    del frame
    raise SystemExit(128 + number)
