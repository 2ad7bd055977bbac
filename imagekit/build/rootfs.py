"""Changing a root file system that may be hostile: every path is resolved inside it by the kernel.

The root is a descriptor of a detached overlay mount: nothing is visible in any directory tree of
the host, and a killed process leaves no mount behind.

Source: openat2(2) RESOLVE_IN_ROOT, fsmount(2).
"""

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from imagekit.base.fds import OwnedFd
from imagekit.build.errors import CopyConflictError
from imagekit.layers.rootdir import RootDir
from imagekit.linux.mounts import new_mount, overlay_options

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


@contextlib.contextmanager
def overlay_root(
    lowerdirs: Sequence[Path], upperdir: Path, workdir: Path, *, userxattr: bool = False
) -> Iterator[OwnedFd]:
    """Yield the root of layers with a directory on top that takes the changes.

    Without lower layers that directory itself is the root.
    """
    if not lowerdirs:
        with OwnedFd(os.open(upperdir, _DIRECTORY | os.O_CLOEXEC)) as fd:
            yield fd
        return
    options = overlay_options(
        map(os.fspath, lowerdirs),
        upperdir=os.fspath(upperdir),
        workdir=os.fspath(workdir),
        volatile=True,
        userxattr=userxattr,
    )
    with OwnedFd(new_mount("overlay", options)) as mount, _open_root(mount) as fd:
        yield fd


@contextlib.contextmanager
def merged_view(
    lowerdirs: Sequence[Path], empty: Path, *, userxattr: bool = False
) -> Iterator[OwnedFd]:
    """Yield the root of layers, to read. ``empty`` is any empty directory."""
    if not lowerdirs:
        with OwnedFd(os.open(empty, _DIRECTORY | os.O_CLOEXEC)) as fd:
            yield fd
        return
    paths = [os.fspath(path) for path in lowerdirs]
    if len(paths) < 2:  # overlayfs wants two layers when none is writable
        paths.append(os.fspath(empty))
    options = overlay_options(paths, userxattr=userxattr)
    with OwnedFd(new_mount("overlay", options)) as mount, _open_root(mount) as fd:
        yield fd


def _open_root(mount: OwnedFd) -> OwnedFd:
    return OwnedFd(os.open(".", _DIRECTORY | os.O_CLOEXEC, dir_fd=mount.fileno()))


def root_directory(root: OwnedFd) -> RootDir:
    """Return the root as a directory that cannot be escaped; the caller closes it."""
    return RootDir(Path(f"/proc/self/fd/{root.fileno()}"))


def make_directories(
    root: RootDir, path: str, *, mode: int = 0o755, owner: tuple[int, int] = (0, 0)
) -> OwnedFd:
    """Open the directory ``path`` and make what is missing of it; the caller closes it.

    Links are followed inside the root, also dangling ones: their targets are made. Directories
    that exist keep their mode and owner.

    Raises:
        CopyConflictError: if a component is something else.

    """
    with directory_in_the_way(path):
        root.make_directories(path, mode=mode, owner=owner)
        return OwnedFd(root.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))


@contextlib.contextmanager
def directory_in_the_way(path: str) -> Iterator[None]:
    """Say what is wrong with ``path`` when the block finds something else than directories.

    Raises:
        CopyConflictError: for ENOTDIR and ELOOP.

    """
    try:
        yield
    except NotADirectoryError as error:
        raise CopyConflictError(
            f"cannot copy to non-directory: {path.rstrip('/')}",
            hint="A file is in the way; choose another destination or remove it first.",
        ) from error
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENAMETOOLONG):
            raise
        raise CopyConflictError(f"cannot resolve {path}: {error.strerror}") from error
