"""Whether a process that was written down is still the same and still alive.

Numbers of processes are used again; together with the time the process began and the boot it
belongs to, a number is a name. Imports the standard library only: the supervisor uses it.

Source: proc_pid_stat(5), random(4) boot_id, pidfd_open(2).
"""

import contextlib
import os
import select
import signal
from pathlib import Path
from typing import Self

from imagekit.base.record import Record

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_DEAD_STATES = (b"Z", b"X", b"x")


class ProcessIdentity(Record):
    """A process by number, start (clock ticks after boot) and boot; ``pid`` 0 is no process.

    ``pid_namespace`` is where the number means something. A process of another namespace (a second
    container that shares the store) counts as alive and cannot be reached.
    """

    pid: int = 0
    start_ticks: int = 0
    boot_id: str = ""
    pid_namespace: int = 0

    @classmethod
    def of(cls, pid: int) -> Self:
        """Return the identity of a living process; that of no process if it has ended."""
        start = _start_ticks(pid)
        if start is None:
            return cls()
        return cls(
            pid=pid, start_ticks=start, boot_id=boot_id(), pid_namespace=_own_pid_namespace()
        )

    @property
    def is_alive(self) -> bool:
        """Whether this very process exists and has not ended (a zombie has)."""
        if not self.pid or self.boot_id != boot_id():
            return False
        return not self.is_here or _start_ticks(self.pid) == self.start_ticks

    @property
    def is_here(self) -> bool:
        """Whether the number means the process here, in this process's own pid namespace."""
        return self.pid_namespace == _own_pid_namespace()

    def open(self) -> int | None:
        """Return a pidfd of this very process, which the caller closes.

        None if it has ended or cannot be reached.
        """
        try:
            descriptor = os.pidfd_open(self.pid) if self.pid and self.is_here else -1
        except ProcessLookupError:
            return None
        if descriptor >= 0 and self.is_alive:  # checked after opening: now it cannot be reused
            return descriptor
        if descriptor >= 0:
            os.close(descriptor)
        return None

    def send_signal(self, number: int) -> bool:
        """Send a signal to this very process; tell whether it was there to get it."""
        descriptor = self.open()
        if descriptor is None:
            return False
        try:
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(descriptor)
        return True

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the process has ended and tell whether it has; None waits for ever."""
        descriptor = self.open()
        if descriptor is None:
            return True
        try:
            return wait_pidfd(descriptor, timeout_s)
        finally:
            os.close(descriptor)


NO_PROCESS = ProcessIdentity()


def wait_pidfd(pidfd: int, timeout_s: float | None) -> bool:
    """Wait until the process of ``pidfd`` has ended; False when the time ran out first."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(None if timeout_s is None else max(0, round(timeout_s * 1000))))


def boot_id() -> str:
    """Return the name of the machine's present run, or nothing where there is no /proc."""
    with contextlib.suppress(FileNotFoundError):
        return _BOOT_ID.read_text(encoding="ascii").strip()
    return ""


def _own_pid_namespace() -> int:
    return int(os.readlink("/proc/self/ns/pid")[5:-1])  # it reads "pid:[4026531836]"


def _start_ticks(pid: int) -> int | None:
    """Return field 22 of the process's stat; None for no process or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()  # the name in parentheses may hold anything
    return None if fields[0] in _DEAD_STATES else int(fields[19])
