"""Which process owns a lease or a temporary file, and whether it is still alive."""

import os
import re
from pathlib import Path
from typing import Self

import msgspec

_WRITTEN = r"([0-9]+)-([0-9]+)-([0-9a-f]{8})-([0-9]+)\Z"


class Owner(msgspec.Struct, frozen=True):
    """One process of one boot. A pid alone is used again; with its start time it is not.

    ``started_ticks`` is field 22 of /proc/PID/stat, ``boot`` the first 8 hex digits of the boot id,
    ``pid_namespace`` the inode of the namespace in which ``pid`` means something.

    Source: proc(5).
    """

    pid: int
    started_ticks: int
    boot: str
    pid_namespace: int

    @classmethod
    def current(cls) -> Self:
        """Return the calling process."""
        pid = os.getpid()
        state = _process_state(pid)
        return cls(
            pid=pid,
            started_ticks=0 if state is None else state[1],
            boot=boot_id(),
            pid_namespace=_pid_namespace(),
        )

    @classmethod
    def parse(cls, token: str) -> Self | None:
        """Return the owner that ``str()`` wrote, None for any other text."""
        match = re.match(_WRITTEN, token)
        if match is None:
            return None
        return cls(int(match[1]), int(match[2]), match[3], int(match[4]))

    def is_alive(self, observer: Self) -> bool:
        """Tell whether the process still runs, as ``observer`` sees it.

        A process of another pid namespace of the same boot (a second container that shares the
        store) cannot be looked up; it counts as alive, so that its work is never taken away.
        """
        if self.boot != observer.boot:
            return False
        if self.pid_namespace != observer.pid_namespace:
            return True
        state = _process_state(self.pid)
        return state is not None and state[0] not in "ZX" and state[1] == self.started_ticks

    def __str__(self) -> str:
        return f"{self.pid}-{self.started_ticks}-{self.boot}-{self.pid_namespace}"


def boot_id() -> str:
    """Return 8 hex digits that change with every boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]


def _pid_namespace() -> int:
    # The link reads "pid:[4026531836]".
    return int(os.readlink("/proc/self/ns/pid")[5:-1])


def _process_state(pid: int) -> tuple[str, int] | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the program's name in parentheses and may itself hold any byte.
    fields = stat[stat.rindex(b")") + 2 :].split()
    return fields[0].decode("ascii"), int(fields[19])
