"""The read-only layer between an image and its changes that carries mount points.

Docker makes such a layer too. Without it, mount points that an image lacks would have to be made in
the upper directory and removed again after each step, by a name that the step may have replaced.
"""

import contextlib
import errno
import os
import posixpath
import stat
from typing import Final

from imagekit.base.record import Record
from imagekit.linux import mounts
from imagekit.linux.constants import MNT_DETACH, MOUNT_ATTR_RDONLY
from imagekit.sandbox.errors import SandboxError
from imagekit.sandbox.state import SPARE, STAGING, State, open_in

_MAX_LINKS: Final = 40


class InitLayer(Record):
    """Fill the read-only layer that lies between the image and its changes.

    It carries every mount point that the image lacks, so that none is left behind in the upper
    directory, and shields links that an image may have at /dev, /proc, /sys and /etc. Directories
    in it take owner, mode, time and attributes of the image's own, because a copy-up takes them
    from here.
    """

    layers: tuple[str, ...]
    targets: tuple[tuple[int, str, bool], ...]
    user_xattr: bool

    def describe(self) -> str:
        """Return what this does, in words."""
        return "fill the init layer"

    def apply(self, state: State) -> None:
        """Carry it out."""
        times: list[tuple[str, os.stat_result]] = []
        for name in ("dev", "proc", "sys", "etc"):
            target = f"{STAGING}/init/{name}"
            model = _topmost(self.layers, name)
            if model is not None:
                times.append((target, _copy_metadata(model, target)))
        if self.targets:
            times += self._add_targets(state)
        for target, status in times:
            os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))

    def _add_targets(self, state: State) -> list[tuple[str, os.stat_result]]:
        """Add the mount points that the image does not have."""
        options = mounts.overlay_options(
            [*self.layers, f"{STAGING}/empty"], userxattr=self.user_xattr
        )
        view_fd = mounts.new_overlay(options, spare=SPARE, attributes=MOUNT_ATTR_RDONLY)
        os.mkdir("probe", 0o700, dir_fd=state.staging_fd)
        mounts.move_mount(view_fd, state.staging_fd, "probe")
        try:
            times = []
            for number, target, is_directory in self.targets:
                source = state.sources.get(number)
                directory = source.is_directory if source is not None else is_directory
                times += _mirror(view_fd, target, directory=directory)
            return times
        finally:
            os.close(view_fd)
            mounts.umount2(f"{STAGING}/probe", MNT_DETACH)


def _mirror(view_fd: int, target: str, *, directory: bool) -> list[tuple[str, os.stat_result]]:
    """Make ``target`` in the init layer when the merged image lacks it."""
    inside, missing = _split_existing(view_fd, target)
    if not missing or (inside + missing)[0] in ("dev", "proc", "sys"):
        return []
    times = []
    path, model = f"{STAGING}/init", f"{STAGING}/probe"
    for part in inside:
        path, model = f"{path}/{part}", f"{model}/{part}"
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o755)
            times.append((path, _copy_metadata(model, path)))
    for part in missing[:-1]:
        path = f"{path}/{part}"
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o755)
    path = f"{path}/{missing[-1]}"
    with contextlib.suppress(FileExistsError):
        if directory:
            os.mkdir(path, 0o755)
        else:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
    return times


def _split_existing(view_fd: int, target: str) -> tuple[list[str], list[str]]:
    """Return the part of ``target`` that exists, without links, and the names that are missing.

    A dangling link on the way is followed as far as it is text, always below the root.
    """
    parts = [part for part in target.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise SandboxError(f"mount target {target} must not contain '..'")
    for _ in range(_MAX_LINKS):
        count = len(parts)
        while (canonical := _canonical(view_fd, parts[:count])) is None:
            count -= 1
        inside = [part for part in canonical.removeprefix(f"{STAGING}/probe").split("/") if part]
        missing = parts[count:]
        link = _link(view_fd, inside, missing[0]) if missing else None
        if link is None:
            return inside, missing
        base = [] if link.startswith("/") else inside
        path = posixpath.normpath("/".join(["", *base, link, *missing[1:]]))
        parts = [part for part in path.split("/") if part]
    raise SandboxError(f"mount target {target} has too many links", errno=errno.ELOOP)


def _link(view_fd: int, inside: list[str], name: str) -> str | None:
    """Return where the link ``name`` in an existing directory points, or None if it is none."""
    fd = open_in(view_fd, "/".join(inside))
    try:
        return os.readlink(name, dir_fd=fd)
    except OSError:
        return None
    finally:
        os.close(fd)


def _canonical(view_fd: int, parts: list[str]) -> str | None:
    """Return the path behind all links of ``parts`` below the view, or None if it is missing."""
    try:
        fd = open_in(view_fd, "/".join(parts))
    except OSError as error:
        if error.errno != errno.ENOENT or not parts:
            raise
        return None
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def _topmost(layers: tuple[str, ...], name: str) -> str | None:
    """Return the host path of a top-level directory as the layers show it, or None."""
    for layer in layers:
        path = f"{layer}/{name}"
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            continue
        return path if stat.S_ISDIR(status.st_mode) else None
    return None


def _copy_metadata(model: str, target: str) -> os.stat_result:
    """Give ``target`` the owner, mode and attributes of the directory ``model``."""
    status = os.lstat(model)
    try:
        os.chown(target, status.st_uid, status.st_gid)
    except OSError as error:  # an owner that a user namespace does not map
        if error.errno not in (errno.EINVAL, errno.EPERM):
            raise
    os.chmod(target, stat.S_IMODE(status.st_mode))
    for name in os.listxattr(model, follow_symlinks=False):
        if name.startswith(("trusted.overlay.", "user.overlay.")):
            continue
        try:
            os.setxattr(target, name, os.getxattr(model, name, follow_symlinks=False))
        except OSError as error:
            # EOPNOTSUPP: tmpfs has no user.* before Linux 6.6; EPERM: in a user namespace.
            if error.errno not in (errno.EOPNOTSUPP, errno.EPERM):
                raise
    return status
