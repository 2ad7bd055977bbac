"""Operations for the kernel's own file systems: /proc, /dev, /sys, and what is hidden of them."""

import contextlib
import errno
import os
import stat

from imagekit.base.record import Record
from imagekit.linux import mounts
from imagekit.linux.constants import (
    AT_FDCWD,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_STRICTATIME,
    RESOLVE_NO_XDEV,
)
from imagekit.linux.files import openat2
from imagekit.sandbox.errors import SandboxError
from imagekit.sandbox.state import (
    NO_LINKS,
    State,
    attach,
    attach_real,
    clone_host_path,
    clone_mount,
)

_QUIET = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC

NODES = (
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
)
LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
)


class MountProc(Record):
    """Mount a /proc of the new process namespace."""

    def describe(self) -> str:
        """Return what this does, in words."""
        return "mount /proc"

    def apply(self, state: State) -> None:
        """Carry it out."""
        if state.proc_fd < 0:
            state.proc_fd = make_proc()
        attach_real(state, state.proc_fd, "proc")


class MountDev(Record):
    """Mount /dev with the usual nodes, terminals, shared memory and message queues."""

    shm_bytes: int

    def describe(self) -> str:
        """Return what this does, in words."""
        return "mount /dev"

    def apply(self, state: State) -> None:
        """Carry it out."""
        if state.dev_fd < 0:
            state.dev_fd = make_dev()
        if state.pts_fd < 0:
            state.pts_fd = make_pts()
        if state.mqueue_fd < 0:
            state.mqueue_fd = make_mqueue()
        dev_fd = state.dev_fd
        attach_real(state, dev_fd, "dev")
        if os.path.lexists("/proc/kcore"):
            os.symlink("/proc/kcore", "core", dir_fd=dev_fd)
        self._borrow_nodes(dev_fd)
        state.null_fd = self._verified_null(dev_fd)
        mounts.move_mount(state.pts_fd, dev_fd, "pts")
        mounts.move_mount(state.mqueue_fd, dev_fd, "mqueue")
        shm_fd = mounts.new_mount(
            "tmpfs", [("mode", "1777"), ("size", str(self.shm_bytes))], _QUIET
        )
        mounts.move_mount(shm_fd, dev_fd, "shm")
        os.close(shm_fd)

    @staticmethod
    def _borrow_nodes(dev_fd: int) -> None:
        """Bind the host's nodes where none could be made, and check what was bound."""
        for name, major, minor in NODES:
            if not stat.S_ISREG(os.stat(name, dir_fd=dev_fd, follow_symlinks=False).st_mode):
                continue
            node_fd = clone_host_path(f"/dev/{name}")
            if os.fstat(node_fd).st_rdev != os.makedev(major, minor):
                raise SandboxError(f"/dev/{name} of the host is not the device of that name")
            mounts.move_mount(node_fd, dev_fd, name)
            os.close(node_fd)

    @staticmethod
    def _verified_null(dev_fd: int) -> int:
        """Return a descriptor of /dev/null that is known to be it."""
        fd = os.open("null", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dev_fd)
        status = os.fstat(fd)
        if not stat.S_ISCHR(status.st_mode) or status.st_rdev != os.makedev(1, 3):
            raise SandboxError("/dev/null is not the null device")
        return fd


def make_proc() -> int:
    """Return a detached /proc of this process's namespace."""
    return mounts.new_mount("proc", [], _QUIET)


def make_dev() -> int:
    """Return a detached /dev with nodes, links and empty directories."""
    # Never sticky and world-writable: with fs.protected_regular `> /dev/null` would fail.
    options: list[mounts.Option] = [("mode", "755"), ("size", "65536k")]
    fd = mounts.new_mount("tmpfs", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_STRICTATIME)
    old_umask = os.umask(0)
    try:
        for name, major, minor in NODES:
            try:
                os.mknod(name, stat.S_IFCHR | 0o666, os.makedev(major, minor), dir_fd=fd)
            except PermissionError:  # in a user namespace: a place for the host's node
                os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=fd))
        for name, target in LINKS:
            os.symlink(target, name, dir_fd=fd)
        for name in ("pts", "shm", "mqueue"):
            os.mkdir(name, 0o755, dir_fd=fd)
    finally:
        os.umask(old_umask)
    return fd


def make_pts() -> int:
    """Return a detached, new instance of devpts."""
    options: list[mounts.Option] = [("ptmxmode", "0666"), ("mode", "0620")]
    attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC
    try:
        return mounts.new_mount("devpts", [*options, ("gid", "5")], attributes)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return mounts.new_mount("devpts", options, attributes)  # group 5 is not mapped here


def make_mqueue() -> int:
    """Return the detached message queues of this process's namespace."""
    return mounts.new_mount("mqueue", [], _QUIET)


def make_covers() -> int:
    """Return a detached, empty, read-only directory that hides others."""
    options: list[mounts.Option] = [("nr_blocks", "1"), ("nr_inodes", "1"), ("mode", "555")]
    return mounts.new_mount("tmpfs", options, _QUIET | MOUNT_ATTR_RDONLY)


class HostDevices(Record):
    """Add every device node of the host to /dev (privileged only)."""

    def describe(self) -> str:
        """Return what this does, in words."""
        return "add the host's devices"

    def apply(self, state: State) -> None:
        """Carry it out."""
        for entry in os.scandir("/dev"):
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
                with contextlib.suppress(FileExistsError):
                    os.mknod(entry.name, status.st_mode, status.st_rdev, dir_fd=state.dev_fd)
                    os.chown(entry.name, status.st_uid, status.st_gid, dir_fd=state.dev_fd)


