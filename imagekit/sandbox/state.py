"""What a child knows while it carries out its plan, and how operations look into the root.

Everything below the root is reached through descriptors: a path of the image is resolved by the
kernel inside the root (openat2), and what was found is acted on by its descriptor, never by its
name again.
"""

import errno
import os
import stat
from typing import Final

from imagekit.linux import mounts
from imagekit.linux.constants import (
    AT_FDCWD,
    RESOLVE_BENEATH,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
)
from imagekit.linux.files import openat2
from imagekit.sandbox.errors import SandboxError
from imagekit.sandbox.users import Identity

STAGING: Final = "/sys"
"""Where a child's private mount namespace carries its working tmpfs. Every host has this
directory, nothing of an image lies below it, and the host's view of it is not changed."""

SPARE: Final = f"{STAGING}/spare"
"""An empty directory for overlays that must be mounted the old way."""

IN_ROOT: Final = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
NO_LINKS: Final = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS


class Source:
    """An opened source of a mount: a descriptor of it and whether it is a directory."""

    __slots__ = ("fd", "is_directory")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.is_directory = stat.S_ISDIR(os.fstat(fd).st_mode)


class State:
    """The descriptors that operations leave for later ones; -1 is not there yet."""

    def __init__(self) -> None:
        self.stdio = (0, 1, 2)
        self.status_fd = -1
        self.root_fd = -1
        self.staging_fd = -1
        self.proc_fd = -1
        self.sys_fd = -1
        self.host_sys_fd = -1
        self.dev_fd = -1
        self.pts_fd = -1
        self.mqueue_fd = -1
        self.covers_fd = -1
        self.null_fd = -1
        self.terminal_fd = -1
        self.sources: dict[int, Source] = {}
        self.cgroups: dict[str, int] = {}
        self.identity = Identity(0, 0, (0,), "/root")


def open_host(path: str) -> int:
    """Open a path of the host, following its links, without reading from it."""
    return os.open(path, os.O_PATH | os.O_CLOEXEC)


def open_in(root_fd: int, image_path: str, flags: int = 0) -> int:
    """Open a path inside the root; links are followed as the image's own processes would.

    Raises:
        OSError: see openat2(2).

    """
    relative = image_path.lstrip("/") or "."
    return openat2(root_fd, relative, os.O_PATH | flags, 0, IN_ROOT)


def make_in(root_fd: int, image_path: str, *, directory: bool) -> int:
    """Open a path inside the root, making what is missing of it; return an O_PATH descriptor.

    Names are made only in directories that are held open, so a link that is swapped in meanwhile
    cannot lead the creation elsewhere.

    Raises:
        SandboxError: a dangling link, or a file where a directory is needed, is in the way.

    """
    parts = [part for part in image_path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise SandboxError(f"mount target {image_path} must not contain '..'")
    kind = os.O_DIRECTORY if directory else 0
    try:
        return open_in(root_fd, image_path, kind)
    except OSError as error:
        if error.errno != errno.ENOENT or not parts:
            raise
    parent_fd = make_in(root_fd, "/".join(parts[:-1]), directory=True)
    try:
        if directory:
            os.mkdir(parts[-1], 0o755, dir_fd=parent_fd)
        else:
            flags = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_WRONLY
            os.close(os.open(parts[-1], flags, 0o644, dir_fd=parent_fd))
        return openat2(parent_fd, parts[-1], os.O_PATH | kind, 0, NO_LINKS)
    except FileExistsError as error:
        raise SandboxError(
            f"mount target {image_path} is a dangling link in the image", errno=errno.EEXIST
        ) from error
    finally:
        os.close(parent_fd)


def attach(mount_fd: int, target_fd: int) -> None:
    """Attach a detached mount onto what ``target_fd`` names, and close that descriptor."""
    try:
        mounts.move_mount(mount_fd, target_fd)
    finally:
        os.close(target_fd)


def attach_real(state: State, mount_fd: int, name: str) -> None:
    """Attach a mount at a top-level directory of the root that must not be a link."""
    target_fd = openat2(
        state.root_fd, name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, 0, NO_LINKS
    )
    attach(mount_fd, target_fd)


def clone_mount(fd: int, *, recursive: bool = False) -> int:
    """Return a detached copy of the mount at an open file or directory."""
    return mounts.open_tree(fd, "", clone=True, recursive=recursive)


def clone_host_path(path: str) -> int:
    """Return a detached copy of the mount at a host path."""
    return mounts.open_tree(AT_FDCWD, path, clone=True)
