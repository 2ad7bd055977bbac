"""Layers in another compression: other blobs, another manifest, the same image."""

import gzip
import json
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import zstandard

from imagekit.base.events import Event, Notice, TransferEnded, TransferProgress
from imagekit.config import Settings
from imagekit.engine import Engine
from imagekit.images.convert import Conversion, DocumentFormat, convert
from imagekit.images.errors import (
    BlobDamagedError,
    BlobMissingError,
    ConversionError,
    DiffIdMismatchError,
    ImageNotFoundError,
)
from imagekit.images.local import LocalImage
from imagekit.images.unpack import unpack
from imagekit.layers.errors import LayerLevelError
from imagekit.oci import mediatype
from imagekit.oci.descriptor import Descriptor
from imagekit.oci.digest import Digest
from imagekit.oci.manifest import Index, Manifest
from imagekit.oci.mediatype import Compression
from imagekit.oci.platform import Platform
from tests.images.conftest import Shelf, Tar

OPEN: dict[Compression, Callable[[bytes], bytes]] = {
    Compression.NONE: bytes,
    Compression.GZIP: gzip.decompress,
    Compression.ZSTD: lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}
ATTESTATION = "attestation-manifest"


def converted(
    shelf: Shelf,
    root: Descriptor,
    compression: Compression = Compression.ZSTD,
    events: list[Event] | None = None,
    **options: object,
) -> Conversion:
    seen: list[Event] = [] if events is None else events
    return convert(
        shelf.store, root, lease=shelf.lease, compression=compression, events=seen.append,
        **options,  # type: ignore[arg-type]  # each test names its own
    )  # fmt: skip


def load(shelf: Shelf, descriptor: Descriptor) -> LocalImage:
    return shelf.images.load(descriptor)


def put(shelf: Shelf, document: dict[str, object], media_type: str) -> Descriptor:
    raw = json.dumps(document).encode()
    digest = shelf.store.blobs.put(raw)
    shelf.lease.add("blob", str(digest))
    return Descriptor(media_type=media_type, digest=digest, size=len(raw))


def edited(shelf: Shelf, image: LocalImage, **changes: object) -> Descriptor:
    """Store the image's manifest with other fields."""
    document = {**json.loads(image.manifest.raw), **changes}
    media_type = str(document["mediaType"])
    return put(shelf, document, media_type)


@pytest.mark.parametrize("compression", list(Compression))
def test_the_same_image_with_other_blobs(shelf: Shelf, tar: Tar, compression: Compression) -> None:
    contents = [tar(a=b"a" * 5000), tar(b=b"b" * 3_000_000)]
    image = shelf.image(*contents)

    result = converted(shelf, image.descriptor, compression)

    new = load(shelf, result.descriptor)
    assert new.id == image.id
    assert new.config == image.config
    for layer, content in zip(new.manifest.layers, contents, strict=True):
        assert mediatype.layer_compression(layer.media_type) is compression
        blob = shelf.store.blobs.read(layer.digest)
        assert OPEN[compression](blob) == content
        assert (layer.size, layer.digest) == (len(blob), Digest.of(blob))
        known = shelf.store.layers.get(layer.digest)
        assert known is not None
        assert (known.compression, known.uncompressed_size) == (compression, len(content))


def test_there_and_back_gives_the_same_manifest(shelf: Shelf, tar: Tar) -> None:
    image = shelf.image(tar(a=b"a"))
    gzipped = converted(shelf, image.descriptor, Compression.GZIP).descriptor

    there = converted(shelf, gzipped, Compression.ZSTD).descriptor
    back = converted(shelf, there, Compression.GZIP)

    assert back.descriptor == gzipped
    assert [layer.reused for layer in back.layers] == [True]


def test_what_is_known_is_packed_again_only_by_force(shelf: Shelf, tar: Tar) -> None:
    image = shelf.image(tar(a=b"text " * 50_000))
    first = converted(shelf, image.descriptor, Compression.GZIP, level=0)
    events: list[Event] = []

    again = converted(shelf, image.descriptor, Compression.GZIP, events, level=3)
    forced = converted(shelf, image.descriptor, Compression.GZIP, level=3, force=True)

    assert again.descriptor == first.descriptor
    assert [event.skipped for event in events if isinstance(event, TransferEnded)] == [
        "already there"
    ]
    assert not forced.layers[0].reused
    assert forced.layers[0].size < first.layers[0].size


