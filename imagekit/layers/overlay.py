"""Deletion in its two spellings, and looking a name up in a stack of overlayfs lower layers.

========================  ==========================  ==========================================
meaning                   in a layer archive          in an overlayfs layer directory
========================  ==========================  ==========================================
``NAME`` is deleted       empty file ``.wh.NAME``     character device 0:0 called ``NAME``
nothing below shows       ``.wh..wh..opq`` inside     xattr ``trusted.overlay.opaque`` = ``y``
                                                      (``user.overlay.opaque`` with userxattr)
========================  ==========================  ==========================================

Source: OCI image-spec layer.md, "Whiteouts"; kernel Documentation/filesystems/overlayfs.rst.
"""

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path

import msgspec

from imagekit.layers.errors import LayerLimitError

WHITEOUT_PREFIX = ".wh."
OPAQUE_MARKER = ".wh..wh..opq"
METADATA_PREFIX = ".wh..wh."
"""Names that aufs kept for itself; only the opaque marker means anything."""

OPAQUE_TRUSTED = "trusted.overlay.opaque"
OPAQUE_USER = "user.overlay.opaque"

MAX_LAYERS = 499
"""What can be stacked: the kernel's 500 (OVL_MAX_STACK) less the one that carries mount points."""

CAPABILITY_XATTR = "security.capability"


def check_depth(layers: int, subject: str) -> None:
    """Refuse more layers than overlayfs can stack; ``subject`` begins the message.

    Raises:
        LayerLimitError: there are too many.

    """
    if layers > MAX_LAYERS:
        raise LayerLimitError(
            f"{subject} {layers} layers, and overlayfs stacks at most {MAX_LAYERS}",
            hint="Join steps, or copy the whole root into one layer: COPY --from=STAGE / /.",
        )


def is_whiteout(status: os.stat_result) -> bool:
    """Tell whether this is overlayfs' mark for a deleted name."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_layer_xattr(name: str) -> bool:
    """Tell whether an extended attribute belongs into a layer.

    That is ``security.capability`` and ``user.*``, but never overlayfs' own: one that came in
    with a layer would be obeyed when that layer is mounted (redirects into foreign directories).
    """
    return name == CAPABILITY_XATTR or (
        name.startswith("user.") and not name.startswith("user.overlay.")
    )


def layer_xattrs(file: str | int) -> tuple[tuple[str, bytes], ...]:
    """Return the attributes of ``file`` (path or descriptor) that a layer keeps, sorted."""
    try:
        # A path is never followed at its end; a descriptor cannot be a link.
        follow = isinstance(file, int)
        names = os.listxattr(file, follow_symlinks=follow)
        if not names:
            return ()
        return tuple(
            (name, os.getxattr(file, name, follow_symlinks=follow))
            for name in sorted(names)
            if is_layer_xattr(name)
        )
    except OSError as error:
        if error.errno == errno.ENOTSUP:  # a file system without attributes has none
            return ()
        raise


def is_opaque(directory: str | int, opaque_xattr: str) -> bool:
    """Tell whether a directory of an overlay layer hides everything below it."""
    try:
        return os.getxattr(directory, opaque_xattr) == b"y"
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return False
        raise


class LowerEntry(msgspec.Struct, frozen=True):
    """What a name is in the union of the lower layers.

    ``path`` is the host path of the topmost object; ``directories`` are, for a directory, the
    host paths of all that merge into it, topmost first.
    """

    path: str
    status: os.stat_result
    directories: tuple[str, ...]


def lower_roots(lowerdirs: Sequence[Path]) -> tuple[str, ...]:
    """Return lower layers (topmost first) as the roots that ``look_up`` starts from."""
    return tuple(os.fspath(lowerdir) for lowerdir in lowerdirs)


def look_up(directories: tuple[str, ...], name: str, opaque_xattr: str) -> LowerEntry | None:
    """Return what ``name`` is in the union of ``directories``, or None when it is not there.

    Lower layers are immutable and every element of ``directories`` was found to be a directory,
    so no link is ever followed.
    """
    found: list[str] = []
    topmost: os.stat_result | None = None
    for directory in directories:
        path = f"{directory}/{name}"
        try:
            status = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if not stat.S_ISDIR(status.st_mode):
            if topmost is None and not is_whiteout(status):
                return LowerEntry(path, status, ())
            break
        if topmost is None:
            topmost = status
        found.append(path)
        if is_opaque(path, opaque_xattr):
            break
    if topmost is None:
        return None
    return LowerEntry(found[0], topmost, tuple(found))
