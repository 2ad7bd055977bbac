"""A running process of a sandbox, as its caller holds it."""

import contextlib
import fcntl
import os
import select
import signal
import struct
import termios
import threading
import time
from typing import Final

import msgspec

from imagekit.sandbox.cgroups import Cgroup
from imagekit.sandbox.spec import ExitResult, NetworkInfo, Usage

STOP_SIGNAL: Final = signal.SIGTERM


class SandboxProcess:
    """A process started by the launcher: wait for it, signal it, look at its use.

    ``pid`` is the host's number and cannot be another process's until ``wait`` has returned.
    ``terminal_fd`` is the caller's end of its terminal, or -1; it is closed by ``close``.
    All methods may be called from any thread.
    """

    def __init__(
        self,
        *,
        pid: int,
        pidfd: int,
        terminal_fd: int,
        cgroup: Cgroup | None,
        started: float,
        network: NetworkInfo | None = None,
        cleanup: contextlib.ExitStack | None = None,
    ) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.terminal_fd = terminal_fd
        self.cgroup = cgroup
        self.network = network
        self._started = started
        self._cleanup = cleanup or contextlib.ExitStack()
        self._lock = threading.Lock()
        self._result: ExitResult | None = None

    def wait(self, timeout_s: float | None = None) -> ExitResult:
        """Wait for the end, release what the sandbox held on the host, and return how it ended.

        Raises:
            TimeoutError: it still runs after ``timeout_s``; it can be waited for again.

        """
        with self._lock:
            if self._result is not None:
                return self._result
            # Another thread may reap and close the descriptor, whose number then is another file's.
            pidfd = os.dup(self.pidfd)
        try:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            if not poll.poll(None if timeout_s is None else timeout_s * 1000):
                raise TimeoutError(f"process {self.pid} still runs")
        finally:
            os.close(pidfd)
        with self._lock:
            if self._result is None:
                self._result = self._reap()
            return self._result

    def poll(self) -> ExitResult | None:
        """Return how it ended, or None while it runs."""
        try:
            return self.wait(0)
        except TimeoutError:
            return None

    def signal(self, number: int) -> None:
        """Send a signal to the process; nothing happens when it has ended.

        Process 1 of a namespace ignores signals for which it has no handler, except SIGKILL.
        """
        with self._lock:
            if self._result is None:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self.pidfd, number)

    def kill(self) -> None:
        """End the process and, for the first process of a sandbox, everything in it."""
        self.signal(signal.SIGKILL)

    def stop(self, number: int = STOP_SIGNAL, *, timeout_s: float = 10) -> ExitResult:
        """Ask it to end by a signal, and kill it when it has not after ``timeout_s``."""
        self.signal(number)
        try:
            return self.wait(timeout_s)
        except TimeoutError:
            self.kill()
            return self.wait()

    def resize(self, rows: int, columns: int) -> None:
        """Tell its terminal a new size; nothing happens without a terminal."""
        if self.terminal_fd >= 0:
            size = struct.pack("HHHH", rows, columns, 0, 0)
            fcntl.ioctl(self.terminal_fd, termios.TIOCSWINSZ, size)

    def usage(self) -> Usage:
        """Return what has been used so far; zero without cgroups."""
        with self._lock:
            if self._result is not None:
                return self._result.usage
            usage = self.cgroup.usage() if self.cgroup is not None else Usage()
        return msgspec.structs.replace(usage, wall_s=time.monotonic() - self._started)

    def close(self) -> None:
        """Close the terminal; safe to repeat."""
        if self.terminal_fd >= 0:
            fd, self.terminal_fd = self.terminal_fd, -1
            os.close(fd)

    def _reap(self) -> ExitResult:
        """Collect the exit status and the bill; lock held, process ended."""
        _, status, rusage = os.wait4(self.pid, 0)
        wall_s = time.monotonic() - self._started
        os.close(self.pidfd)
        code = os.waitstatus_to_exitcode(status)
        usage = Usage(
            cpu_s=rusage.ru_utime + rusage.ru_stime,
            peak_memory_bytes=rusage.ru_maxrss * 1024,
            read_bytes=rusage.ru_inblock * 512,
            written_bytes=rusage.ru_oublock * 512,
            wall_s=wall_s,
        )
        oom_killed = False
        with self._cleanup:
            if self.cgroup is not None and self.cgroup.directories:
                counted = self.cgroup.usage()
                usage = msgspec.structs.replace(
                    counted,
                    # Version 1 does not charge buffered writes; the processes' own count does.
                    read_bytes=max(counted.read_bytes, usage.read_bytes),
                    written_bytes=max(counted.written_bytes, usage.written_bytes),
                    wall_s=wall_s,
                )
                oom_killed = self.cgroup.oom_killed()
                self.cgroup.kill()
                self.cgroup.remove()
        return ExitResult(
            exit_code=code if code >= 0 else 128 - code,
            signal=-code if code < 0 else None,
            oom_killed=oom_killed,
            usage=usage,
        )
