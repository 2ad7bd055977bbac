"""The entry point: this process's signals, the direct way to a command, and the way out.

Importing click takes longer than most commands, so correct command lines are read without it.
"""

import contextlib
import gc
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

from imagekit.cli.version import version_text

GC_THRESHOLD = 100_000
"""Imports make many objects and no garbage: at 700, Python's default, a run starts 10% later."""

_COMPLETION = "_IMAGEKIT_COMPLETE"


def main() -> NoReturn:
    """Run the program for this process: its arguments, environment and signals."""
    fill_streams()
    arguments = sys.argv[1:]
    if arguments in (["version"], ["--version"]):
        try:
            sys.stdout.write(version_text() + "\n")
        except OSError:  # PYTHONUNBUFFERED; otherwise it is the flush that fails
            leave(1)
        leave(0)
    gc.set_threshold(GC_THRESHOLD, 10, 10)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, end)
    try:
        code = run_directly(arguments)
        if code is None:
            from imagekit.cli.app import cli

            cli.main(arguments, prog_name="imagekit")
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else 0
    except KeyboardInterrupt:  # before there was a command to be interrupted
        with contextlib.suppress(OSError):
            sys.stderr.write("imagekit: interrupted\n")
        code = 130
    leave(code)


def fill_streams() -> None:
    """Put ``/dev/null`` where the caller has closed a standard stream.

    Otherwise the next file or socket that is opened takes the number, and a container's output
    would be written into it.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            fd = os.open(os.devnull, os.O_RDWR)  # the lowest free number: that of the stream
            os.set_inheritable(fd, True)  # noqa: FBT003  positional only
            setattr(sys, name, os.fdopen(fd, mode, encoding="utf-8", errors="backslashreplace"))


def run_directly(arguments: list[str]) -> int | None:
    """Run a correct command line and return its exit code; None for one that click is to read."""
    from imagekit.cli.session import Launch

    launch = Launch()
    if _COMPLETION in launch.environ:
        return None
    import importlib

    from imagekit.base import quick_msgspec
    from imagekit.cli import direct, root
    from imagekit.cli.commands import COMMANDS
    from imagekit.cli.declare import Command, Group
    from imagekit.cli.outcome import exit_code_of

    try:
        own, words = direct.read_options(
            root.PARAMETERS, arguments, interspersed=False, is_group=True
        )
        module = next((one.module for one in COMMANDS if words[:1] == [one.name]), None)
        if module is None:
            return None
        command = importlib.import_module(module).command
        if isinstance(command, Group):
            words = words[1:]
            command = command.commands.get(words[0]) if words else None
        if not isinstance(command, Command):
            return None
        values = direct.read(command, words[1:])
    except direct.GiveUp:
        return None
    quick_msgspec.load()
    function = command.function
    return exit_code_of(
        lambda: function(root.open_session(launch, **own), **values),
        debug=root.asks_for_debug(launch, flag=bool(own["debug"])),
        is_container=command.is_container,
    )


def leave(code: int) -> NoReturn:
    """End the process at once: tearing an interpreter down takes longer than most commands.

    Every resource has been given back by its context manager; only the streams are left.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # the reader has gone, or the disk is full: the code must tell
            code = code or 1
    os._exit(code)


def end(number: int, frame: FrameType | None) -> NoReturn:
    """Leave through every context manager, so that a terminated build cleans up after itself."""
    del frame
    raise SystemExit(128 + number)
