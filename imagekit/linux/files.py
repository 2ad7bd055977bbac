"""Opening files without being led astray.

Source: openat2(2).
"""

import errno
import os
import struct

from imagekit.linux import libc
from imagekit.linux.constants import FALLOC_FL_KEEP_SIZE


def openat2(dir_fd: int, path: str | bytes, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """Open ``path`` relative to ``dir_fd`` under the rules of ``resolve`` and return a descriptor.

    ``O_CLOEXEC`` is always added. The caller closes the descriptor. A lookup that raced with a
    rename (EAGAIN, only with RESOLVE_IN_ROOT and RESOLVE_BENEATH) is repeated a few times.

    Raises:
        OSError: ELOOP for a forbidden link, EXDEV for a forbidden crossing, and what open(2) has.

    Source: openat2(2).
    """
    how = struct.pack("QQQ", flags | os.O_CLOEXEC, mode, resolve)
    name = os.fsencode(path)
    if b"\0" in name:
        raise ValueError("embedded null byte")
    attempt = 0
    while True:
        try:
            return libc.syscall("openat2", libc.SYS_openat2, dir_fd, name, how, len(how))
        except OSError as error:
            attempt += 1
            if error.errno not in (errno.EAGAIN, errno.EINTR) or attempt > 64:
                raise


def reserve(fd: int, length: int) -> None:
    """Allocate the first ``length`` bytes of a file without changing its size or content.

    What is written there later needs no more space. Does nothing on file systems that cannot.

    Source: fallocate(2) FALLOC_FL_KEEP_SIZE.
    """
    try:
        libc.syscall("fallocate", libc.SYS_fallocate, fd, FALLOC_FL_KEEP_SIZE, 0, length)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS):
            raise


def syncfs(fd: int) -> None:
    """Bring everything on the file system of ``fd`` to the disk.

    Source: syncfs(2).
    """
    libc.syscall("syncfs", libc.SYS_syncfs, fd)
