"""The mount system calls under their own names.

Source: mount(2), umount2(2), pivot_root(2), fsopen(2), fsconfig(2), fsmount(2), open_tree(2),
move_mount(2), mount_setattr(2).
"""

import contextlib
import errno
import os
import struct
from collections.abc import Iterable

from imagekit.linux import libc
from imagekit.linux.constants import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_RECURSIVE,
    FSCONFIG_CMD_CREATE,
    FSCONFIG_SET_FD,
    FSCONFIG_SET_FLAG,
    FSCONFIG_SET_STRING,
    FSMOUNT_CLOEXEC,
    FSOPEN_CLOEXEC,
    MOVE_MOUNT_F_EMPTY_PATH,
    MOVE_MOUNT_T_EMPTY_PATH,
    MS_PRIVATE,
    MS_REC,
    OPEN_TREE_CLOEXEC,
    OPEN_TREE_CLONE,
)

Option = tuple[str, str | int | None]
"""A mount option: a string, a descriptor, or None for a bare flag."""


def mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    """Mount, bind, move or change the propagation of ``target``.

    Source: mount(2).
    """
    libc.syscall(
        f"mount {target}",
        libc.SYS_mount,
        os.fsencode(source),
        os.fsencode(target),
        kind.encode() if kind is not None else None,
        flags,
        os.fsencode(options) if options else None,
    )


def umount2(target: str | os.PathLike[str], flags: int = 0) -> None:
    """Unmount ``target``.

    Source: umount2(2).
    """
    libc.syscall(f"umount {target}", libc.SYS_umount2, os.fsencode(target), flags)


def pivot_root(new_root: str, put_old: str) -> None:
    """Make ``new_root`` the root of this mount namespace.

    Source: pivot_root(2).
    """
    libc.syscall("pivot_root", libc.SYS_pivot_root, os.fsencode(new_root), os.fsencode(put_old))


def fsopen(kind: str) -> int:
    """Open a file system context of type ``kind``.

    Source: fsopen(2).
    """
    return libc.syscall(f"fsopen {kind}", libc.SYS_fsopen, kind.encode(), FSOPEN_CLOEXEC)


def fsconfig(context_fd: int, command: int, key: str | None, value: str | int | None) -> None:
    """Set one option of a context, or run a command on it.

    Source: fsconfig(2).
    """
    name = key.encode() if key is not None else None
    if isinstance(value, int):
        libc.syscall("fsconfig", libc.SYS_fsconfig, context_fd, command, name, None, value)
        return
    text = os.fsencode(value) if value is not None else None
    libc.syscall("fsconfig", libc.SYS_fsconfig, context_fd, command, name, text, 0)


def fsmount(context_fd: int, attributes: int = 0) -> int:
    """Return a descriptor of a detached mount of a created context.

    Source: fsmount(2).
    """
    return libc.syscall("fsmount", libc.SYS_fsmount, context_fd, FSMOUNT_CLOEXEC, attributes)


def new_mount(kind: str, options: Iterable[Option] = (), attributes: int = 0) -> int:
    """Make a file system and return a descriptor of its detached mount; the caller closes it.

    The descriptor can be used as a directory at once, before ``move_mount`` shows it anywhere.

    Raises:
        OSError: with the kernel's own explanation in the text, where it gave one.

    """
    context_fd = fsopen(kind)
    try:
        fsconfig(context_fd, FSCONFIG_SET_STRING, "source", kind)
        for key, value in options:
            if value is None:
                fsconfig(context_fd, FSCONFIG_SET_FLAG, key, None)
            elif isinstance(value, int):
                fsconfig(context_fd, FSCONFIG_SET_FD, key, value)
            else:
                fsconfig(context_fd, FSCONFIG_SET_STRING, key, value)
        fsconfig(context_fd, FSCONFIG_CMD_CREATE, None, None)
        return fsmount(context_fd, attributes)
    except OSError as error:
        reason = _context_messages(context_fd)
        raise OSError(error.errno, f"mount {kind}: {reason or error.strerror}") from error
    finally:
        os.close(context_fd)


def _context_messages(context_fd: int) -> str:
    """Return what the kernel said about a failed context, or an empty text."""
    lines: list[str] = []
    with contextlib.suppress(OSError):  # ENODATA ends the log
        while line := os.read(context_fd, 4096):
            lines.append(line.decode(errors="replace").strip())
    return "; ".join(lines)


def open_tree(dir_fd: int, path: str | bytes, *, clone: bool, recursive: bool = False) -> int:
    """Open a mount point or, with ``clone``, a detached copy of the mount there.

    An empty ``path`` means ``dir_fd`` itself. Links in ``path`` are followed.

    Source: open_tree(2).
    """
    flags = OPEN_TREE_CLOEXEC | (OPEN_TREE_CLONE if clone else 0)
    if recursive:
        flags |= AT_RECURSIVE
    if not path:
        flags |= AT_EMPTY_PATH
    return libc.syscall("open_tree", libc.SYS_open_tree, dir_fd, os.fsencode(path), flags)


