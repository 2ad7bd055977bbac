"""Errors of the images room.

UserError
├── ImageNotFoundError     no local image of that name or id
├── ImageInUseError        removing it would take it from a container or another name
└── ArchiveError           a file is not an image archive
CorruptionError
└── LayerMismatchError     a layer does not unpack to what its config promises
"""

from imagekit.base.errors import CorruptionError, UserError


class ImageNotFoundError(UserError):
    """No local image has this name or id."""

    code = "image-not-found"


class ImageInUseError(UserError):
    """The image cannot be removed as asked."""

    code = "image-in-use"


class ArchiveError(UserError):
    """A file is not an OCI archive or docker archive."""

    code = "invalid-archive"


class LayerMismatchError(CorruptionError):
    """The layers of an image do not fit its config."""

    code = "layer-mismatch"
