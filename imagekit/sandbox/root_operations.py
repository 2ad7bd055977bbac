"""Operations that make the root and put mounts into it.

Operations are named tuples: immutable, sent as JSON without help, and without the start-up price
of dataclasses in the small process that carries them out.
"""

import base64
import contextlib
import errno
import os
import stat

from imagekit.base.record import Record
from imagekit.linux import mounts, namespaces
from imagekit.linux.constants import (
    CLONE_NEWCGROUP,
    CLONE_NEWNS,
    MNT_DETACH,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
)
from imagekit.linux.files import openat2
from imagekit.linux.process import join_session_keyring
from imagekit.sandbox.errors import SandboxError
from imagekit.sandbox.state import (
    IN_ROOT,
    SPARE,
    STAGING,
    Source,
    State,
    attach,
    clone_host_path,
    clone_mount,
    make_in,
    open_host,
    open_in,
)

INIT_DIRECTORIES = ("init/dev", "init/proc", "init/sys", "init/etc")
ETC_FILES = ("hosts", "hostname", "resolv.conf")


class JoinKeyring(Record):
    """Leave the caller's session keyring, so that its keys cannot be read inside."""

    name: str

    def describe(self) -> str:
        """Return what this does, in words."""
        return f"join a new session keyring {self.name}"

    def apply(self, state: State) -> None:
        """Carry it out."""
        del state
        try:
            join_session_keyring(self.name)
        except OSError as error:
            # ENOSYS: a kernel without keyrings. EDQUOT: the quota of this user is used up; the
            # caller's keyring is then still reachable by key id only with its owner's permission.
            if error.errno not in (errno.ENOSYS, errno.EDQUOT, errno.EPERM):
                raise


