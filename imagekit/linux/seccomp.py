"""Loading a system call filter.

Source: seccomp(2).
"""

import struct

from imagekit.linux import libc
from imagekit.linux.constants import SECCOMP_SET_MODE_FILTER


def load(program: bytes) -> None:
    """Filter the system calls of this process and its descendants.

    ``program`` is classic BPF, 8 bytes an instruction. Needs CAP_SYS_ADMIN or no_new_privs.

    Source: seccomp(2).
    """
    code = libc.buffer(program)
    header = struct.pack("HxxxxxxQ", len(program) // 8, libc.address(code))
    libc.syscall("seccomp", libc.SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, header)
