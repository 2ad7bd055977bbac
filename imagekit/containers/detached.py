"""Starting a supervisor and hearing from it."""

import contextlib
import json
import os
import pickle
import sys
from pathlib import Path
from typing import Final

import msgspec

import imagekit
from imagekit.containers.errors import SupervisorError
from imagekit.containers.supervisor import Order
from imagekit.sandbox.errors import from_report

_BOOT: Final = (
    "import sys; sys.path += sys.argv[1:]; from imagekit.containers.supervisor import main; main()"
)


def spawn(order: Order) -> int:
    """Start a supervisor with an order and return its process id once its process runs.

    The supervisor is a child in a session of its own; a program that goes on reaps it with
    ``reap``.

    Raises:
        SandboxError: if the process could not be started.
        SupervisorError: if the supervisor ended without an answer.

    """
    order_read, order_write = os.pipe2(os.O_CLOEXEC)
    report_read, report_write = os.pipe2(os.O_CLOEXEC)
    try:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-SIE", "-c", _BOOT, *_module_directories()],
            {},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, order_read, 0),
                (os.POSIX_SPAWN_DUP2, report_write, 1),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
            setsid=True,
        )
    except OSError as error:
        os.close(order_write)
        os.close(report_read)
        raise SupervisorError(f"start {sys.executable}: {error.strerror}") from error
    finally:
        os.close(order_read)
        os.close(report_write)
    with open(report_read, "rb") as report:
        with contextlib.suppress(BrokenPipeError), open(order_write, "wb") as stream:
            pickle.dump(order, stream)
        answer = report.read()
    if not answer:
        status = os.waitpid(pid, 0)[1]
        raise SupervisorError(
            "the supervisor of the container ended before it could start it "
            f"(exit code {os.waitstatus_to_exitcode(status)})"
        )
    document = json.loads(answer)
    if "error" in document:
        os.waitpid(pid, 0)
        raise from_report(document["error"])
    return pid


def _module_directories() -> tuple[str, ...]:
    """Return where imagekit and msgspec lie, which is all that a supervisor imports.

    Its interpreter leaves out ``site``: no start-up file of the user or the system runs.
    """
    files = (imagekit.__file__, msgspec.__file__)
    return tuple(dict.fromkeys(str(Path(file).parent.parent) for file in files))


def reap(pids: set[int]) -> None:
    """Collect those of the supervisors that have ended, and take them out of the set."""
    for pid in tuple(pids):
        try:
            if os.waitpid(pid, os.WNOHANG)[0]:
                pids.discard(pid)
        except ChildProcessError:  # somebody else collected it
            pids.discard(pid)