def move_mount(mount_fd: int, target_fd: int, target: str = "") -> None:
    """Attach a detached mount at ``target`` below ``target_fd``, or at ``target_fd`` itself.

    No link in the last component of ``target`` is followed.

    Source: move_mount(2).
    """
    flags = MOVE_MOUNT_F_EMPTY_PATH | (0 if target else MOVE_MOUNT_T_EMPTY_PATH)
    libc.syscall(
        "move_mount", libc.SYS_move_mount, mount_fd, b"", target_fd, os.fsencode(target), flags
    )


def mount_setattr(
    dir_fd: int, path: str, *, attr_set: int, attr_clr: int = 0, recursive: bool = False
) -> None:
    """Change the attributes of a mount; an empty ``path`` means ``dir_fd`` itself.

    Source: mount_setattr(2).
    """
    flags = (0 if path else AT_EMPTY_PATH) | (AT_RECURSIVE if recursive else 0)
    attributes = struct.pack("QQQQ", attr_set, attr_clr, 0, 0)
    libc.syscall(
        "mount_setattr",
        libc.SYS_mount_setattr,
        dir_fd,
        os.fsencode(path),
        flags,
        attributes,
        len(attributes),
    )


def make_private(path: str = "/", *, recursive: bool = True) -> None:
    """Stop mounts below ``path`` from reaching, or coming from, other namespaces.

    Source: mount_namespaces(7).
    """
    mount("", path, None, MS_PRIVATE | (MS_REC if recursive else 0))


def overlay_options(
    lowerdirs: Iterable[str | int],
    *,
    upperdir: str | int | None = None,
    workdir: str | int | None = None,
    volatile: bool = False,
    userxattr: bool = False,
) -> list[Option]:
    """Return the options of an overlay mount whose upper directory is a plain diff.

    ``lowerdirs`` come topmost first. Redirects that came in through a layer are not followed and
    nothing but whiteouts, opaque marks and copied files is written to the upper directory.

    Source: Documentation/filesystems/overlayfs.rst.
    """
    options: list[Option] = [("lowerdir+", lower) for lower in lowerdirs]
    if upperdir is not None:
        options += [("upperdir", upperdir), ("workdir", workdir)]
        if volatile:
            options.append(("volatile", None))
    if userxattr:
        options.append(("userxattr", None))
    else:
        options.append(("redirect_dir", "nofollow"))
        options.append(("metacopy", "off"))
    return [*options, ("index", "off"), ("xino", "off"), ("uuid", "null")]


def new_overlay(options: list[Option], *, spare: str, attributes: int = 0) -> int:
    """Make an overlay and return a descriptor of it; the caller attaches it with ``move_mount``.

    Before Linux 6.8 there is no ``lowerdir+``: then the overlay is mounted the old way at the
    empty directory ``spare``, whose parent mount must be private, and taken from there.
    """
    try:
        return new_mount("overlay", options, attributes)
    except OSError as error:
        if error.errno != errno.EINVAL or has_lowerdir_plus():
            raise
    mount("overlay", spare, "overlay", 0, legacy_overlay_options(options))
    fd = open_tree(AT_FDCWD, spare, clone=False)
    if attributes:
        mount_setattr(fd, "", attr_set=attributes)
    return fd


def has_lowerdir_plus() -> bool:
    """Tell whether overlay takes its layers one by one (Linux 6.8).

    Raises:
        OSError: overlay cannot be mounted at all: EPERM, ENODEV.

    """
    context_fd = fsopen("overlay")
    try:
        fsconfig(context_fd, FSCONFIG_SET_STRING, "lowerdir+", "/")
    except OSError:
        return False
    finally:
        os.close(context_fd)
    return True


def legacy_overlay_options(options: list[Option]) -> str:
    """Return options in the form of mount(2): layers joined by colons, special bytes escaped.

    Source: Documentation/filesystems/overlayfs.rst.
    """
    escapes = str.maketrans({character: f"\\{character}" for character in "\\:,"})
    lowers = [str(value).translate(escapes) for key, value in options if key == "lowerdir+"]
    words = ["lowerdir=" + ":".join(lowers)]
    for key, value in options:
        if key in ("lowerdir+", "uuid"):  # uuid=null is younger than lowerdir+
            continue
        words.append(key if value is None else f"{key}={str(value).translate(escapes)}")
    return ",".join(words)


def mount_at(mount_fd: int, path: str | os.PathLike[str]) -> None:
    """Attach a detached mount at a host path."""
    move_mount(mount_fd, AT_FDCWD, os.fspath(path))
