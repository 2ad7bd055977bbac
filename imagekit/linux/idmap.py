"""Becoming root in a user namespace: how a user without privilege gets mounts and namespaces.

The whole process moves, once and early, before it has threads: afterwards it is user 0 with every
capability over its own namespaces, and all other code works as it does for root, within what the
namespace has: the ids that are mapped, no device nodes, no trusted.* attributes.

Source: user_namespaces(7), subuid(5), newuidmap(1).
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from imagekit.base.errors import HostError
from imagekit.base.record import Record
from imagekit.linux import mounts, namespaces, process
from imagekit.linux.constants import CLONE_NEWNS, CLONE_NEWUSER

_WHOLE: Final = 4294967295
_SUBUID: Final = Path("/etc/subuid")
_SUBGID: Final = Path("/etc/subgid")
_ENV: Final = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}


class UserNamespaceError(HostError):
    """A user namespace cannot be entered."""

    code = "user-namespace"


class IdRange(Record):
    """``length`` ids from ``inside`` on stand for those from ``outside`` on."""

    inside: int
    outside: int
    length: int


def parse_map(text: str) -> tuple[IdRange, ...]:
    """Return the ranges of a uid_map or gid_map.

    Source: user_namespaces(7).
    """
    lines = (map(int, line.split()) for line in text.splitlines() if line.strip())
    return tuple(IdRange(inside=a, outside=b, length=c) for a, b, c in lines)


def is_in_user_namespace() -> bool:
    """Tell whether this process's user ids are not simply those of the machine."""
    try:
        text = Path("/proc/self/uid_map").read_text()
    except FileNotFoundError:  # a kernel without user namespaces
        return False
    return parse_map(text) != (IdRange(inside=0, outside=0, length=_WHOLE),)


def subordinate_ids(text: str, *, name: str, number: int) -> tuple[IdRange, ...]:
    """Return the ranges that /etc/subuid or /etc/subgid gives a user, mapped from id 1 on.

    Malformed lines are ignored, as newuidmap does.

    Source: subuid(5).
    """
    ranges = []
    inside = 1
    for line in text.splitlines():
        fields = line.strip().split(":")
        if len(fields) != 3 or fields[0] not in (name, str(number)):
            continue
        if fields[1].isdecimal() and fields[2].isdecimal() and int(fields[2]) > 0:
            ranges.append(IdRange(inside=inside, outside=int(fields[1]), length=int(fields[2])))
            inside += int(fields[2])
    return tuple(ranges)


def enter_user_namespace(user_name: str) -> bool:
    """Move this process into user and mount namespaces of its own, as root in them.

    Must be called while the process has one thread. Returns whether more than the caller's own id
    is mapped: without subordinate ids, files cannot belong to others and most package managers
    need to be told so.

    Raises:
        UserNamespaceError: the kernel or a filter forbids it.

    """
    uid, gid = os.geteuid(), os.getegid()
    users = _subordinate(_SUBUID, user_name, uid, "newuidmap")
    groups = _subordinate(_SUBGID, user_name, uid, "newgidmap")
    mapped = bool(users and groups)
    process.set_dumpable(dumpable=True)  # or the map files would belong to root
    with _mapping_helper(users, groups, uid, gid) if mapped else contextlib.nullcontext():
        try:
            namespaces.unshare(CLONE_NEWUSER | CLONE_NEWNS)
        except OSError as error:
            raise UserNamespaceError(
                f"cannot make a user namespace: {error.strerror}",
                hint="Run as root, or allow user namespaces on this machine or in this container.",
            ) from error
    if not mapped:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    try:
        mounts.make_private("/")
    except OSError as error:
        raise UserNamespaceError(
            f"a user namespace gives no right to mount here: {error.strerror}",
            hint="Allow it in AppArmor: sysctl kernel.apparmor_restrict_unprivileged_userns=0.",
        ) from error
    return mapped


def _subordinate(path: Path, name: str, number: int, program: str) -> tuple[IdRange, ...]:
    import shutil

    if shutil.which(program, path=_ENV["PATH"]) is None:
        return ()
    try:
        text = path.read_text()
    except OSError:
        return ()
    return subordinate_ids(text, name=name, number=number)


@contextlib.contextmanager
def _mapping_helper(
    users: tuple[IdRange, ...], groups: tuple[IdRange, ...], uid: int, gid: int
) -> Iterator[None]:
    """Have a child, which stays outside, write the maps when the block has ended.

    newuidmap must be started from outside the namespace; a process in it has no right to.

    Raises:
        UserNamespaceError: the maps could not be written.

    """
    import subprocess

    target = os.getpid()
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        os.close(write_end)
        code = 1
        try:
            if os.read(read_end, 1):
                for program, ranges, own in (
                    ("newuidmap", users, uid),
                    ("newgidmap", groups, gid),
                ):
                    subprocess.run(
                        [program, str(target), *_arguments(ranges, own)], check=True, env=_ENV
                    )
                code = 0
        finally:
            os._exit(code)
    os.close(read_end)
    try:
        yield
        os.write(write_end, b"1")
    finally:
        os.close(write_end)
        _, status = os.waitpid(child, 0)
    if status:
        raise UserNamespaceError(
            "newuidmap or newgidmap refused the ids of /etc/subuid and /etc/subgid",
            hint="Check the ranges there, and that both programs are set-user-ID root.",
        )


def _arguments(ranges: tuple[IdRange, ...], own: int) -> list[str]:
    numbers = ["0", str(own), "1"]
    for item in ranges:
        numbers += [str(item.inside), str(item.outside), str(item.length)]
    return numbers
