"""The one foreign function: ``syscall(2)``, with errno turned into OSError.

Every wrapper in this room goes through ``syscall``, whose signature is declared once, here, and
never changed. Numbers are used instead of the C library's wrappers because half of what a sandbox
needs (the mount API of Linux 5.2, openat2, pidfds) is younger than the libraries in use, and the
raw ``clone`` must not run the C library's fork handlers.
"""

import ctypes
import os
from typing import Final

_Argument = int | bytes | None | ctypes.Array[ctypes.c_char]

_library = ctypes.CDLL(None, use_errno=True)
_syscall = _library.syscall
_syscall.argtypes = [ctypes.c_long] + [ctypes.c_void_p] * 6
_syscall.restype = ctypes.c_long

MACHINE: Final = os.uname().machine
_GENERIC: Final = MACHINE != "x86_64"  # arm64 and everything newer use asm-generic numbers


def _number(x86_64: int, generic: int) -> int:
    return generic if _GENERIC else x86_64


# Numbers from 424 on are the same on every architecture.
SYS_bpf: Final = _number(321, 280)
SYS_capget: Final = _number(125, 90)
SYS_capset: Final = _number(126, 91)
SYS_clone: Final = _number(56, 220)
SYS_keyctl: Final = _number(250, 219)
SYS_mount: Final = _number(165, 40)
SYS_pivot_root: Final = _number(155, 41)
SYS_rt_sigaction: Final = _number(13, 134)
SYS_prctl: Final = _number(157, 167)
SYS_seccomp: Final = _number(317, 277)
SYS_setns: Final = _number(308, 268)
SYS_umount2: Final = _number(166, 39)
SYS_unshare: Final = _number(272, 97)
SYS_syncfs: Final = _number(306, 267)
SYS_fallocate: Final = _number(285, 47)
SYS_pidfd_send_signal: Final = 424
SYS_open_tree: Final = 428
SYS_move_mount: Final = 429
SYS_fsopen: Final = 430
SYS_fsconfig: Final = 431
SYS_fsmount: Final = 432
SYS_pidfd_open: Final = 434
SYS_close_range: Final = 436
SYS_openat2: Final = 437
SYS_mount_setattr: Final = 442


def syscall(name: str, number: int, *arguments: _Argument) -> int:
    """Make a system call and return its result.

    ``name`` is only for the message. Integers may be negative (``AT_FDCWD``); bytes are passed as
    a pointer to them and must end with a NUL where the kernel expects a string, which ctypes
    guarantees.

    Raises:
        OSError: with errno, and ``name`` in the text.

    """
    padded = (*arguments, None, None, None, None, None, None)[:6]
    result: int = _syscall(number, *padded)
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def buffer(data: bytes) -> ctypes.Array[ctypes.c_char]:
    """Return a writable copy of ``data`` for the kernel to fill in or point at."""
    return ctypes.create_string_buffer(data, len(data))


def address(memory: ctypes.Array[ctypes.c_char]) -> int:
    """Return where ``memory`` lies; it must be kept alive while the number is used."""
    return ctypes.addressof(memory)


def overwrite(start: int, data: bytes) -> None:
    """Write ``data`` into this process's memory at ``start``; the caller knows that it may."""
    ctypes.memmove(start, data, len(data))
