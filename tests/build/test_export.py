"""What of a base image goes into the image on top of it."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imagekit.images.commit import store_image
from imagekit.images.local import LocalImage
from imagekit.oci.image_config import History, ImageConfig
from imagekit.oci.mediatype import DOCKER_LAYER_GZIP, OCI_LAYER_GZIP

if TYPE_CHECKING:
    from tests.build.conftest import World

pytestmark = pytest.mark.root
IMAGE = "busybox:test"


def variant(world: "World", name: str, history: tuple[History, ...]) -> LocalImage:
    """The test image with another history, its layers called by docker's media types."""
    image = world.engine.image(IMAGE)
    config = ImageConfig(
        platform=image.config.platform,
        config=image.config.config,
        diff_ids=image.config.diff_ids,
        history=history,
        created=image.config.created,
    )
    (layer,) = image.manifest.layers
    changed = type(layer)(media_type=DOCKER_LAYER_GZIP, digest=layer.digest, size=layer.size)
    with world.store.leases.hold("test") as lease:
        return store_image(world.store, config, [changed], lease=lease, names=(name,))


@pytest.mark.parametrize(
    ("name", "history"),
    [
        ("none:1", ()),
        ("one:1", (History(created_by="a"),)),
        ("empty:1", (History(created_by="a", empty_layer=True),)),
        ("many:1", (History(created_by="a"), History(created_by="b"), History(created_by="c"))),
    ],
)
def test_history_fits_the_layers(world: "World", name: str, history: tuple[History, ...]) -> None:
    variant(world, name, history)

    config = world.build(f"FROM {name}\nENV a=b\nRUN echo x > /x\n").image.config

    lines = [line for line in config.history if not line.empty_layer]
    assert len(lines) == len(config.diff_ids) == 2
    assert any(line.created_by.startswith("RUN ") for line in lines)


def test_an_image_without_a_name_is_saved(world: "World", tmp_path: Path) -> None:
    image = world.build(f"FROM {IMAGE}\nRUN echo x > /x\n").image

    world.engine.save([image], tmp_path / "image.tar")

    assert world.engine.load(tmp_path / "image.tar") == (str(image.descriptor.digest),)


def test_layers_of_docker_get_the_names_of_oci(world: "World") -> None:
    variant(world, "docker:1", (History(created_by="a"),))

    result = world.build("FROM docker:1\nRUN echo x > /x\n")

    assert {layer.media_type for layer in result.image.manifest.layers} == {OCI_LAYER_GZIP}
    digest = world.engine.image(IMAGE).manifest.layers[0].digest
    assert result.image.manifest.layers[0].digest == digest


def test_names_are_given_in_full(world: "World") -> None:
    world.build(f"FROM {IMAGE}\nLABEL n=1\n", tags=("short", "localhost:5000/a/b:c"))

    assert world.engine.image("docker.io/library/short:latest").config.config.labels == {"n": "1"}
    assert world.engine.image("localhost:5000/a/b:c").config.config.labels == {"n": "1"}
