import errno
import os
import struct
from typing import Any

import pytest

from imagekit.linux import capabilities, syscall_tables
from imagekit.linux.constants import (
    AUDIT_ARCH_AARCH64,
    AUDIT_ARCH_ARM,
    AUDIT_ARCH_I386,
    AUDIT_ARCH_X86_64,
    SECCOMP_RET_ALLOW,
    SECCOMP_RET_ERRNO,
)
from imagekit.sandbox import defaults
from imagekit.sandbox.seccomp_profile import BY_CAPABILITY, DENIED, program

DEFAULT = capabilities.mask_of(defaults.CAPABILITIES)
ALLOW = "allow"


def interpret(code: bytes, arch: int, number: int, *arguments: int) -> str:
    """Run a filter as the kernel would and name its answer."""
    padded = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    data = struct.pack("IIQ6Q", number, arch, 0, *padded)
    instructions = list(struct.iter_unpack("HBBI", code))
    position = accumulator = 0
    while True:
        operation, when, unless, value = instructions[position]
        position += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("I", data, value)
            case 0x05:
                position += value
            case 0x15:
                position += when if accumulator == value else unless
            case 0x35:
                position += when if accumulator >= value else unless
            case 0x45:
                position += when if accumulator & value else unless
            case 0x06:
                if value == SECCOMP_RET_ALLOW:
                    return ALLOW
                assert value & 0xFFFF0000 == SECCOMP_RET_ERRNO
                return errno.errorcode[value & 0xFFFF]
            case _:
                raise AssertionError(operation)


def answer(name: str, *arguments: int, granted: int = DEFAULT, arch: str = "x86_64") -> str:
    machine, audit, numbers = {
        "x86_64": ("x86_64", AUDIT_ARCH_X86_64, syscall_tables.X86_64),
        "i386": ("x86_64", AUDIT_ARCH_I386, syscall_tables.I386),
        "arm64": ("aarch64", AUDIT_ARCH_AARCH64, syscall_tables.ARM64),
    }[arch]
    return interpret(program(machine, granted), audit, numbers[name], *arguments)


@pytest.mark.parametrize("arch", ["x86_64", "i386", "arm64"])
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("read", ALLOW),
        ("openat2", ALLOW),
        ("execve", ALLOW),
        ("fchmodat2", ALLOW),
        ("ptrace", ALLOW),
        ("chroot", ALLOW),
        ("mount", "EPERM"),
        ("umount2", "EPERM"),
        ("unshare", "EPERM"),
        ("setns", "EPERM"),
        ("move_mount", "EPERM"),
        ("open_tree", "EPERM"),
        ("bpf", "EPERM"),
        ("perf_event_open", "EPERM"),
        ("keyctl", "EPERM"),
        ("userfaultfd", "EPERM"),
        ("io_uring_setup", "EPERM"),
        ("open_by_handle_at", "EPERM"),
        ("init_module", "EPERM"),
        ("kexec_load", "EPERM"),
        ("reboot", "EPERM"),
        ("swapon", "EPERM"),
        ("clone3", "ENOSYS"),
    ],
)
def test_answers(name: str, expected: str, arch: str) -> None:
    assert answer(name, arch=arch) == expected


@pytest.mark.parametrize("arch", ["x86_64", "i386", "arm64"])
def test_clone_may_not_make_namespaces(arch: str) -> None:
    assert answer("clone", 0x01200011, arch=arch) == ALLOW
    for bit in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert answer("clone", bit | 0x11, arch=arch) == "EPERM"


def test_socket_families() -> None:
    assert [answer("socket", family) for family in (1, 2, 10, 16, 17, 38, 39, 40, 41)] == (
        [ALLOW] * 5 + ["EPERM", ALLOW, "EPERM", ALLOW]
    )


def test_socket_family_with_garbage_in_the_upper_half() -> None:
    assert answer("socket", 1 << 32 | 38) == "EPERM"


