"""Changed files become one more layer."""

import io
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from imagekit.base.clock import FixedClock
from imagekit.images.commit import commit_changes, store_image, store_layer
from imagekit.images.unpack import unpack
from imagekit.layers.compression import open_layer
from imagekit.layers.diff import tree_entries
from imagekit.oci.image_config import ContainerConfig, History, ImageConfig
from imagekit.oci.mediatype import OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, Compression
from imagekit.oci.platform import Platform

if TYPE_CHECKING:
    from tests.images.conftest import Shelf, Tar

pytestmark = pytest.mark.root

CLOCK = FixedClock(datetime(2024, 5, 6, tzinfo=UTC))


def test_changes_become_a_layer(shelf: "Shelf", tar: "Tar", tmp_path: Path) -> None:
    base = shelf.image(tar(a=b"1", b=b"1"), names=("base",), history=(History(comment="base"),))
    chain_id = unpack(shelf.store, base, lease=shelf.lease)
    assert chain_id is not None
    (tmp_path / "upper").mkdir()
    (tmp_path / "upper/new").write_bytes(b"new")

    image = commit_changes(
        shelf.store,
        base,
        upperdir=tmp_path / "upper",
        lowerdirs=shelf.store.snapshots.lowerdirs(chain_id),
        history=History(created_by="sh -c x", comment="why"),
        clock=CLOCK,
        lease=shelf.lease,
        name="app",
        author="Ann",
        edit=lambda config: msgspec.structs.replace(config, cmd=("x",)),
    )

    assert shelf.images.resolve("app").id == image.id
    assert image.manifest.layers[:1] == base.manifest.layers
    assert image.config.diff_ids[:1] == base.config.diff_ids
    created = "2024-05-06T00:00:00.000000Z"
    assert (image.config.created, image.config.author) == (created, "Ann")
    assert image.config.config == ContainerConfig(cmd=("x",))
    assert image.config.history[-1] == History(
        created=created, created_by="sh -c x", author="Ann", comment="why"
    )
    with shelf.store.blobs.open(image.manifest.layers[1].digest) as blob:
        _, content = open_layer(blob)
        with tarfile.open(fileobj=io.BytesIO(content.read())) as archive:
            assert [name for name in archive.getnames() if name != "."] == ["new"]
    assert unpack(shelf.store, image, lease=shelf.lease) == image.chain_id


def test_a_given_time_and_author_stay(shelf: "Shelf", tmp_path: Path) -> None:
    base = shelf.image()
    (tmp_path / "upper").mkdir()

    image = commit_changes(
        shelf.store,
        base,
        upperdir=tmp_path / "upper",
        lowerdirs=(),
        history=History(created="2020-01-01T00:00:00Z", author="Bob"),
        clock=CLOCK,
        lease=shelf.lease,
    )

    assert image.name is None
    assert image.config.created == "2020-01-01T00:00:00Z"
    assert image.config.history[-1].author == "Bob"
    assert image.config.author == ""


@pytest.mark.parametrize(
    ("compression", "media_type"),
    [
        (Compression.NONE, OCI_LAYER),
        (Compression.GZIP, OCI_LAYER_GZIP),
        (Compression.ZSTD, OCI_LAYER_ZSTD),
    ],
)
def test_layers_of_every_packing(
    shelf: "Shelf", tmp_path: Path, compression: Compression, media_type: str
) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/file").write_bytes(b"x" * 1000)

    layer = store_layer(
        shelf.store,
        tree_entries(tmp_path / "root"),
        lease=shelf.lease,
        compression=compression,
        clamp_mtime=0,
    )

    assert layer.descriptor.media_type == media_type
    assert shelf.store.blobs.size(layer.descriptor.digest) == layer.descriptor.size
    (known,) = shelf.store.layers.blobs_of(layer.diff_id)
    assert known.digest == layer.descriptor.digest
    assert known.uncompressed_size == layer.uncompressed_size > 1000


def test_a_failure_leaves_no_blob(shelf: "Shelf", tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/file").write_bytes(b"x")
    entries = list(tree_entries(tmp_path / "root"))
    (tmp_path / "root/file").unlink()

    with pytest.raises(Exception):  # noqa: B017, PT011 which one is the layers' affair
        store_layer(shelf.store, entries, lease=shelf.lease)

    assert list(shelf.store.blobs.all()) == []


def test_several_names(shelf: "Shelf") -> None:
    config = ImageConfig(platform=Platform.host())

    image = store_image(shelf.store, config, (), lease=shelf.lease, names=("a", "r.io/b:2"))

    assert image.name == "docker.io/library/a:latest"
    assert set(shelf.images.names_of(image)) == {"docker.io/library/a:latest", "r.io/b:2"}
