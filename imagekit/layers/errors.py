"""Errors of reading, writing and applying layers.

LayerError
├── LayerFormatError    the archive is malformed                             (corruption)
│   ├── LayerTruncatedError      it, or its compression, ends too early
│   └── LayerCompressionError    its compression is malformed
├── UnsafeLayerError    the archive tries to reach outside its directory     (corruption)
├── LayerLimitError     the archive is larger than the caller allows         (user)
│   └── LayerRatioError          so few bytes may not unpack to so many
├── LayerLevelError     the compression has no such level                    (user)
├── LayerContentError   the tree holds what a layer cannot express           (user)
└── LayerHostError      the kernel refused: disk full, no privilege, no xattr   (host)
"""

import errno

from imagekit.base.errors import CorruptionError, HostError, ImagekitError, UserError

AGAIN_HINT = "Fetch or make the archive again."


class LayerError(ImagekitError):
    """Something about a layer; the base of this room's errors."""

    code = "layer"


class LayerFormatError(LayerError, CorruptionError):
    """The bytes are not a tar archive, or not a whole one."""

    code = "layer-format"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint or AGAIN_HINT)


class LayerTruncatedError(LayerFormatError):
    """The archive, or what packs it, ends in the middle."""

    code = "layer-truncated"


class LayerCompressionError(LayerFormatError):
    """What packs the archive cannot be unpacked."""

    code = "layer-compression"


class UnsafeLayerError(LayerError, CorruptionError):
    """A member would act outside the directory that the archive is unpacked into."""

    code = "layer-unsafe"


class LayerLimitError(LayerError, UserError):
    """A limit of ``Limits`` was reached."""

    code = "layer-limit"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(
            message,
            hint=hint or "If you trust it, raise that limit: [limits] in the configuration file.",
        )


class LayerRatioError(LayerLimitError):
    """The archive is packed better than any honest content."""

    code = "layer-ratio"


class LayerLevelError(LayerError, UserError):
    """A level of compression that there is not."""

    code = "layer-level"


class LayerContentError(LayerError, UserError):
    """A tree cannot be written as a layer, or an archive cannot be put where it was asked."""

    code = "layer-content"


class LayerHostError(LayerError, HostError):
    """The operating system refused an operation on a layer directory."""

    code = "layer-host"


_HINTS = {
    errno.ENOSPC: "Free some space, or remove unused images with `imagekit system prune`.",
    errno.EDQUOT: "The disk quota is used up; free some space.",
    errno.EPERM: "Run as root, or in a user namespace that maps the owners of the files.",
    errno.EACCES: "Check who may write to the store's directory.",
    errno.EINVAL: "The owner of the file may have no mapping in this user namespace.",
    errno.EIO: "Look for errors of the disk among the kernel's messages (dmesg).",
    errno.EMFILE: "Raise the limit of open files (ulimit -n).",
}


_SHOWN_CHARACTERS = 120


def shown(path: str) -> str:
    """Return a name from an archive as it may stand in a message: quoted, escaped, not too long."""
    if len(path) > _SHOWN_CHARACTERS:
        path = f"{path[: _SHOWN_CHARACTERS // 2]}...{path[-_SHOWN_CHARACTERS // 2 :]}"
    return repr(path)


def host_error(attempt: str, error: OSError) -> LayerHostError:
    """Return the room's error for what the kernel said to ``attempt`` ("create etc/passwd")."""
    reason = error.strerror or str(error)
    return LayerHostError(f"cannot {attempt}: {reason.lower()}", hint=_HINTS.get(error.errno or 0))
