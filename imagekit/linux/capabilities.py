"""Capability sets.

Source: capabilities(7), capset(2), <linux/capability.h>.
"""

import contextlib
import errno
import struct
from collections.abc import Iterable
from typing import Final

from imagekit.linux import libc, process
from imagekit.linux.constants import (
    LINUX_CAPABILITY_VERSION_3,
    PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_CLEAR_ALL,
    PR_CAPBSET_DROP,
    PR_CAPBSET_READ,
)

NAMES: Final = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
]
"""The names without CAP_, in the order of their numbers."""

CAP_SETUID: Final = 7
CAP_NET_ADMIN: Final = 12
CAP_SYS_ADMIN: Final = 21


def mask_of(names: Iterable[str]) -> int:
    """Return the bit mask of capability names (without CAP_, upper case).

    Raises:
        ValueError: for a name that is not known.

    """
    return sum(1 << NAMES.index(name) for name in set(names))


def names_of(mask: int) -> frozenset[str]:
    """Return the names of the bits of ``mask``; bits without a name are left out."""
    return frozenset(name for number, name in enumerate(NAMES) if mask >> number & 1)


def effective() -> int:
    """Return the effective set of this process.

    Source: capget(2).
    """
    header = struct.pack("Ii", LINUX_CAPABILITY_VERSION_3, 0)
    sets = libc.buffer(bytes(24))
    libc.syscall("capget", libc.SYS_capget, header, sets)
    low, _, _, high, _, _ = struct.unpack("6I", sets.raw)
    return int(low) | int(high) << 32


def capset(*, permitted: int, effective: int, inheritable: int = 0) -> None:
    """Set the three sets of this process.

    Source: capset(2).
    """
    header = struct.pack("Ii", LINUX_CAPABILITY_VERSION_3, 0)
    low, high = (
        [value >> shift & 0xFFFFFFFF for value in (effective, permitted, inheritable)]
        for shift in (0, 32)
    )
    libc.syscall("capset", libc.SYS_capset, header, struct.pack("6I", *low, *high))


def limit_bounding_set(mask: int) -> None:
    """Drop every capability outside ``mask`` from the bounding set; needs CAP_SETPCAP.

    Source: prctl(2) PR_CAPBSET_DROP.
    """
    for number in range(64):
        if mask >> number & 1:
            continue
        try:
            process.prctl(PR_CAPBSET_DROP, number)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return  # past the last capability of this kernel


def clear_ambient_set() -> None:
    """Empty the ambient set; nothing happens on kernels that have none.

    Source: prctl(2) PR_CAP_AMBIENT.
    """
    with contextlib.suppress(OSError):
        process.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)


def last() -> int:
    """Return the number of the highest capability this kernel knows."""
    for number in range(64):
        try:
            process.prctl(PR_CAPBSET_READ, number)
        except OSError:
            return number - 1
    return 63
