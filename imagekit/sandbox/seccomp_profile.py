"""The default system call filter: which calls a process inside may make.

The same decisions as docker's default profile of 2026: everything that works on the caller's own
processes and files is allowed; what changes the machine, or has a history of kernel bugs without a
use in builds, is not, unless the capability for it was granted.

Source: moby/profiles seccomp/default.json.
"""

import functools
from collections.abc import Mapping
from errno import ENOSYS, EPERM
from typing import Final

from imagekit.linux import capabilities, seccomp, syscall_tables
from imagekit.linux.constants import (
    AUDIT_ARCH_AARCH64,
    AUDIT_ARCH_I386,
    AUDIT_ARCH_X86_64,
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
)
from imagekit.linux.seccomp import ALLOW, Action, IfArgument, Section, fail_with

DENIED: Final = frozenset(
    [
        "uselib",
        "ustat",
        "sysfs",
        "pivot_root",
        "_sysctl",
        "swapon",
        "swapoff",
        "create_module",
        "get_kernel_syms",
        "query_module",
        "nfsservctl",
        "getpmsg",
        "putpmsg",
        "afs_syscall",
        "tuxcall",
        "security",
        "vserver",
        "kexec_load",
        "kexec_file_load",
        "add_key",
        "request_key",
        "keyctl",
        "migrate_pages",
        "move_pages",
        "userfaultfd",
        "io_uring_setup",
        "io_uring_enter",
        "io_uring_register",
        "break",
        "oldstat",
        "oldfstat",
        "oldlstat",
        "stty",
        "gtty",
        "nice",
        "ftime",
        "prof",
        "signal",
        "lock",
        "mpx",
        "ulimit",
        "oldolduname",
        "olduname",
        "sigaction",
        "sgetmask",
        "ssetmask",
        "sigsuspend",
        "sigpending",
        "readdir",
        "profil",
        "idle",
        "vm86old",
        "vm86",
        "bdflush",
    ]
)
"""Never allowed, whatever the capabilities; they fail with EPERM."""

BY_CAPABILITY: Final[Mapping[str, str]] = {
    "DAC_READ_SEARCH": "open_by_handle_at",
    "SYS_ADMIN": "bpf clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie "
    "lsm_get_self_attr lsm_set_self_attr lsm_list_modules mount mount_setattr move_mount open_tree "
    "perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 "
    "unshare",
    "SYS_BOOT": "reboot",
    "SYS_CHROOT": "chroot",
    "SYS_MODULE": "delete_module init_module finit_module",
    "SYS_PACCT": "acct",
    "SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "SYS_RAWIO": "iopl ioperm",
    "SYS_TIME": "settimeofday stime clock_settime clock_settime64",
    "SYS_TTY_CONFIG": "vhangup",
    "SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "SYSLOG": "syslog",
    "BPF": "bpf",
    "PERFMON": "perf_event_open",
}
"""Allowed only with a capability; otherwise they fail with EPERM."""

_CLONE_NAMESPACES: Final = (
    CLONE_NEWNS
    | CLONE_NEWCGROUP
    | CLONE_NEWUTS
    | CLONE_NEWIPC
    | CLONE_NEWUSER
    | CLONE_NEWPID
    | CLONE_NEWNET
)
_AF_ALG: Final = 38
_AF_VSOCK: Final = 40
_PERSONALITIES: Final = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)

_EPERM: Final = fail_with(EPERM)
_ENOSYS: Final = fail_with(ENOSYS)


@functools.lru_cache(maxsize=16)
def program(machine: str, granted: int) -> bytes:
    """Return the filter for a machine ("x86_64", "aarch64") and a mask of capabilities.

    An unknown machine gets no filter: an empty program.
    """
    match machine:
        case "x86_64":
            sections: tuple[Section, ...] = (
                _section(AUDIT_ARCH_X86_64, syscall_tables.X86_64, granted, x86=True),
                _section(AUDIT_ARCH_I386, syscall_tables.I386, granted, x86=True),
            )
        case "aarch64":
            sections = (_section(AUDIT_ARCH_AARCH64, syscall_tables.ARM64, granted, x86=False),)
        case _:
            return b""
    return seccomp.assemble(sections, other_arch=_ENOSYS)


def _section(audit_arch: int, numbers: Mapping[str, int], granted: int, *, x86: bool) -> Section:
    """Return the rules of one instruction set.

    Numbers beyond the table, the x32 ones too, do not exist as far as the caller can tell, so that
    libraries fall back to older calls.
    """
    special = _special(granted, x86=x86)
    return Section(
        audit_arch=audit_arch,
        actions={number: special.get(name, ALLOW) for name, number in numbers.items()},
        gap=_ENOSYS,
        beyond=_ENOSYS,
    )


def _special(granted: int, *, x86: bool) -> dict[str, Action]:
    """Return the actions of every call that is not simply allowed."""
    names = capabilities.names_of(granted)
    actions: dict[str, Action] = dict.fromkeys(DENIED, _EPERM)
    conditional = {call for calls in BY_CAPABILITY.values() for call in calls.split()}
    actions.update(dict.fromkeys(conditional, _EPERM))
    for name in names & BY_CAPABILITY.keys():
        actions.update(dict.fromkeys(BY_CAPABILITY[name].split(), ALLOW))
    if "SYS_ADMIN" not in names:
        # EPERM would break every new C library; ENOSYS makes it use clone, whose flags are seen.
        actions["clone3"] = _ENOSYS
        actions["clone"] = IfArgument(0, (), _CLONE_NAMESPACES, _EPERM, ALLOW)
    actions["socket"] = IfArgument(0, (_AF_ALG, _AF_VSOCK), 0, _EPERM, ALLOW)
    actions["personality"] = IfArgument(0, _PERSONALITIES, 0, ALLOW, _EPERM)
    if not x86:
        actions.update(dict.fromkeys(("arch_prctl", "modify_ldt"), _EPERM))
    return actions
