import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from msgspec.structs import replace

from imagekit.oci.descriptor import Descriptor
from imagekit.oci.digest import Digest
from imagekit.store.errors import ContentNotFoundError
from imagekit.store.layout import Store


def descriptor(store: Store, data: bytes) -> Descriptor:
    return Descriptor(
        media_type="application/vnd.oci.image.manifest.v1+json",
        digest=store.blobs.put(data),
        size=len(data),
    )


def index_names(store: Store) -> dict[str, str]:
    index = json.loads((store.paths.content / "index.json").read_bytes())
    return {
        m["annotations"]["org.opencontainers.image.ref.name"]: m["digest"]
        for m in index["manifests"]
    }


def test_set_get_replace_delete(store: Store) -> None:
    one, two = descriptor(store, b"1"), descriptor(store, b"2")

    store.images.set("app:1", one)
    store.images.set("app:1", two)

    found = store.images.get("app:1")
    assert found is not None
    assert found.descriptor == two
    assert store.images.all() == [found]
    assert store.images.delete("app:1")
    assert not store.images.delete("app:1")
    assert store.images.get("app:1") is None


def test_descriptor_survives_whole(store: Store) -> None:
    full = replace(descriptor(store, b"1"), annotations={"a": "b"}, artifact_type="x/y")

    store.images.set("app:1", full)

    found = store.images.get("app:1")
    assert found is not None
    assert found.descriptor == full


def test_set_refuses_content_that_is_not_there(store: Store) -> None:
    absent = Descriptor(media_type="x", digest=Digest.of(b"absent"), size=6)

    with pytest.raises(ContentNotFoundError):
        store.images.set("app:1", absent)

    assert store.images.all() == []


def test_move_only_from_the_expected(store: Store) -> None:
    one, two = descriptor(store, b"1"), descriptor(store, b"2")

    assert not store.images.move("app:1", one.digest, two)
    assert store.images.move("app:1", None, one)
    assert not store.images.move("app:1", None, two)
    assert not store.images.move("app:1", two.digest, two)
    assert store.images.move("app:1", one.digest, two)


def test_one_of_many_movers_wins(store: Store) -> None:
    first = descriptor(store, b"first")
    store.images.set("app:1", first)
    others = [descriptor(store, b"%d" % n) for n in range(8)]

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda d: store.images.move("app:1", first.digest, d), others))

    assert sum(won) == 1
    found = store.images.get("app:1")
    assert found is not None
    assert found.descriptor == others[won.index(True)]


def test_index_of_the_layout_lists_the_tags(store: Store) -> None:
    one = descriptor(store, b"1")

    assert index_names(store) == {}
    store.images.set("app:1", one)
    store.images.set("app:2", one)
    store.images.delete("app:1")

    assert index_names(store) == {"app:2": str(one.digest)}