class KeepHostSys(Record):
    """Take hold of the host's /sys before it is covered; needed only in a user namespace."""

    def describe(self) -> str:
        """Return what this does, in words."""
        return "keep the host's /sys"

    def apply(self, state: State) -> None:
        """Carry it out."""
        # Recursive, because mounts that came from outside the namespace cannot be taken apart.
        state.host_sys_fd = mounts.open_tree(AT_FDCWD, "/sys", clone=True, recursive=True)


class MountSys(Record):
    """Mount /sys, and in it the sandbox's own part of the cgroup tree."""

    read_only: bool
    hierarchies: tuple[tuple[str, str], ...]
    """(name below /sys/fs/cgroup, host directory of the sandbox's cgroup in it)"""
    links: tuple[tuple[str, str], ...]
    unified: bool

    def describe(self) -> str:
        """Return what this does, in words."""
        return "mount /sys"

    def apply(self, state: State) -> None:
        """Carry it out."""
        attributes = _QUIET | (MOUNT_ATTR_RDONLY if self.read_only else 0)
        try:
            state.sys_fd = mounts.new_mount("sysfs", [], attributes)
        except PermissionError:
            # In a user namespace with the host's network only a copy of the host's is possible.
            if state.host_sys_fd < 0:
                raise
            state.sys_fd = state.host_sys_fd
            mounts.mount_setattr(state.sys_fd, "", attr_set=attributes, recursive=True)
            attach_real(state, state.sys_fd, "sys")
            return
        attach_real(state, state.sys_fd, "sys")
        try:
            target_fd = openat2(state.sys_fd, "fs/cgroup", os.O_PATH | os.O_DIRECTORY, 0, NO_LINKS)
        except FileNotFoundError:  # a kernel without cgroups
            return
        if self.unified:
            fd = mounts.new_mount("cgroup2", [], attributes)
        elif self.hierarchies:
            fd = mounts.new_mount("tmpfs", [("mode", "755")], _QUIET)
            for name, _ in self.hierarchies:
                os.mkdir(name, 0o755, dir_fd=fd)
            for name, target in self.links:
                os.symlink(target, name, dir_fd=fd)
        else:
            os.close(target_fd)
            return
        attach(fd, target_fd)
        if not self.unified:
            self._bind_hierarchies(state, fd, attributes)
            mounts.mount_setattr(fd, "", attr_set=attributes)
        os.close(fd)

    def _bind_hierarchies(self, state: State, tree_fd: int, attributes: int) -> None:
        for name, directory in self.hierarchies:
            part_fd = clone_mount(state.cgroups[directory])
            mounts.mount_setattr(part_fd, "", attr_set=attributes)
            mounts.move_mount(part_fd, tree_fd, name)
            os.close(part_fd)


class WriteSysctl(Record):
    """Set a kernel parameter of the new namespaces, through the new /proc."""

    name: str
    value: str
    required: bool

    def describe(self) -> str:
        """Return what this does, in words."""
        return f"set {self.name}={self.value}"

    def apply(self, state: State) -> None:
        """Carry it out."""
        path = "sys/" + self.name.replace(".", "/")
        try:
            fd = openat2(state.proc_fd, path, os.O_WRONLY, 0, NO_LINKS | RESOLVE_NO_XDEV)
            try:
                os.write(fd, self.value.encode())
            finally:
                os.close(fd)
        except OSError as error:
            # A default may lack in this kernel, or name groups that a user namespace does not map.
            if self.required or error.errno not in (errno.ENOENT, errno.EINVAL, errno.EACCES):
                raise


class ProtectPaths(Record):
    """Make parts of /proc read-only and cover others, in /proc and /sys, each by a checked fd."""

    read_only_proc: tuple[str, ...]
    masked_proc: tuple[str, ...]
    masked_sys: tuple[str, ...]

    def describe(self) -> str:
        """Return what this does, in words."""
        return "cover and protect parts of /proc and /sys"

    def apply(self, state: State) -> None:
        """Carry it out."""
        for name in self.read_only_proc:
            target_fd = _open_below(state.proc_fd, name)
            if target_fd is None:
                continue
            copy_fd = clone_mount(target_fd, recursive=True)
            mounts.mount_setattr(copy_fd, "", attr_set=_QUIET | MOUNT_ATTR_RDONLY, recursive=True)
            attach(copy_fd, target_fd)
            os.close(copy_fd)
        empty_fd = make_covers() if state.covers_fd < 0 else state.covers_fd
        # Attached first: a detached mount can be copied only from Linux 6.15 on.
        mounts.move_mount(empty_fd, state.staging_fd, "covers")
        for base_fd, names in (
            (state.proc_fd, self.masked_proc),
            (state.sys_fd, self.masked_sys),
        ):
            for name in names:
                self._cover(state, base_fd, name, empty_fd)
        os.close(empty_fd)

    @staticmethod
    def _cover(state: State, base_fd: int, name: str, empty_fd: int) -> None:
        target_fd = _open_below(base_fd, name)
        if target_fd is None:
            return
        is_directory = stat.S_ISDIR(os.fstat(target_fd).st_mode)
        cover_fd = clone_mount(empty_fd if is_directory else state.null_fd)
        attach(cover_fd, target_fd)
        os.close(cover_fd)


def _open_below(base_fd: int, name: str) -> int | None:
    """Return a descriptor of a path below a kernel file system, or None when it has none."""
    try:
        return openat2(base_fd, name, os.O_PATH | os.O_NOFOLLOW, 0, NO_LINKS | RESOLVE_NO_XDEV)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise
