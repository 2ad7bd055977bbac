"""The shape of ``docker image inspect``."""

from typing import TYPE_CHECKING

from imagekit.images.inspect import inspection
from imagekit.oci.image_config import ContainerConfig, History

if TYPE_CHECKING:
    from tests.images.conftest import Shelf


def test_everything_is_told(shelf: "Shelf") -> None:
    image = shelf.image(
        b"layer",
        names=("app:1", "app:2", "r.io/app:3"),
        config=ContainerConfig(cmd=("x",), env=("A=b",)),
        history=(History(comment="why"),),
    )

    told = inspection(image, shelf.images.names_of(image), 5)

    assert told["Id"] == str(image.id)
    assert told["RepoTags"] == ["app:1", "app:2", "r.io/app:3"]
    digest = image.descriptor.digest
    assert told["RepoDigests"] == [f"app@{digest}", f"r.io/app@{digest}"]
    assert (told["Comment"], told["Size"], told["Os"]) == ("why", 5, "linux")
    assert told["Config"] == {"Cmd": ("x",), "Env": ("A=b",)}
    assert told["RootFS"] == {"Type": "layers", "Layers": [str(image.config.diff_ids[0])]}
    assert told["Descriptor"]["size"] == image.descriptor.size


def test_an_image_without_anything(shelf: "Shelf") -> None:
    told = inspection(shelf.image(), (), 0)

    assert (told["RepoTags"], told["RepoDigests"], told["Comment"]) == ([], [], "")
