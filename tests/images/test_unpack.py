"""From layer blobs to snapshots."""

import bz2
import gzip
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from imagekit.images.commit import store_image
from imagekit.images.errors import DiffIdMismatchError, LayerMismatchError
from imagekit.images.local import LocalImage
from imagekit.images.unpack import unpack
from imagekit.layers.errors import LayerError, LayerLimitError
from imagekit.layers.overlay import MAX_LAYERS
from imagekit.oci.digest import Digest
from imagekit.oci.image_config import ImageConfig
from imagekit.oci.mediatype import OCI_LAYER_GZIP
from imagekit.oci.platform import Platform

if TYPE_CHECKING:
    from tests.images.conftest import Shelf, Tar

pytestmark = pytest.mark.root


def packed_image(shelf: "Shelf", tar: bytes, pack: Callable[[bytes], bytes]) -> LocalImage:
    layer = shelf.layer(pack(tar), OCI_LAYER_GZIP)
    config = ImageConfig(platform=Platform.host(), diff_ids=(Digest.of(tar),))
    return store_image(shelf.store, config, [layer], lease=shelf.lease)


def test_layers_become_snapshots_topmost_first(shelf: "Shelf", tar: "Tar") -> None:
    image = shelf.image(tar(a=b"1", b=b"1"), tar(b=b"2", _wh_a=b""))

    chain_id = unpack(shelf.store, image, lease=shelf.lease)

    assert chain_id == image.chain_id is not None
    upper, lower = shelf.store.snapshots.lowerdirs(image.chain_id)
    assert (lower / "a").read_bytes() == b"1"
    assert (upper / "b").read_bytes() == b"2"
    assert (upper / "a").is_char_device()


def test_unpacking_again_is_a_look_up(shelf: "Shelf", tar: "Tar") -> None:
    image = shelf.image(tar(a=b"1"), tar(b=b"2"))
    first = unpack(shelf.store, image, lease=shelf.lease)
    before = shelf.store.snapshots.all()
    for layer in image.manifest.layers:
        shelf.store.blobs.delete(layer.digest)

    assert unpack(shelf.store, image, lease=shelf.lease) == first
    assert shelf.store.snapshots.all() == before


def test_images_share_their_lower_layers(shelf: "Shelf", tar: "Tar") -> None:
    unpack(shelf.store, shelf.image(tar(a=b"1"), tar(b=b"2")), lease=shelf.lease)
    unpack(shelf.store, shelf.image(tar(a=b"1"), tar(c=b"3")), lease=shelf.lease)

    assert len(shelf.store.snapshots.all()) == 3


def test_an_image_without_layers(shelf: "Shelf") -> None:
    assert unpack(shelf.store, shelf.image(), lease=shelf.lease) is None


def test_a_wrong_diff_id_leaves_nothing(shelf: "Shelf", tar: "Tar") -> None:
    good, bad = tar(a=b"1"), tar(b=b"2")
    image = shelf.image(good, bad, diff_ids=(Digest.of(good), Digest.of(b"other")))

    with pytest.raises(DiffIdMismatchError, match=str(Digest.of(b"other"))):
        unpack(shelf.store, image, lease=shelf.lease)

    assert [one.diff_id for one in shelf.store.snapshots.all()] == [Digest.of(good)]
    assert len(shelf.store.snapshots.directories()) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda packed: packed[: len(packed) // 2],
        lambda packed: packed[:-4],
        lambda packed: b"no archive at all",
        lambda packed: packed[:100] + b"?" + packed[101:],
    ],
    ids=["half", "without-end", "other", "changed"],
)
def test_a_broken_layer_leaves_nothing(
    shelf: "Shelf", tar: "Tar", damage: Callable[[bytes], bytes]
) -> None:
    content = tar(a=os.urandom(600))
    image = packed_image(shelf, content, lambda data: damage(gzip.compress(data)))

    with pytest.raises((LayerError, DiffIdMismatchError), match=str(image.id)):
        unpack(shelf.store, image, lease=shelf.lease)

    assert shelf.store.snapshots.all() == []
    assert shelf.store.snapshots.directories() == []


def test_content_after_the_archive_belongs_to_the_diff_id(shelf: "Shelf", tar: "Tar") -> None:
    padded = tar(a=b"1") + bytes(30_000)
    image = packed_image(shelf, padded, gzip.compress)

    assert unpack(shelf.store, image, lease=shelf.lease) == Digest.of(padded)


def test_a_layer_of_an_old_packing_is_taken(shelf: "Shelf", tar: "Tar") -> None:
    content = tar(a=b"1")
    image = packed_image(shelf, content, bz2.compress)

    unpack(shelf.store, image, lease=shelf.lease)

    assert shelf.store.layers.blobs_of(Digest.of(content)) == []
    assert len(shelf.store.snapshots.all()) == 1


def test_what_is_known_of_a_layer_is_recorded(shelf: "Shelf", tar: "Tar") -> None:
    content = tar(a=b"1" * 5000)
    image = packed_image(shelf, content, gzip.compress)

    unpack(shelf.store, image, lease=shelf.lease)

    (blob,) = shelf.store.layers.blobs_of(Digest.of(content))
    assert blob.digest == image.manifest.layers[0].digest
    assert blob.uncompressed_size >= 5000


def test_more_layers_than_diff_ids(shelf: "Shelf", tar: "Tar") -> None:
    image = shelf.image(tar(a=b"1"), diff_ids=())

    with pytest.raises(LayerMismatchError, match="1 layers but 0 diff ids"):
        unpack(shelf.store, image, lease=shelf.lease)


def test_more_layers_than_overlayfs_stacks_are_refused_at_once(shelf: "Shelf", tar: "Tar") -> None:
    image = shelf.image(*[tar(a=b"1")] * (MAX_LAYERS + 1))

    with pytest.raises(LayerLimitError, match="500 layers, and overlayfs stacks at most 499"):
        unpack(shelf.store, image, lease=shelf.lease)

    assert shelf.store.snapshots.all() == []
