"""The store as a source and a sink; the rest of the contract is in tests/contracts."""

from typing import TYPE_CHECKING

import pytest

from imagekit.images.errors import ImageNotFoundError
from imagekit.images.store_content import StoreContent

if TYPE_CHECKING:
    from tests.images.conftest import Shelf


def test_names_are_completed(shelf: "Shelf") -> None:
    image = shelf.image(b"layer", names=("app",))
    content = StoreContent(shelf.store, shelf.lease)

    content.tag(image.descriptor, "r.io/other")

    assert content.resolve("app").digest == image.descriptor.digest
    assert content.resolve("r.io/other:latest").digest == image.descriptor.digest
    with pytest.raises(ImageNotFoundError):
        content.resolve("absent")


def test_what_was_asked_for_is_kept_by_the_lease(shelf: "Shelf") -> None:
    with shelf.store.leases.hold("other") as lease:
        content = StoreContent(shelf.store, lease)
        image = shelf.image(b"layer")
        layer = image.manifest.layers[0]

        assert content.has(layer)
        shelf.store.gc.prune()

        assert shelf.store.blobs.has(layer.digest)
