"""Making, leaving and joining namespaces.

Source: clone(2), unshare(2), setns(2), namespaces(7).
"""

from imagekit.linux import libc


def unshare(flags: int) -> None:
    """Move this process into new namespaces.

    Source: unshare(2).
    """
    libc.syscall("unshare", libc.SYS_unshare, flags)


def setns(fd: int, flags: int) -> None:
    """Join the namespaces of ``flags`` of a process, given its pidfd (Linux 5.8), or of one fd.

    Source: setns(2).
    """
    libc.syscall("setns", libc.SYS_setns, fd, flags)


def clone(flags: int) -> int:
    """Make a process as fork does; return 0 in it and its id in the caller.

    Only for single-threaded processes: neither Python's nor the C library's fork handlers run.
    The child must end in ``execve`` or ``os._exit``.

    Source: clone(2).
    """
    return libc.syscall("clone", libc.SYS_clone, flags, None, None, None, None)
