"""Mounting an overlay on the host for a while, for steps that need a merged view and no process."""

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from imagekit.linux import mounts
from imagekit.linux.constants import MNT_DETACH, MOUNT_ATTR_RDONLY, UMOUNT_NOFOLLOW
from imagekit.linux.idmap import is_in_user_namespace
from imagekit.sandbox.errors import SandboxError
from imagekit.sandbox.spec import OverlayRoot

_BUSY_TRIES: Final = 50


@contextlib.contextmanager
def mounted_overlay(root: OverlayRoot, target: Path) -> Iterator[Path]:
    """Show the layers of ``root`` at the directory ``target``, writable, until the block ends.

    Nothing is added to the layers: no init layer, no /dev. Afterwards the upper directory is a
    plain diff and can be mounted again.

    Raises:
        SandboxError: the overlay cannot be mounted.

    """
    options = mounts.overlay_options(
        [str(path) for path in root.lowerdirs] or [str(_empty_beside(root.workdir))],
        upperdir=str(root.upperdir),
        workdir=str(root.workdir),
        volatile=root.volatile,
        userxattr=root.userxattr or is_in_user_namespace(),
    )
    with _mounted(options, target, attributes=0):
        yield target
    if root.volatile:
        allow_remount(root.workdir)


@contextlib.contextmanager
def mounted_layers(lowerdirs: tuple[Path, ...], target: Path) -> Iterator[Path]:
    """Show layer directories (topmost first) at ``target``, read-only, until the block ends.

    ``target`` is an empty directory and also serves as the bottom layer, because the kernel wants
    two layers where nothing is to be written.

    Raises:
        SandboxError: the overlay cannot be mounted.

    """
    options = mounts.overlay_options(
        [*map(str, lowerdirs), str(target)], userxattr=is_in_user_namespace()
    )
    with _mounted(options, target, attributes=MOUNT_ATTR_RDONLY):
        yield target


def allow_remount(workdir: Path) -> None:
    """Remove the mark that a volatile mount leaves, once its changes are known to be complete.

    Source: Documentation/filesystems/overlayfs.rst, "Volatile mount".
    """
    shutil.rmtree(workdir / "work" / "incompat", ignore_errors=True)


@contextlib.contextmanager
def _mounted(options: list[mounts.Option], target: Path, *, attributes: int) -> Iterator[None]:
    try:
        fd = mounts.new_overlay(options, spare=str(target), attributes=attributes)
        try:
            if not os.path.ismount(target):
                mounts.mount_at(fd, target)
        finally:
            os.close(fd)
    except OSError as error:
        raise SandboxError(
            f"cannot mount an overlay at {target}: {error.strerror}",
            operation="mount an overlay",
            errno=error.errno or 0,
            hint="Run as root." if error.errno == errno.EPERM else None,
        ) from error
    try:
        yield
    finally:
        _unmount(target)


def _unmount(target: Path) -> None:
    """Unmount, waiting a little for descriptors of other threads that are being closed."""
    for _ in range(_BUSY_TRIES):
        try:
            mounts.umount2(target, UMOUNT_NOFOLLOW)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            time.sleep(0.002)
        else:
            return
    mounts.umount2(target, MNT_DETACH | UMOUNT_NOFOLLOW)


def _empty_beside(workdir: Path) -> Path:
    """Return an empty directory to stand for the layers of an image that has none."""
    empty = workdir.parent / "empty"
    empty.mkdir(mode=0o755, exist_ok=True)
    return empty
