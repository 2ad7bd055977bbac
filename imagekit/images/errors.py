"""Errors of the images room.

UserError
├── ImageNotFoundError     no local image of that name or id
├── ImageInUseError        removing it would take it from a container or another name
├── ConversionError        an image cannot have the form that was asked for
├── ArchiveError           a file is not an image archive
└── UnsupportedLayerError  a layer is of a type that is no file system
CorruptionError
├── LayerMismatchError     manifest and config do not fit each other
├── DiffIdMismatchError    a layer does not unpack to what the config promises
├── BlobDamagedError       a blob has changed on the disk since it was stored
└── BlobMissingError       a blob of a stored image is not there any more
"""

from imagekit.base.errors import CorruptionError, UserError


class ImageNotFoundError(UserError):
    """No local image has this name or id."""

    code = "image-not-found"


class ImageInUseError(UserError):
    """The image cannot be removed as asked."""

    code = "image-in-use"


class ConversionError(UserError):
    """The image cannot be given the form that was asked for."""

    code = "cannot-convert"


class ArchiveError(UserError):
    """A file is not an OCI archive or docker archive."""

    code = "invalid-archive"


class UnsupportedLayerError(UserError):
    """A layer's media type is none that can be unpacked, or none that is known."""

    code = "unsupported-layer"


class LayerMismatchError(CorruptionError):
    """The layers of an image do not fit its config."""

    code = "layer-mismatch"


class DiffIdMismatchError(CorruptionError):
    """A layer's content is not what the image's config promises."""

    code = "diff-id-mismatch"


class BlobDamagedError(CorruptionError):
    """A stored blob is not any more what its digest says."""

    code = "blob-damaged"


class BlobMissingError(CorruptionError):
    """A stored image lacks one of its blobs."""

    code = "blob-missing"
