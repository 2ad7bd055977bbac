"""Whose fault bad content is: that of the disk, or that of whoever made the image.

Blobs were verified when they came. Reading one again that does not fit any more is noticed by
whatever reads it (a tar header, a checksum of gzip, a registry), in words that help nobody. So a
failure is looked into: only then are blobs hashed again.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from imagekit.base.errors import CorruptionError, ImagekitError
from imagekit.images.errors import BlobDamagedError, BlobMissingError
from imagekit.layers.errors import AGAIN_HINT, LayerLimitError
from imagekit.oci.descriptor import Descriptor
from imagekit.oci.digest import Digest
from imagekit.oci.reference import Reference
from imagekit.store.errors import DAMAGED_MEDIUM, ContentNotFoundError
from imagekit.store.layout import Store

if TYPE_CHECKING:
    from imagekit.images.local import LocalImage


@contextlib.contextmanager
def blamed(store: Store, image: "LocalImage", blobs: Sequence[Descriptor] = ()) -> Iterator[None]:
    """Look into every failure of the block; ``blobs`` are what it read, all of ``image`` if none.

    Raises:
        BlobMissingError, BlobDamagedError: if that is why it failed; else the failure itself.

    """
    try:
        yield
    except (ImagekitError, OSError) as error:
        if not _may_be_damage(error):
            raise
        for blob in blobs or (image.descriptor, *image.manifest.children):
            found = _fault(store, blob, shown_name(image.name, image.id))
            if found is not None:
                raise found from error
        raise


@contextlib.contextmanager
def layer_blamed(store: Store, image: "LocalImage", layer: Descriptor) -> Iterator[None]:
    """As ``blamed`` for one layer, which the message of any other failure names with the image."""
    with blamed(store, image, [layer]):
        try:
            yield
        except (CorruptionError, LayerLimitError) as error:
            error.locate(f"layer {layer.digest} of image {shown_name(image.name, image.id)}")
            if error.hint in (None, AGAIN_HINT):
                error.hint = "The image was made wrongly: build and push it anew."
            raise


def shown_name(name: str | None, digest: Digest) -> str:
    """Return how messages name an image: as the user would, or by a digest."""
    return Reference.parse(name).familiar() if name else str(digest)


def missing_blob(digest: Digest, name: str) -> BlobMissingError:
    """Return the error of a blob that an image lacks."""
    return BlobMissingError(
        f"image {name} lacks its blob {digest}",
        hint=f"Pull or build it again: imagekit pull {name}",
    )


def damaged_blob(
    digest: Digest, name: str, what: str = "has changed on the disk since it was stored"
) -> BlobDamagedError:
    """Return the error of a blob that is not any more what it was."""
    return BlobDamagedError(
        f"blob {digest} of image {name} {what}",
        hint=f"Run `imagekit system fsck --repair`, then pull or build {name} again.",
    )


def _fault(store: Store, blob: Descriptor, name: str) -> CorruptionError | None:
    try:
        if store.blobs.size(blob.digest) == blob.size and store.blobs.is_whole(blob.digest):
            return None
    except ContentNotFoundError:
        return missing_blob(blob.digest, name)
    except OSError as error:
        if error.errno not in DAMAGED_MEDIUM:
            raise
        return damaged_blob(blob.digest, name, f"cannot be read: {(error.strerror or '').lower()}")
    return damaged_blob(blob.digest, name)


def _may_be_damage(error: ImagekitError | OSError) -> bool:
    """Tell whether it is worth the time to look: it is not when a registry cannot be reached."""
    if isinstance(error, CorruptionError | ContentNotFoundError | LayerLimitError):
        return True
    system = error if isinstance(error, OSError) else error.__cause__
    return isinstance(system, OSError) and system.errno in DAMAGED_MEDIUM
