"""A process with everything imported and one thread, which forks a child for each command.

``python -m tests.faults.forkserver`` reads one JSON request a line and answers each with a line.
It is the reaper of all that its children leave behind (PR_SET_CHILD_SUBREAPER), so it knows exactly
which processes of a killed command go on.

Source: PR_SET_CHILD_SUBREAPER(2const).
"""

import contextlib
import gc
import importlib
import os
import pkgutil
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

import msgspec

from imagekit.linux.process import prctl
from tests.faults.points import Fault, install

PR_SET_CHILD_SUBREAPER = 36
PATIENCE_S = 10.0


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A command line and what befalls it.

    ``kill_after_s`` kills it from outside. ``leaves`` tells that processes may go on after it (a
    detached container); a request without a command asks for the end of those.
    """

    arguments: tuple[str, ...] = ()
    directory: str = "/"
    output: str = "/dev/null"
    fault: Fault | None = None
    kill_after_s: float | None = None
    leaves: bool = False


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """How it ended: its exit code, or the negative number of a signal, after ``seconds``.

    ``survivors`` are the command lines of the processes that had not ended some seconds later.
    """

    status: int
    seconds: float
    survivors: tuple[str, ...] = ()


def main() -> NoReturn:
    """Serve until the end of the input."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    _import_everything()
    gc.collect()
    gc.freeze()
    for line in sys.stdin.buffer:
        answer = _serve(msgspec.json.decode(line, type=Request))
        sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
        sys.stdout.buffer.flush()
    sys.exit(0)


def _import_everything() -> None:
    import imagekit

    for module in pkgutil.walk_packages(imagekit.__path__, "imagekit."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in ("requests", "isal.igzip_threaded", "zstandard", "encodings.idna"):
        importlib.import_module(name)


def _serve(request: Request) -> Answer:
    started = time.monotonic()
    status = 0
    if request.arguments:
        child = os.fork()
        if not child:
            _run(request)
        if request.kill_after_s is not None:
            _sleep(child, request.kill_after_s)
            os.kill(child, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    seconds = time.monotonic() - started
    survivors = () if request.leaves else _wait_for_all()
    return Answer(status=status, seconds=seconds, survivors=survivors)


def _sleep(child: int, seconds: float) -> None:
    """Wait for so long, or until the child has ended; it is not reaped, so its number is its."""
    fd = os.pidfd_open(child)
    try:
        import select

        select.select([fd], [], [], seconds)
    finally:
        os.close(fd)


def _run(request: Request) -> NoReturn:
    """Be the program ``imagekit`` with these arguments; only ever called in a child."""
    try:
        os.setsid()
        os.chdir(request.directory)
        null = os.open(os.devnull, os.O_RDONLY)
        output = os.open(request.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(null, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.argv = ["imagekit", *request.arguments]
        if request.fault is not None:
            install(request.fault)
        from imagekit.cli.main import main as imagekit_main

        imagekit_main()
    finally:
        os._exit(99)


def _wait_for_all() -> tuple[str, ...]:
    """Reap every descendant; return the command lines of those that do not end."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ()
        if pid:
            continue
        if time.monotonic() > deadline:
            return tuple(_names_of_children())
        time.sleep(0.001)


def _names_of_children() -> list[str]:
    names = []
    for pid in Path("/proc/self/task", str(os.getpid()), "children").read_text().split():
        with contextlib.suppress(OSError):
            line = Path("/proc", pid, "cmdline").read_bytes().replace(b"\0", b" ")
            names.append(f"{pid} {line.decode(errors='replace')[:200]}")
    return names


if __name__ == "__main__":
    main()
