"""What this kernel and this user may do, as one record, with the reason for everything missing."""

import errno
import os
from pathlib import Path
from typing import Final, Self

from imagekit.base.record import Record
from imagekit.linux import capabilities, mounts

MINIMUM_KERNEL: Final = (5, 12)
_MAX_NAMESPACES: Final = Path("/proc/sys/user/max_user_namespaces")
_DEBIAN_SWITCH: Final = Path("/proc/sys/kernel/unprivileged_userns_clone")
_UBUNTU_SWITCH: Final = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")


class Capability(Record):
    """Whether something works here; ``reason`` says why not, and is empty when it does."""

    works: bool
    reason: str = ""
    hint: str = ""


class Features(Record):
    """The answers for this process, at the time of ``probe``."""

    kernel: tuple[int, int]
    is_root: bool
    sandbox: Capability
    """Namespaces and overlay mounts with the caller's own privilege."""
    overlay_lowerdir_plus: bool
    """More than about a hundred layers in one mount (Linux 6.8)."""
    user_namespaces: Capability
    """Namespaces for users without privilege."""
    missing_capabilities: frozenset[str]

    @classmethod
    def probe(cls) -> Self:
        """Ask the kernel; nothing is changed and no process is started."""
        kernel = kernel_version(os.uname().release)
        lowerdir_plus = False
        sandbox = _sandbox(kernel)
        if sandbox.works:
            lowerdir_plus = mounts.has_lowerdir_plus()
        every = (1 << (capabilities.last() + 1)) - 1
        return cls(
            kernel=kernel,
            is_root=os.geteuid() == 0,
            sandbox=sandbox,
            overlay_lowerdir_plus=lowerdir_plus,
            user_namespaces=_user_namespaces(),
            missing_capabilities=capabilities.names_of(every & ~capabilities.effective()),
        )


def kernel_version(release: str) -> tuple[int, int]:
    """Return the first two numbers of a kernel release such as "6.1.0-18-amd64"."""
    major, _, rest = release.partition(".")
    digits = "".join(character if character.isdigit() else " " for character in rest)
    return int(major), int((digits.split() or ["0"])[0])


def _sandbox(kernel: tuple[int, int]) -> Capability:
    if kernel < MINIMUM_KERNEL:
        wanted = ".".join(map(str, MINIMUM_KERNEL))
        return Capability(
            works=False,
            reason=f"Linux {kernel[0]}.{kernel[1]} is older than {wanted}",
            hint=f"Run on Linux {wanted} or newer.",
        )
    try:
        context_fd = mounts.fsopen("overlay")
    except OSError as error:
        return _explain(error)
    os.close(context_fd)
    return Capability(works=True)


def _explain(error: OSError) -> Capability:
    """Say why a mount context could not be opened."""
    if error.errno == errno.ENODEV:
        return Capability(
            works=False,
            reason="the kernel has no overlay file system",
            hint="Load it with modprobe overlay.",
        )
    if error.errno == errno.ENOSYS:
        return Capability(
            works=False,
            reason="the mount system calls are hidden, probably by a system call filter",
            hint="Run outside the container, or with seccomp unconfined.",
        )
    if error.errno == errno.EPERM:
        if not capabilities.effective() >> capabilities.CAP_SYS_ADMIN & 1:
            who = "root in a confined container" if os.geteuid() == 0 else "not root"
            return Capability(
                works=False,
                reason=f"making mounts and namespaces needs CAP_SYS_ADMIN, and this is {who}",
                hint="Run as root, or in a privileged container.",
            )
        return Capability(
            works=False,
            reason="a system call filter or security module forbids mounts",
            hint="Run with seccomp and AppArmor unconfined.",
        )
    return Capability(works=False, reason=f"overlay cannot be mounted: {error.strerror}")


def _user_namespaces() -> Capability:
    """Tell whether an unprivileged user could make a user namespace with capabilities in it."""
    if _number(_MAX_NAMESPACES) == 0:
        return Capability(
            works=False,
            reason="user.max_user_namespaces is 0",
            hint="Raise it with sysctl user.max_user_namespaces=15000.",
        )
    if _number(_DEBIAN_SWITCH) == 0:
        return Capability(
            works=False,
            reason="kernel.unprivileged_userns_clone is 0",
            hint="Allow them with sysctl kernel.unprivileged_userns_clone=1.",
        )
    if _number(_UBUNTU_SWITCH) == 1:
        return Capability(
            works=False,
            reason="AppArmor leaves user namespaces of unprivileged users without capabilities",
            hint="Allow them with sysctl kernel.apparmor_restrict_unprivileged_userns=0.",
        )
    if not Path("/proc/self/ns/user").exists():
        return Capability(works=False, reason="the kernel has no user namespaces")
    return Capability(works=True)


def _number(path: Path) -> int | None:
    """Return the number in a file of /proc/sys, or None when there is no such switch."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