def test_a_layer_that_occurs_twice_is_packed_once(shelf: Shelf, tar: Tar) -> None:
    content = tar(a=b"a")
    image = shelf.image(content, content)

    result = converted(shelf, image.descriptor)

    assert len(result.layers) == 1
    assert len(load(shelf, result.descriptor).manifest.layers) == 2


def test_progress_counts_what_is_read(shelf: Shelf, tar: Tar) -> None:
    content = tar(a=b"a" * 3_000_000)
    image = shelf.image(content)
    events: list[Event] = []

    converted(shelf, image.descriptor, Compression.GZIP, events)

    moved = [event for event in events if isinstance(event, TransferProgress)]
    assert sum(event.advance_bytes for event in moved) == len(content)


def test_annotations_stay_but_for_those_about_the_old_bytes(shelf: Shelf, tar: Tar) -> None:
    image = shelf.image(tar(a=b"a"))
    layer = image.manifest.layers[0]
    entry = {
        "mediaType": layer.media_type, "digest": str(layer.digest), "size": layer.size,
        "urls": ["https://example.com/old"],
        "annotations": {
            "org.example.kept": "yes", "containerd.io/snapshot/stargz/toc.digest": "sha256:0",
            "io.github.containers.zstd-chunked.manifest-checksum": "sha256:0",
        },
    }  # fmt: skip
    root = edited(
        shelf, image, layers=[entry], annotations={"a": "b"}, artifactType="text/x", unknown=[1]
    )

    document = json.loads(shelf.store.blobs.read(converted(shelf, root).descriptor.digest))

    assert document["layers"][0]["annotations"] == {"org.example.kept": "yes"}
    assert "urls" not in document["layers"][0]
    assert (document["annotations"], document["artifactType"], document["unknown"]) == (
        {"a": "b"}, "text/x", [1],
    )  # fmt: skip


def docker_image(shelf: Shelf, tar: Tar) -> Descriptor:
    image = shelf.image(tar(a=b"a"))
    layer, config = image.manifest.layers[0], image.manifest.config
    return edited(
        shelf,
        image,
        mediaType=mediatype.DOCKER_MANIFEST,
        config={
            "mediaType": mediatype.DOCKER_CONFIG, "digest": str(config.digest), "size": config.size,
        },
        layers=[
            {"mediaType": mediatype.DOCKER_LAYER, "digest": str(layer.digest), "size": layer.size}
        ],
    )  # fmt: skip


def test_a_docker_manifest_stays_one_where_it_can(shelf: Shelf, tar: Tar) -> None:
    root = docker_image(shelf, tar)
    events: list[Event] = []

    packed = load(shelf, converted(shelf, root, Compression.GZIP, events).descriptor).manifest
    assert not [event for event in events if isinstance(event, Notice)]
    zstd = load(shelf, converted(shelf, root, Compression.ZSTD, events).descriptor).manifest

    assert packed.media_type == mediatype.DOCKER_MANIFEST
    assert packed.config.media_type == mediatype.DOCKER_CONFIG
    assert packed.layers[0].media_type == mediatype.DOCKER_LAYER_GZIP
    assert zstd.media_type == mediatype.OCI_MANIFEST
    assert zstd.config.media_type == mediatype.OCI_CONFIG
    assert zstd.layers[0].media_type == mediatype.OCI_LAYER_ZSTD
    assert "OCI" in next(event.message for event in events if isinstance(event, Notice))