class JoinCgroups(Record):
    """Move into the cgroups of a sandbox that runs already."""

    directories: tuple[str, ...]

    def describe(self) -> str:
        """Return what this does, in words."""
        return f"join {len(self.directories)} cgroups"

    def apply(self, state: State) -> None:
        """Carry it out."""
        del state
        for directory in self.directories:
            fd = os.open(f"{directory}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, b"0")
            finally:
                os.close(fd)


class OpenCgroups(Record):
    """Open the cgroup directories, to show them inside later."""

    directories: tuple[str, ...]

    def describe(self) -> str:
        """Return what this does, in words."""
        return f"open {len(self.directories)} cgroups"

    def apply(self, state: State) -> None:
        """Carry it out."""
        for directory in self.directories:
            state.cgroups[directory] = open_host(directory)


class AwaitCgroups(Record):
    """Wait until the caller has moved this process into its cgroups; hide all above them.

    The caller does it while this process mounts, because in version 1 moving a process waits for a
    grace period of the kernel, 5 ms and more.
    """

    wait: bool

    def describe(self) -> str:
        """Return what this does, in words."""
        return "wait for the cgroups"

    def apply(self, state: State) -> None:
        """Carry it out."""
        if self.wait and not os.read(state.status_fd, 1):
            raise SandboxError("the caller has gone")
        namespaces.unshare(CLONE_NEWCGROUP)


class PrivateMounts(Record):
    """Make a mount namespace, as the host is now, and cut it off from the host's."""

    def describe(self) -> str:
        """Return what this does, in words."""
        return "make a private copy of all mounts"

    def apply(self, state: State) -> None:
        """Carry it out."""
        del state
        namespaces.unshare(CLONE_NEWNS)
        try:
            mounts.make_private("/")
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise SandboxError(
                "cannot make a sandbox in a chroot whose root is no mount point",
                operation=self.describe(),
                errno=error.errno,
                hint="Bind-mount its directory on itself before entering it.",
            ) from error


class OpenSource(Record):
    """Open the source of a bind mount by a path of the host or of another tree."""

    number: int
    path: str
    source_root: str | None

    def describe(self) -> str:
        """Return what this does, in words."""
        return f"open mount source {self.path}"

    def apply(self, state: State) -> None:
        """Carry it out."""
        if self.source_root is None:
            state.sources[self.number] = Source(open_host(self.path))
            return
        root_fd = os.open(self.source_root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            state.sources[self.number] = Source(open_in(root_fd, self.path))
        finally:
            os.close(root_fd)


class Staging(Record):
    """Mount the working tmpfs that carries the init layer, secrets and throw-away layers."""

    def describe(self) -> str:
        """Return what this does, in words."""
        return "prepare a staging area"

    def apply(self, state: State) -> None:
        """Carry it out."""
        if state.staging_fd < 0:
            state.staging_fd = make_staging()
        mounts.mount_at(state.staging_fd, STAGING)


def make_staging() -> int:
    """Return a detached tmpfs with the directories that operations expect in it."""
    fd = mounts.new_mount("tmpfs", [("mode", "0700")], MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
    for name in ("init", "root", "empty", "spare", "covers", *INIT_DIRECTORIES):
        os.mkdir(name, 0o755, dir_fd=fd)
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
    for name in ETC_FILES:
        os.close(os.open(f"init/etc/{name}", flags, 0o644, dir_fd=fd))
    return fd


class OpenLayeredSource(Record):
    """Open the source of a mount inside the merged view of layer directories."""

    number: int
    path: str
    layers: tuple[str, ...]
    user_xattr: bool

    def describe(self) -> str:
        """Return what this does, in words."""
        return f"open mount source {self.path} in {len(self.layers)} layers"

    def apply(self, state: State) -> None:
        """Carry it out."""
        options = mounts.overlay_options(
            [*self.layers, f"{STAGING}/empty"], userxattr=self.user_xattr
        )
        view_fd = mounts.new_overlay(options, spare=SPARE, attributes=MOUNT_ATTR_RDONLY)
        name = f"view{self.number}"
        os.mkdir(name, 0o700, dir_fd=state.staging_fd)
        mounts.move_mount(view_fd, state.staging_fd, name)
        try:
            state.sources[self.number] = Source(open_in(view_fd, self.path))
        finally:
            os.close(view_fd)


class MountOverlay(Record):
    """Mount the layers, the init layer on top of them, and the directory for changes."""

    lowerdirs: tuple[str, ...]
    upperdir: str
    workdir: str
    volatile: bool
    user_xattr: bool

    def describe(self) -> str:
        """Return what this does, in words."""
        return f"mount an overlay of {len(self.lowerdirs)} layers"

    def apply(self, state: State) -> None:
        """Carry it out."""
        options = mounts.overlay_options(
            [f"{STAGING}/init", *self.lowerdirs],
            upperdir=self.upperdir,
            workdir=self.workdir,
            volatile=self.volatile,
            userxattr=self.user_xattr,
        )
        state.root_fd = mounts.new_overlay(options, spare=SPARE)
        mounts.move_mount(state.root_fd, state.staging_fd, "root")


class BindRoot(Record):
    """Use a plain directory as root; its missing mount points are made."""

    path: str

    def describe(self) -> str:
        """Return what this does, in words."""
        return f"use {self.path} as root"

    def apply(self, state: State) -> None:
        """Carry it out."""
        state.root_fd = clone_host_path(self.path)
        mounts.move_mount(state.root_fd, state.staging_fd, "root")
        for name in ("dev", "proc", "sys", "etc"):
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o755, dir_fd=state.root_fd)


class AddMount(Record):
    """Mount something over a path of the image."""

    number: int
    kind: str
    target: str
    attributes: int
    content: str
    mode: int | None
    uid: int
    gid: int
    size_bytes: int | None

    def describe(self) -> str:
        """Return what this does, in words."""
        return f"mount {self.kind} at {self.target}"

    def apply(self, state: State) -> None:
        """Carry it out."""
        mount_fd, directory = self._detached(state)
        try:
            target_fd = make_in(state.root_fd, self.target, directory=directory)
            if state.proc_fd >= 0 and os.fstat(target_fd).st_dev == os.fstat(state.proc_fd).st_dev:
                raise SandboxError(f"mount target {self.target} lies in /proc")
            attach(mount_fd, target_fd)
        finally:
            os.close(mount_fd)

    def _detached(self, state: State) -> tuple[int, bool]:
        """Return a detached mount and whether it is a directory."""
        if self.kind == "tmpfs":
            options: list[mounts.Option] = [("mode", f"{self._mode(0o1777):o}")]
            options += [("uid", str(self.uid)), ("gid", str(self.gid))]
            if self.size_bytes is not None:
                options.append(("size", str(self.size_bytes)))
            return mounts.new_mount("tmpfs", options, self.attributes), True
        if self.kind == "file":
            fd = clone_host_path(self._write_file(state))
            mounts.mount_setattr(fd, "", attr_set=self.attributes)
            return fd, False
        source = state.sources[self.number]
        if self.kind == "bind-discard" and source.is_directory:
            return self._discarding(state, source), True
        fd = clone_mount(source.fd, recursive=source.is_directory)
        if self.attributes:
            mounts.mount_setattr(fd, "", attr_set=self.attributes, recursive=source.is_directory)
        return fd, source.is_directory

    def _mode(self, default: int) -> int:
        return default if self.mode is None else self.mode

    def _write_file(self, state: State) -> str:
        name = f"file{self.number}"
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        fd = os.open(name, flags, 0o600, dir_fd=state.staging_fd)
        with os.fdopen(fd, "wb") as file:
            file.write(base64.b64decode(self.content))
            os.fchown(fd, self.uid, self.gid)
            os.fchmod(fd, self._mode(0o400))
        return f"{STAGING}/{name}"

    def _discarding(self, state: State, source: Source) -> int:
        """Return an overlay whose changes lie in the staging area and go with it."""
        for part in ("upper", "work"):
            os.mkdir(f"{part}{self.number}", 0o755, dir_fd=state.staging_fd)
        upper = f"{STAGING}/upper{self.number}"
        status = os.fstat(source.fd)
        os.chown(upper, status.st_uid, status.st_gid)
        os.chmod(upper, stat.S_IMODE(status.st_mode))
        options = mounts.overlay_options(
            [f"/proc/self/fd/{source.fd}"], upperdir=upper, workdir=f"{STAGING}/work{self.number}"
        )
        return mounts.new_overlay(options, spare=SPARE, attributes=self.attributes)


class EtcFiles(Record):
    """Mount generated files over those of the image's /etc; (name, content) pairs."""

    files: tuple[tuple[str, str], ...]

    def describe(self) -> str:
        """Return what this does, in words."""
        return f"provide {', '.join(f'/etc/{name}' for name, _ in self.files) or 'no files'}"

    def apply(self, state: State) -> None:
        """Carry it out."""
        etc_fd = openat2(state.root_fd, "etc", os.O_PATH | os.O_DIRECTORY, 0, IN_ROOT)
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        for name, content in self.files:
            fd = os.open(name, flags, 0o644, dir_fd=state.staging_fd)
            os.write(fd, content.encode())
            os.close(fd)
            # The copy keeps nosuid and nodev of the staging area.
            mount_fd = mounts.open_tree(state.staging_fd, name, clone=True)
            attach(mount_fd, make_in(etc_fd, name, directory=False))
            os.close(mount_fd)
        os.close(etc_fd)


class ReadOnlyRoot(Record):
    """Forbid changes of the root itself; mounts in it keep their own rule."""

    def describe(self) -> str:
        """Return what this does, in words."""
        return "make the root read-only"

    def apply(self, state: State) -> None:
        """Carry it out."""
        mounts.mount_setattr(state.root_fd, "", attr_set=MOUNT_ATTR_RDONLY)


class ForbidDevices(Record):
    """Make device nodes in the root useless, where no cgroup guards the host's devices."""

    def describe(self) -> str:
        """Return what this does, in words."""
        return "make device nodes of the image useless"

    def apply(self, state: State) -> None:
        """Carry it out."""
        mounts.mount_setattr(state.root_fd, "", attr_set=MOUNT_ATTR_NODEV)


class PivotRoot(Record):
    """Make the root the root, and let go of everything outside it."""

    def describe(self) -> str:
        """Return what this does, in words."""
        return "change to the new root"

    def apply(self, state: State) -> None:
        """Carry it out."""
        os.fchdir(state.root_fd)
        # pivot_root(".", ".") stacks the old root on the new one, so no directory for it is needed.
        mounts.pivot_root(".", ".")
        mounts.umount2(".", MNT_DETACH)
        os.chdir("/")