def test_personality() -> None:
    values = (0, 8, 0x20000, 0x20008, 0xFFFFFFFF, 0x40000)
    assert [answer("personality", value) for value in values] == [ALLOW] * 5 + ["EPERM"]


@pytest.mark.parametrize("number", [467, 1000, 0x40000000, 0x40000001, 0xFFFFFFFF])
def test_unknown_and_x32_numbers_do_not_exist(number: int) -> None:
    assert interpret(program("x86_64", DEFAULT), AUDIT_ARCH_X86_64, number) == "ENOSYS"


def test_other_instruction_sets_are_refused() -> None:
    assert interpret(program("x86_64", DEFAULT), AUDIT_ARCH_AARCH64, 0) == "ENOSYS"
    assert interpret(program("aarch64", DEFAULT), AUDIT_ARCH_ARM, 3) == "ENOSYS"


@pytest.mark.parametrize("name", sorted(BY_CAPABILITY))
def test_calls_come_with_their_capability(name: str) -> None:
    granted = capabilities.mask_of({name})
    for call in BY_CAPABILITY[name].split():
        if call in syscall_tables.X86_64:
            assert answer(call, granted=granted) == ALLOW
            assert answer(call, granted=0) in ("EPERM", "ENOSYS")


def test_every_decision_is_one_of_the_three_groups() -> None:
    conditional = {call for calls in BY_CAPABILITY.values() for call in calls.split()}
    special = {"clone", "socket", "personality"}
    for arch, numbers in (
        ("x86_64", syscall_tables.X86_64),
        ("i386", syscall_tables.I386),
        ("arm64", syscall_tables.ARM64),
    ):
        for name in numbers:
            if arch == "arm64" and name in ("arch_prctl", "modify_ldt"):
                continue
            expected_allowed = name not in DENIED and (name not in conditional or name == "chroot")
            if name not in special:
                assert (answer(name, arch=arch) == ALLOW) == expected_allowed, (arch, name)


def test_size_is_within_the_kernels_bound() -> None:
    assert len(program("x86_64", DEFAULT)) // 8 < 4096


def test_an_unknown_machine_has_no_filter() -> None:
    assert program("vax", DEFAULT) == b""


_CALLS = """
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
def call(*a):
    ctypes.set_errno(0)
    r = libc.syscall(*[ctypes.c_long(x) for x in a])
    return "ok" if r != -1 else errno.errorcode[ctypes.get_errno()]
"""


@pytest.mark.root
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86_64")
def test_the_kernel_enforces_it(probe: Any) -> None:
    seen = probe(
        _CALLS
        + """
print(json.dumps({
    "unshare": call(272, 0x10000000), "mount": call(165, 0, 0, 0, 0, 0),
    "keyctl": call(250, 0, 0, 0),
    "clone3": call(435, 0, 0), "vsock": call(41, 40, 1, 0), "alg": call(41, 38, 5, 0),
    "io_uring": call(425, 1, 0), "x32": call(0x40000000 | 39), "userfaultfd": call(323, 0),
    "bpf": call(321, 0, 0, 0), "clone_newuser": call(56, 0x10000011, 0, 0, 0, 0),
    "getpid": call(39), "unknown": call(1000),
}))
"""
    )

    assert seen == {
        "unshare": "EPERM",
        "mount": "EPERM",
        "keyctl": "EPERM",
        "clone3": "ENOSYS",
        "vsock": "EPERM",
        "alg": "EPERM",
        "io_uring": "EPERM",
        "x32": "ENOSYS",
        "userfaultfd": "EPERM",
        "bpf": "EPERM",
        "clone_newuser": "EPERM",
        "getpid": "ok",
        "unknown": "ENOSYS",
    }


@pytest.mark.root
def test_the_filter_can_be_left_out(bench: Any) -> None:
    assert bench.run("grep", "Seccomp:", "/proc/self/status", seccomp=False).out.split()[1] == "0"