def test_the_format_can_be_asked_for(shelf: Shelf, tar: Tar) -> None:
    image = shelf.image(tar(a=b"a"))
    options = {"compression": Compression.GZIP, "document_format": DocumentFormat.DOCKER}

    docker = converted(shelf, image.descriptor, **options)  # type: ignore[arg-type]
    options["document_format"] = DocumentFormat.OCI
    oci = converted(shelf, docker.descriptor, **options)  # type: ignore[arg-type]

    assert docker.descriptor.media_type == mediatype.DOCKER_MANIFEST
    assert oci.descriptor.media_type == mediatype.OCI_MANIFEST
    assert docker.layers[0].digest == oci.layers[0].digest
    with pytest.raises(ConversionError):
        converted(shelf, image.descriptor, document_format=DocumentFormat.DOCKER)


def test_an_index_is_converted_with_what_is_here(shelf: Shelf, tar: Tar) -> None:
    here, other = shelf.image(tar(a=b"a")), shelf.image(tar(b=b"b"))
    absent = Descriptor(
        media_type=mediatype.OCI_MANIFEST,
        digest=Digest.of(b"absent"),
        size=6,
        platform=Platform.parse("linux/s390x"),
    )
    attestation = put(
        shelf,
        {
            "schemaVersion": 2, "mediaType": mediatype.OCI_MANIFEST,
            "config": {"mediaType": mediatype.OCI_CONFIG, "digest": str(here.id), "size": 2},
            "layers": [{"mediaType": "application/vnd.in-toto+json", "digest": str(here.id),
                        "size": 2}],
        },
        mediatype.OCI_MANIFEST,
    )  # fmt: skip
    about = {
        "vnd.docker.reference.type": ATTESTATION,
        "vnd.docker.reference.digest": str(here.descriptor.digest),
    }
    index = Index.build(
        manifests=[
            msgspec.structs.replace(here.descriptor, platform=Platform.parse("linux/amd64")),
            msgspec.structs.replace(other.descriptor, platform=Platform.parse("linux/arm64")),
            absent,
            msgspec.structs.replace(attestation, annotations=about),
        ],
        annotations={"a": "b"},
    )
    shelf.store.blobs.put(index.raw)

    result = converted(shelf, index.descriptor)

    new = Index.parse(shelf.store.blobs.read(result.descriptor.digest))
    first, second, third, fourth = new.manifests
    assert (first.platform, second.platform) == (
        Platform.parse("linux/amd64"), Platform.parse("linux/arm64"),
    )  # fmt: skip
    for child in (first, second):
        manifest = Manifest.parse(shelf.store.blobs.read(child.digest))
        assert manifest.layers[0].media_type == mediatype.OCI_LAYER_ZSTD
    assert third == absent
    assert fourth.digest == attestation.digest
    assert fourth.annotations["vnd.docker.reference.digest"] == str(first.digest)
    assert new.annotations == {"a": "b"}
    assert len(result.layers) == 2


def test_an_index_of_which_nothing_is_here(shelf: Shelf) -> None:
    absent = Descriptor(media_type=mediatype.OCI_MANIFEST, digest=Digest.of(b"absent"), size=6)
    index = Index.build(manifests=[absent])
    shelf.store.blobs.put(index.raw)

    with pytest.raises(ConversionError, match="nothing of index"):
        converted(shelf, index.descriptor)


@pytest.mark.root
def test_a_lost_blob_is_packed_from_what_it_was_unpacked_to(shelf: Shelf, tar: Tar) -> None:
    """If our writer gives the archive that it was; else the content is another layer's."""
    from imagekit.images.commit import store_image, store_layer
    from imagekit.layers.diff import overlay_changes

    base = shelf.image(tar(a=b"a"))
    top = unpack(shelf.store, base, lease=shelf.lease)
    assert top is not None
    snapshot = shelf.store.snapshots.get(top)
    assert snapshot is not None
    ours = store_layer(shelf.store, overlay_changes(snapshot.fs, ()), lease=shelf.lease)
    config = msgspec.structs.replace(base.config, diff_ids=(ours.diff_id,))
    image = store_image(shelf.store, config, [ours.descriptor], lease=shelf.lease)
    unpack(shelf.store, image, lease=shelf.lease)
    for lost in (base.manifest.layers[0].digest, ours.descriptor.digest):
        shelf.store.blobs.delete(lost)

    new = load(shelf, converted(shelf, image.descriptor).descriptor)

    blob = shelf.store.blobs.read(new.manifest.layers[0].digest)
    assert Digest.of(OPEN[Compression.ZSTD](blob)) == ours.diff_id
    with pytest.raises(BlobMissingError):  # Python's tarfile wrote it with other bytes
        converted(shelf, base.descriptor)


