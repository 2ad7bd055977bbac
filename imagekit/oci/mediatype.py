"""Media types of images and what each means.

Source: OCI image-spec media-types.md; docker "Image Manifest V 2, Schema 2".
"""

import enum

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
OCI_LAYER_NONDIST = "application/vnd.oci.image.layer.nondistributable.v1.tar"
OCI_LAYER_NONDIST_GZIP = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
OCI_LAYER_NONDIST_ZSTD = "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER_ZSTD = "application/vnd.docker.image.rootfs.diff.tar.zstd"
DOCKER_LAYER_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


class Compression(enum.StrEnum):
    """How the bytes of a layer blob are packed."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"


_LAYERS = {
    OCI_LAYER: Compression.NONE,
    OCI_LAYER_GZIP: Compression.GZIP,
    OCI_LAYER_ZSTD: Compression.ZSTD,
    OCI_LAYER_NONDIST: Compression.NONE,
    OCI_LAYER_NONDIST_GZIP: Compression.GZIP,
    OCI_LAYER_NONDIST_ZSTD: Compression.ZSTD,
    DOCKER_LAYER: Compression.NONE,
    DOCKER_LAYER_GZIP: Compression.GZIP,
    DOCKER_LAYER_ZSTD: Compression.ZSTD,
    DOCKER_LAYER_FOREIGN: Compression.GZIP,
}
_OCI_LAYER_OF = {
    Compression.NONE: OCI_LAYER,
    Compression.GZIP: OCI_LAYER_GZIP,
    Compression.ZSTD: OCI_LAYER_ZSTD,
}
_DOCKER_LAYER_OF = {
    Compression.NONE: DOCKER_LAYER,
    Compression.GZIP: DOCKER_LAYER_GZIP,
}
_NOT_DISTRIBUTABLE = (
    OCI_LAYER_NONDIST,
    OCI_LAYER_NONDIST_GZIP,
    OCI_LAYER_NONDIST_ZSTD,
    DOCKER_LAYER_FOREIGN,
)

MANIFEST_TYPES = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEX_TYPES = (OCI_INDEX, DOCKER_LIST)
DOCUMENT_TYPES = (*MANIFEST_TYPES, *INDEX_TYPES)


def is_manifest(media_type: str) -> bool:
    """Tell whether it is an image manifest."""
    return media_type in MANIFEST_TYPES


def is_index(media_type: str) -> bool:
    """Tell whether it is an image index or a docker manifest list."""
    return media_type in INDEX_TYPES


def is_layer(media_type: str) -> bool:
    """Tell whether it is a file-system layer."""
    return media_type in _LAYERS


def layer_compression(media_type: str) -> Compression:
    """Return how a layer of this media type is packed; KeyError when it is no layer."""
    return _LAYERS[media_type]


def is_distributable(media_type: str) -> bool:
    """Tell whether a layer is stored and moved with its image, not fetched from elsewhere."""
    return media_type not in _NOT_DISTRIBUTABLE


def layer_media_type(compression: Compression, *, docker: bool = False) -> str:
    """Return the media type of a layer packed this way, OCI's or docker's.

    KeyError for zstd as docker's: schema 2 names only gzip and plain archives.
    """
    return (_DOCKER_LAYER_OF if docker else _OCI_LAYER_OF)[compression]
