"""Finding, listing, naming and removing images."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from imagekit.images.errors import ImageInUseError, ImageNotFoundError, LayerMismatchError
from imagekit.images.local import parse_time
from imagekit.oci.descriptor import Descriptor
from imagekit.oci.digest import Digest
from imagekit.oci.errors import InvalidReferenceError
from imagekit.oci.image_config import History
from imagekit.oci.manifest import Index
from imagekit.oci.platform import Platform

if TYPE_CHECKING:
    from tests.images.conftest import Shelf


def test_every_way_to_name_an_image(shelf: "Shelf") -> None:
    image = shelf.image(b"layer", names=("r.io/team/app:1",))
    shelf.image(b"other", names=("other",))

    for name in (
        "r.io/team/app:1",
        f"r.io/team/app@{image.descriptor.digest}",
        str(image.id),
        image.id.hex,
        image.id.short,
        image.id.hex[:4],
        f"sha256:{image.id.short}",
        image.descriptor.digest.hex,
    ):
        found = shelf.images.resolve(name)
        assert (found.id, found.name) == (image.id, "r.io/team/app:1"), name
        assert found.config == image.config


def test_a_name_is_completed(shelf: "Shelf") -> None:
    image = shelf.image(b"layer", names=("app",))

    assert image.name == "docker.io/library/app:latest"
    assert shelf.images.resolve("docker.io/app").id == image.id


@pytest.mark.parametrize("name", ["absent", "abc", "Not/A Name", "", "app@sha256:" + "0" * 64])
def test_what_is_not_there(shelf: "Shelf", name: str) -> None:
    shelf.image(b"layer", names=("app:1",))

    with pytest.raises(ImageNotFoundError) as caught:
        shelf.images.resolve(name)

    assert caught.value.hint is not None


def test_the_nearest_name_is_told(shelf: "Shelf") -> None:
    shelf.image(b"layer", names=("webserver:1.0",))

    with pytest.raises(ImageNotFoundError) as near:
        shelf.images.resolve("websever:1.0")
    with pytest.raises(ImageNotFoundError) as far:
        shelf.images.resolve("quite/other:2")

    assert near.value.hint == "Did you mean webserver:1.0?"
    assert far.value.hint == "Fetch it with: imagekit pull quite/other:2"


def test_an_ambiguous_id_asks_for_more_digits(shelf: "Shelf") -> None:
    seen: dict[str, str] = {}
    number = 0
    while True:  # two images whose ids begin alike; some hundred tries for four digits
        image = shelf.image(b"%d" % number, names=(f"app:{number}",))
        if image.id.hex[:4] in seen:
            break
        seen[image.id.hex[:4]] = image.id.hex
        number += 1

    with pytest.raises(ImageNotFoundError, match="several images"):
        shelf.images.resolve(image.id.hex[:4])
    assert shelf.images.resolve(image.id.hex).id == image.id


def test_the_list_is_newest_first(shelf: "Shelf") -> None:
    shelf.image(b"1", names=("old",), created="2020-01-01T00:00:00Z")
    shelf.image(b"2", names=("new",), created="2024-01-01T00:00:00.123456789+02:00")
    shelf.image(b"3", names=("none",), created=None)
    shelf.image(b"4", names=("naive",), created="0001-01-01T00:00:00")
    shelf.image(b"5", names=("odd",), created="yesterday")

    listed = shelf.images.list()

    assert [str(row.name).rpartition("/")[2] for row in listed][:2] == ["new:latest", "old:latest"]
    assert len(listed) == 5
    assert listed[0].created == datetime(2023, 12, 31, 22, 0, 0, 123456, tzinfo=UTC)
    assert listed[0].size_bytes == 1


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-01-02T03:04:05Z", datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2024-01-02T03:04:05", datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("", None),
        (None, None),
        ("soon", None),
    ],
)
def test_times_of_image_documents(text: str | None, moment: datetime | None) -> None:
    assert parse_time(text) == moment


def test_a_second_name_and_its_removal(shelf: "Shelf") -> None:
    image = shelf.image(b"layer", names=("app:1",))

    shelf.images.tag("app:1", "r.io/app")
    assert set(shelf.images.names_of(image)) == {"docker.io/library/app:1", "r.io/app:latest"}

    assert shelf.images.remove("app:1") == ("Untagged: app:1",)
    assert shelf.images.remove("r.io/app") == (
        "Untagged: r.io/app:latest",
        f"Deleted: {image.id}",
    )
    assert shelf.images.list() == ()


def test_a_tag_has_no_digest(shelf: "Shelf") -> None:
    image = shelf.image(b"layer", names=("app:1",))

    with pytest.raises(InvalidReferenceError, match="a tag has no digest"):
        shelf.images.tag("app:1", f"app@{image.descriptor.digest}")


def test_a_moved_name_takes_the_new_image(shelf: "Shelf") -> None:
    shelf.image(b"1", names=("app", "kept"))
    second = shelf.image(b"2", names=("app",))

    assert shelf.images.resolve("app").id == second.id
    assert shelf.images.resolve("kept").id != second.id


def test_an_id_with_several_names_needs_force(shelf: "Shelf") -> None:
    image = shelf.image(b"layer", names=("app:1", "app:2"))

    with pytest.raises(ImageInUseError, match="has 2 names"):
        shelf.images.remove(image.id.short)
    lines = shelf.images.remove(image.id.short, force=True)

    assert lines == ("Untagged: app:1", "Untagged: app:2", f"Deleted: {image.id}")


def test_a_container_keeps_the_last_name(shelf: "Shelf") -> None:
    image = shelf.image(b"layer", names=("app:1", "app:2"))
    used_by = {"c" * 64: str(image.id)}

    assert shelf.images.remove("app:1", used_by=used_by) == ("Untagged: app:1",)
    with pytest.raises(ImageInUseError, match="used by container cccccccccccc") as caught:
        shelf.images.remove("app:2", used_by=used_by)
    assert caught.value.hint == "Remove it first: imagekit rm -f cccccccccccc"
    assert len(shelf.images.remove("app:2", used_by=used_by, force=True)) == 2


def test_removing_what_is_not_there(shelf: "Shelf") -> None:
    with pytest.raises(ImageNotFoundError):
        shelf.images.remove("absent")


def test_history_is_told_with_the_size_of_each_layer(shelf: "Shelf") -> None:
    history = (
        History(created_by="one"),
        History(created_by="env", empty_layer=True),
        History(created_by="two"),
    )
    shelf.image(b"1", b"22", names=("app",), history=history)

    rows = shelf.images.history("app")

    assert [(row.history.created_by, row.size_bytes) for row in rows] == [
        ("two", 2),
        ("env", 0),
        ("one", 1),
    ]
    assert rows[1].digest is None


def test_a_history_that_does_not_fit_is_told_all_the_same(shelf: "Shelf") -> None:
    shelf.image(b"1", names=("long",), history=(History(created_by="a"), History(created_by="b")))
    shelf.image(b"1", b"2", names=("short",), history=(History(created_by="a"),))

    assert [row.size_bytes for row in shelf.images.history("long")] == [0, 1]
    assert [row.history.created_by for row in shelf.images.history("short")] == ["", "a"]


def test_an_image_whose_layers_do_not_fit_its_config(shelf: "Shelf") -> None:
    image = shelf.image(b"1", diff_ids=())

    with pytest.raises(LayerMismatchError, match="1 layers but 0 diff ids"):
        shelf.images.load(image.descriptor)


def index_of(shelf: "Shelf", *platforms: str) -> Descriptor:
    image = shelf.image(b"layer")
    manifests = [
        Descriptor(
            media_type=image.descriptor.media_type,
            digest=image.descriptor.digest,
            size=image.descriptor.size,
            platform=Platform.parse(name),
        )
        for name in platforms
    ]
    index = Index.build(manifests=manifests)
    shelf.store.blobs.put(index.raw)
    return index.descriptor


def test_an_index_gives_the_image_of_this_machine(shelf: "Shelf") -> None:
    descriptor = index_of(shelf, str(Platform.host()), "windows/amd64")

    image = shelf.images.load(descriptor, "r.io/app:1")

    assert image.name == "r.io/app:1"
    assert image.descriptor != descriptor


def test_an_index_without_this_machine(shelf: "Shelf") -> None:
    descriptor = index_of(shelf, "windows/amd64")

    with pytest.raises(ImageNotFoundError, match="no content for"):
        shelf.images.load(descriptor)


def test_a_digest_in_another_repository_is_another_image(shelf: "Shelf") -> None:
    image = shelf.image(b"layer", names=("app:1",))

    with pytest.raises(ImageNotFoundError):
        shelf.images.resolve(f"other@{image.descriptor.digest}")
    assert shelf.images.resolve(f"app@{image.descriptor.digest}").id == image.id
    assert Digest.parse(str(image.id)) == image.id
