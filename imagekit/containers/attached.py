"""A container in the foreground: its input and output, its signals, and waiting for its end."""

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from imagekit.containers.pump import Pump, Sink, write_all
from imagekit.containers.stdio import Stdio
from imagekit.sandbox.process import SandboxProcess
from imagekit.sandbox.spec import ExitResult

if TYPE_CHECKING:
    from imagekit.containers.logs import LogWriter


Pipes = tuple[tuple[int, str, int], ...]
"""(read end, stream, the caller's descriptor) of each pipe."""


class Channels(NamedTuple):
    """The descriptors a process is started with, and the ends of pipes that are read here."""

    stdin: int
    stdout: int
    stderr: int
    pipes: Pipes = ()


@contextlib.contextmanager
def channels(stdio: Stdio, *, interactive: bool, tty: bool, recorded: bool) -> Iterator[Channels]:
    """Yield what to start a process with; what was opened for that is closed with the block.

    Without a terminal and without a record the caller's own descriptors are handed on: nothing is
    copied. Without ``interactive`` the input is empty. The read ends of pipes belong to the pump.
    """
    with contextlib.ExitStack() as stack:
        null = -1
        if not interactive or tty:
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            stack.callback(os.close, null)
        if tty:
            yield Channels(stdin=null, stdout=null, stderr=null)
            return
        stdin = stdio.stdin if interactive else null
        if not recorded:
            yield Channels(stdin=stdin, stdout=stdio.stdout, stderr=stdio.stderr)
            return
        pipes = []
        writes = []
        for stream, target in (("stdout", stdio.stdout), ("stderr", stdio.stderr)):
            read, write = os.pipe2(os.O_CLOEXEC)
            stack.callback(os.close, write)
            pipes.append((read, stream, target))
            writes.append(write)
        try:
            yield Channels(stdin=stdin, stdout=writes[0], stderr=writes[1], pipes=tuple(pipes))
        except BaseException:
            for read, _, _ in pipes:
                os.close(read)
            raise


def attend(
    process: SandboxProcess,
    stdio: Stdio,
    pipes: Pipes,
    *,
    interactive: bool,
    log: "LogWriter | None" = None,
) -> ExitResult:
    """Join the process to the caller until it has ended, and return how it did.

    An exception (there is none in normal use) kills it.
    """

    def sink(stream: str, fd: int) -> Sink:
        def take(data: bytes) -> None:
            if log is not None:
                log.write(stream, data)
            write_all(fd, data)

        return take

    try:
        if process.terminal_fd >= 0:
            from imagekit.containers.terminal import raw_mode, relay, resized

            with raw_mode(stdio.stdin), resized(stdio.stdin, process.resize):
                relay(
                    process.terminal_fd,
                    pidfd=process.pidfd,
                    stdin=stdio.stdin if interactive else None,
                    output=sink("stdout", stdio.stdout),
                )
        elif pipes:
            pump = Pump(process.pidfd)
            for read, stream, target in pipes:
                pump.add(read, sink(stream, target))
            pump.run()
        return process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise
