"""The detached parent of a container: a small process of its own that outlives the command.

It starts the container, keeps its log and its state, hands on its ports, and removes it at the end
where that was asked for. It is a fresh interpreter without ``site`` (``detached`` starts it),
because a fork of the command would keep all of the command's memory for as long as the container
runs. It opens no database before it removes a container at the end.

Orders come pickled on descriptor 0, from the same release of the same program run by the same
user; one JSON line goes back on descriptor 1 when the process has started, or could not.
"""

import contextlib
import functools
import json
import os
import pickle
import signal
import sys
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

from imagekit.base.clock import SystemClock, rfc3339
from imagekit.base.errors import ImagekitError
from imagekit.containers.errors import SupervisorError
from imagekit.containers.files import ContainerFiles
from imagekit.containers.keeper import Keeper, remove_container
from imagekit.containers.logs import MAX_BYTES, LogWriter
from imagekit.containers.pump import Pump
from imagekit.linux.process import set_name
from imagekit.sandbox.errors import SandboxError
from imagekit.sandbox.helper import Helper
from imagekit.sandbox.launcher import Launcher
from imagekit.sandbox.process import SandboxProcess
from imagekit.sandbox.spec import ProcessSpec, SandboxSpec

_ORDER_FD: Final = 0
_REPORT_FD: Final = 1


class RunOrder(NamedTuple):
    """A container of the store at ``root`` to run; ``volumes`` go with it if it is to go."""

    id: str
    directory: Path
    sandbox: SandboxSpec
    root: Path
    remove: bool = False
    volumes: tuple[Path, ...] = ()
    log_max_bytes: int = MAX_BYTES


class ExecOrder(NamedTuple):
    """A further process to run in the container whose first process is ``init_pid``."""

    init_pid: int
    process: ProcessSpec
    sandbox: SandboxSpec


Order = RunOrder | ExecOrder


def main() -> NoReturn:
    """Take an order from descriptor 0, carry it out, and end."""
    set_name("imagekit-super")
    os.chdir("/")
    os.umask(0o022)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    launcher = Launcher(helper=Helper.start(starts=1))
    with open(_ORDER_FD, "rb", closefd=False) as stream:
        order: Order = pickle.load(stream)  # noqa: S301 (see the module's text)
    try:
        match order:
            case RunOrder():
                _run(order, launcher)
            case ExecOrder():
                _exec(order, launcher)
    except ImagekitError as error:
        _report_error(error)
        sys.exit(1)
    except OSError as error:  # reading or writing of its own; the sandbox has errors of its own
        _report_error(SupervisorError(f"watch over the container: {error.strerror}"))
        sys.exit(1)
    sys.exit(0)


def _run(order: RunOrder, launcher: Launcher) -> None:
    keeper = Keeper(ContainerFiles(order.directory), SystemClock())
    pump_inputs: list[tuple[int, str]] = []
    try:
        process = _start(launcher, order, pump_inputs)
    except ImagekitError as error:
        keeper.failed(error.message, getattr(error, "container_exit_code", 125))
        raise
    state = keeper.started(process)
    log = LogWriter(
        keeper.files.log,
        timestamp=lambda: rfc3339(keeper.clock.now()),
        max_bytes=order.log_max_bytes,
    )
    signal.signal(signal.SIGTERM, lambda number, _: process.signal(number))
    _report({"started": True})
    pump = Pump(process.pidfd)
    for fd, name in pump_inputs:
        pump.add(fd, functools.partial(log.write, name))
    pump.run()
    result = process.wait()
    log.close()
    keeper.ended(state, result, removed=order.remove, error=log.trouble)
    launcher.close()
    if order.remove:
        remove_container(order.root, order.id, order.volumes)


def _start(
    launcher: Launcher, order: RunOrder, pump_inputs: list[tuple[int, str]]
) -> SandboxProcess:
    """Start the container with its output in pipes whose read ends are added to the list."""
    with contextlib.ExitStack() as stack:
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        stack.callback(os.close, null)
        outputs = [null, null]
        if not order.sandbox.process.tty:
            for number, name in enumerate(("stdout", "stderr")):
                read, outputs[number] = os.pipe2(os.O_CLOEXEC)
                stack.callback(os.close, outputs[number])
                pump_inputs.append((read, name))
        process = launcher.start(order.sandbox, stdin=null, stdout=outputs[0], stderr=outputs[1])
    if process.terminal_fd >= 0:
        pump_inputs.append((os.dup(process.terminal_fd), "stdout"))
    return process


def _exec(order: ExecOrder, launcher: Launcher) -> None:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    process = launcher.exec(
        order.init_pid,
        order.process,
        stdin=null,
        stdout=null,
        stderr=null,
        sandbox=order.sandbox,
    )
    _report({"started": True})
    if process.terminal_fd >= 0:
        pump = Pump(process.pidfd)
        pump.add(os.dup(process.terminal_fd), lambda _: None)
        pump.run()
    process.wait()
    launcher.close()


def _report_error(error: ImagekitError) -> None:
    details = {"code": error.code, "message": error.message, "hint": error.hint}
    if isinstance(error, SandboxError):
        details |= {"operation": error.operation, "errno": str(error.errno)}
    _report({"error": details})


def _report(answer: dict[str, object]) -> None:
    """Send the answer, once, and let go of the caller's pipe."""
    null = os.open(os.devnull, os.O_RDWR)
    with contextlib.suppress(BrokenPipeError):  # the command was killed; the container goes on
        os.write(_REPORT_FD, json.dumps(answer).encode())
    os.dup2(null, _ORDER_FD)
    os.dup2(null, _REPORT_FD)
    os.close(null)
