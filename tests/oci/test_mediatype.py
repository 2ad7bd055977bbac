"""Media types."""

import pytest

from imagekit.oci import mediatype
from imagekit.oci.mediatype import Compression


def test_every_document_type_is_one_of_two_kinds() -> None:
    for media_type in mediatype.DOCUMENT_TYPES:
        assert mediatype.is_manifest(media_type) != mediatype.is_index(media_type)
        assert not mediatype.is_layer(media_type)


@pytest.mark.parametrize("compression", list(Compression))
def test_a_layer_type_says_its_compression(compression: Compression) -> None:
    media_type = mediatype.layer_media_type(compression)

    assert mediatype.is_layer(media_type)
    assert mediatype.layer_compression(media_type) is compression


@pytest.mark.parametrize(
    ("media_type", "compression"),
    [
        (mediatype.DOCKER_LAYER, Compression.NONE),
        (mediatype.DOCKER_LAYER_GZIP, Compression.GZIP),
        (mediatype.DOCKER_LAYER_ZSTD, Compression.ZSTD),
        (mediatype.DOCKER_LAYER_FOREIGN, Compression.GZIP),
        (mediatype.OCI_LAYER_NONDIST_ZSTD, Compression.ZSTD),
    ],
)
def test_old_and_foreign_layers_are_known(media_type: str, compression: Compression) -> None:
    assert mediatype.layer_compression(media_type) is compression


def test_a_config_is_no_layer() -> None:
    assert not mediatype.is_layer(mediatype.OCI_CONFIG)
    with pytest.raises(KeyError):
        mediatype.layer_compression(mediatype.OCI_CONFIG)