def test_a_layer_that_is_nowhere(shelf: Shelf, tar: Tar) -> None:
    image = shelf.image(tar(a=b"a"), tar(b=b"b"))
    shelf.store.blobs.delete(image.manifest.layers[1].digest)

    with pytest.raises(BlobMissingError) as caught:
        converted(shelf, image.descriptor)
    assert str(image.manifest.layers[1].digest) in caught.value.message


def test_a_damaged_layer_leaves_nothing_and_no_thread(shelf: Shelf, tar: Tar) -> None:
    image = shelf.image(*(tar(a=bytes([number]) * 2_000_000) for number in range(6)))
    path = shelf.store.blobs.path(image.manifest.layers[3].digest)
    damaged = bytearray(path.read_bytes())
    damaged[1_000_000] ^= 1
    path.write_bytes(damaged)
    before = set(shelf.store.blobs.all())

    with pytest.raises(BlobDamagedError):
        converted(shelf, image.descriptor, Compression.NONE, force=True)

    assert set(shelf.store.blobs.all()) <= before
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith(("convert", "layer", "gzip"))]


def test_content_that_the_config_does_not_promise(shelf: Shelf, tar: Tar) -> None:
    image = shelf.image(tar(a=b"a"), diff_ids=(Digest.of(b"other"),))

    with pytest.raises(DiffIdMismatchError):
        converted(shelf, image.descriptor)


def test_what_is_no_image_is_refused(shelf: Shelf, tar: Tar) -> None:
    image = shelf.image(tar(a=b"a"))
    config = {"mediaType": "text/plain", "digest": str(image.id), "size": 1}

    with pytest.raises(ConversionError):
        converted(shelf, edited(shelf, image, config=config))
    with pytest.raises(LayerLevelError):
        converted(shelf, image.descriptor, Compression.GZIP, level=9)


def test_layers_that_are_fetched_from_elsewhere_stay(shelf: Shelf, tar: Tar) -> None:
    image = shelf.image(tar(a=b"a"))
    digest = image.manifest.layers[0].digest
    foreign = {"mediaType": mediatype.DOCKER_LAYER_FOREIGN, "digest": str(digest), "size": 9}
    root = edited(shelf, image, layers=[foreign])

    result = converted(shelf, root)

    assert result.layers == ()
    assert result.descriptor == root


def test_what_a_name_stands_for_may_be_an_index(shelf: Shelf, tar: Tar) -> None:
    image = shelf.image(tar(a=b"a"), names=("app:1",))
    index = Index.build(
        manifests=[msgspec.structs.replace(image.descriptor, platform=Platform.host())]
    )
    shelf.store.blobs.put(index.raw)
    shelf.store.images.set("docker.io/library/multi:1", index.descriptor)

    assert shelf.images.named("multi:1") == ("docker.io/library/multi:1", index.descriptor)
    assert shelf.images.named(str(image.id))[1] in (image.descriptor, index.descriptor)
    with pytest.raises(ImageNotFoundError):
        shelf.images.named("none")


def test_the_engine_moves_the_name_or_gives_another(shelf: Shelf, tar: Tar, tmp_path: Path) -> None:
    image = shelf.image(tar(a=b"a"), names=("app:1",))
    with Engine(Settings(root=tmp_path / "store")) as engine:
        other = engine.convert("app:1", "other:2", compression=Compression.ZSTD)
        assert engine.image("app:1").descriptor == image.descriptor
        assert engine.image("other:2").descriptor == other.descriptor

        moved = engine.convert(image.id.hex[:12], compression=Compression.GZIP)
        by_digest = f"other@{other.descriptor.digest}"
        with pytest.raises(ConversionError, match="digest will be another"):
            engine.convert("other:2", by_digest, compression=Compression.GZIP)

        digests = {engine.image(name).descriptor.digest for name in ("app:1", "other:2")}
        assert moved.descriptor.digest in digests
