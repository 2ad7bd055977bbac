"""Attributes of a process: prctl, pidfds, descriptors, the session keyring.

Source: prctl(2), pidfd_open(2), close_range(2), keyctl(2).
"""

import struct

from imagekit.linux import libc
from imagekit.linux.constants import (
    CLOSE_RANGE_CLOEXEC,
    KEYCTL_JOIN_SESSION_KEYRING,
    PR_SET_DUMPABLE,
    PR_SET_NAME,
    PR_SET_NO_NEW_PRIVS,
    SECCOMP_SET_MODE_FILTER,
)


def prctl(option: int, argument: int | bytes = 0, third: int = 0) -> int:
    """Change or ask for an attribute of this process.

    Source: prctl(2).
    """
    return libc.syscall("prctl", libc.SYS_prctl, option, argument, third, 0, 0)


def set_dumpable(*, dumpable: bool) -> None:
    """Let, or stop, other processes of this user look into this one through /proc and ptrace."""
    prctl(PR_SET_DUMPABLE, int(dumpable))


def set_no_new_privileges() -> None:
    """Make set-user-ID bits and file capabilities ineffective from here on."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def reset_signal(number: int) -> None:
    """Give a signal its default action, also one that the C library keeps for itself (32, 33).

    A parent may leave those ignored (GNU make does), and libc's own function refuses them.

    Source: rt_sigaction(2), nptl(7).
    """
    default = bytes(32)  # handler SIG_DFL, no flags, no restorer, an empty mask
    libc.syscall("rt_sigaction", libc.SYS_rt_sigaction, number, default, None, 8)


def set_name(name: str) -> None:
    """Set the name that ps shows, at most 15 bytes."""
    prctl(PR_SET_NAME, name.encode()[:15] + b"\0")


def set_command_line(text: str) -> None:
    """Overwrite the command line that ps shows, as far as ``text`` and the old one's room go.

    Source: proc_pid_stat(5) arg_start, arg_end.
    """
    with open("/proc/self/stat", encoding="ascii", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])
    if 0 < start < end:
        libc.overwrite(start, text.encode()[: end - start - 1].ljust(end - start, b"\0"))


def close_on_exec_from(first_fd: int) -> None:
    """Mark every descriptor from ``first_fd`` on to be closed by execve.

    Source: close_range(2).
    """
    libc.syscall("close_range", libc.SYS_close_range, first_fd, 0xFFFFFFFF, CLOSE_RANGE_CLOEXEC)


def close_from(first_fd: int) -> None:
    """Close every descriptor from ``first_fd`` on.

    Source: close_range(2).
    """
    libc.syscall("close_range", libc.SYS_close_range, first_fd, 0xFFFFFFFF, 0)


def join_session_keyring(name: str) -> None:
    """Leave the caller's session keyring for a new one.

    Source: keyctl(2).
    """
    libc.syscall(
        "keyctl", libc.SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.encode(), None, None, None
    )


def load_seccomp_filter(program: bytes) -> None:
    """Filter the system calls of this process and its descendants.

    ``program`` is classic BPF, 8 bytes an instruction, as ``seccomp.assemble`` makes it. Needs
    CAP_SYS_ADMIN or no_new_privs.

    Source: seccomp(2).
    """
    code = libc.buffer(program)
    header = struct.pack("HxxxxxxQ", len(program) // 8, libc.address(code))
    libc.syscall("seccomp", libc.SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, header)
