"""A root file system from outside."""

import bz2
import gzip
import io
import lzma
import os
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from imagekit.base.clock import FixedClock
from imagekit.base.errors import ImagekitError
from imagekit.images.import_root import import_root
from imagekit.images.local import LocalImage
from imagekit.layers.compression import open_layer
from imagekit.oci.digest import Digest
from imagekit.oci.mediatype import OCI_LAYER_ZSTD, Compression
from imagekit.oci.platform import Platform

if TYPE_CHECKING:
    from tests.images.conftest import Shelf, Tar

pytestmark = pytest.mark.root

CLOCK = FixedClock(datetime(2024, 5, 6, tzinfo=UTC))


def names_in_layer(shelf: "Shelf", image: LocalImage) -> dict[str, tarfile.TarInfo]:
    (layer,) = image.manifest.layers
    with shelf.store.blobs.open(layer.digest) as blob:
        _, content = open_layer(blob)
        data = content.read()
    assert (Digest.of(data),) == image.config.diff_ids
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name: member for member in archive}


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_an_archive_of_any_packing(
    shelf: "Shelf", tar: "Tar", pack: Callable[[bytes], bytes]
) -> None:
    source = io.BytesIO(pack(tar(etc__name=b"content")))

    image = import_root(
        shelf.store, source, name="base:1", lease=shelf.lease, clock=CLOCK, message="why"
    )

    assert shelf.images.resolve("base:1").id == image.id
    assert image.chain_id is not None
    (lower,) = shelf.store.snapshots.lowerdirs(image.chain_id)
    assert (lower / "etc/name").read_bytes() == b"content"
    assert set(names_in_layer(shelf, image)) >= {"etc", "etc/name"}
    assert image.config.created == "2024-05-06T00:00:00.000000Z"
    assert [entry.comment for entry in image.config.history] == ["why"]
    assert image.config.platform == Platform.host()


def test_a_directory(shelf: "Shelf", tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    (root / "bin/tool").write_bytes(b"x")
    os.chown(root / "bin/tool", 12, 34)
    (root / "bin/tool").chmod(0o4755)
    (root / "link").symlink_to("bin/tool")

    image = import_root(shelf.store, root, name=None, lease=shelf.lease, clock=CLOCK)

    members = names_in_layer(shelf, image)
    tool = members["bin/tool"]
    assert (tool.mode, tool.uid, tool.gid) == (0o4755, 12, 34)
    assert members["link"].linkname == "bin/tool"
    assert image.name is None
    assert image.config.history[0].comment == "imported"


def test_the_same_archive_gives_the_same_image(shelf: "Shelf", tar: "Tar") -> None:
    ids = {
        import_root(
            shelf.store, io.BytesIO(tar(a=b"1")), name=None, lease=shelf.lease, clock=CLOCK
        ).id
        for _ in range(2)
    }

    assert len(ids) == 1
    assert len(shelf.store.snapshots.all()) == 1


def test_options(shelf: "Shelf", tar: "Tar") -> None:
    image = import_root(
        shelf.store,
        io.BytesIO(tar(a=b"1")),
        name=None,
        lease=shelf.lease,
        clock=CLOCK,
        platform=Platform("linux", "arm", "v6"),
        compression=Compression.ZSTD,
        edit=lambda config: msgspec.structs.replace(config, cmd=("x",)),
    )

    assert image.config.platform == Platform("linux", "arm", "v6")
    assert image.config.config.cmd == ("x",)
    assert image.manifest.layers[0].media_type == OCI_LAYER_ZSTD


@pytest.mark.parametrize(
    "content",
    [b"no archive", gzip.compress(b"x" * 600)[:-6], b"\x1f\x8b", b"x" * 5000],
    ids=range(4),
)
def test_what_is_no_archive_leaves_nothing(shelf: "Shelf", content: bytes) -> None:
    with pytest.raises(ImagekitError):
        import_root(shelf.store, io.BytesIO(content), name="base:1", lease=shelf.lease, clock=CLOCK)

    assert shelf.images.list() == ()
    assert shelf.store.snapshots.directories() == []
