"""Archives of images: our own, docker's old ones, and hostile ones."""

import contextlib
import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imagekit.base.errors import CorruptionError, ImagekitError
from imagekit.config import Settings
from imagekit.engine import Engine
from imagekit.images.archive import ArchiveSink, ArchiveSource
from imagekit.images.errors import ArchiveError, ImageNotFoundError
from imagekit.images.local import LocalImage
from imagekit.images.store_content import StoreContent
from imagekit.oci import mediatype
from imagekit.oci.descriptor import Descriptor
from imagekit.oci.digest import Digest
from imagekit.oci.errors import InvalidDocumentError
from imagekit.oci.image_config import ImageConfig
from imagekit.oci.platform import Platform
from imagekit.registry.transfer import transfer

if TYPE_CHECKING:
    from tests.images.conftest import Shelf, Tar

Members = dict[str, bytes | tarfile.TarInfo]


def archive_of(members: Members) -> io.BytesIO:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as tar:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                content.name = name
                tar.addfile(content)
                continue
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    output.seek(0)
    return output


def members_of(archive: io.BytesIO) -> Members:
    archive.seek(0)
    with tarfile.open(fileobj=archive) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr] # all are files


def save(shelf: "Shelf", *images: LocalImage) -> io.BytesIO:
    output = io.BytesIO()
    sink = ArchiveSink(output)
    for image in images:
        transfer(StoreContent(shelf.store, shelf.lease), sink, image.descriptor, concurrency=1)
        for name in shelf.images.names_of(image):
            sink.tag(image.descriptor, name)
    sink.close()
    output.seek(0)
    return output


def load(archive: io.BytesIO, root: Path) -> tuple[str, ...]:
    with Engine(Settings(root=root)) as engine:
        return engine.load(archive)


def link(target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo()
    member.type, member.linkname = kind, target
    return member


def docker_save(layers: dict[str, bytes | tarfile.TarInfo], diff_ids: list[str]) -> Members:
    """Return what ``docker save`` wrote before version 25."""
    config = json.dumps(
        {
            "architecture": Platform.host().architecture,
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }
    ).encode()
    name = f"{Digest.of(config).hex}.json"
    manifest = [{"Config": name, "RepoTags": ["old:1", "old:2"], "Layers": list(layers)}]
    return {
        **layers,
        name: config,
        "repositories": b"{}",
        "manifest.json": json.dumps(manifest).encode(),
    }


def test_what_was_saved_is_loaded(shelf: "Shelf", tar: "Tar", tmp_path: Path) -> None:
    first = shelf.image(tar(a=b"1"), tar(b=b"2"), names=("app:1", "r.io/app:1"))
    second = shelf.image(tar(a=b"1"), names=("other:1",))

    names = load(save(shelf, first, second), tmp_path / "other")

    assert sorted(names) == ["app:1", "other:1", "r.io/app:1"]
    with Engine(Settings(root=tmp_path / "other")) as engine:
        assert engine.image("app:1").descriptor == first.descriptor
        assert engine.image("other:1").id == second.id


def test_equal_images_give_equal_archives(shelf: "Shelf", tar: "Tar") -> None:
    image = shelf.image(tar(a=b"1"), names=("app:1",))

    assert save(shelf, image).getvalue() == save(shelf, image).getvalue()


def test_shared_blobs_are_written_once(shelf: "Shelf", tar: "Tar") -> None:
    one = shelf.image(tar(a=b"1"), names=("one",))
    two = shelf.image(tar(a=b"1"), tar(b=b"2"), names=("two",))

    with tarfile.open(fileobj=save(shelf, one, two)) as archive:
        names = archive.getnames()

    assert len(names) == len(set(names))
    assert names[0] == "oci-layout"
    assert names[-2:] == ["index.json", "manifest.json"]


def test_docker_finds_the_same_images(shelf: "Shelf", tar: "Tar") -> None:
    image = shelf.image(tar(a=b"1"), names=("app:1", "r.io/app:2"))
    members = members_of(save(shelf, image))

    (listed,) = json.loads(members["manifest.json"])  # type: ignore[arg-type] # bytes

    assert sorted(listed["RepoTags"]) == ["app:1", "r.io/app:2"]
    assert ImageConfig.parse(members[listed["Config"]]) == image.config  # type: ignore[arg-type] # bytes
    assert [members[name] for name in listed["Layers"]] == [tar(a=b"1")]


def test_an_image_without_a_name_is_found_by_digest(
    shelf: "Shelf", tar: "Tar", tmp_path: Path
) -> None:
    image = shelf.image(tar(a=b"1"))
    output = io.BytesIO()
    sink = ArchiveSink(output)
    transfer(StoreContent(shelf.store, shelf.lease), sink, image.descriptor, concurrency=1)
    sink.tag(image.descriptor, "x")
    sink.close()
    members = members_of(output)
    index = json.loads(members["index.json"])  # type: ignore[arg-type] # bytes
    del index["manifests"][0]["annotations"]
    members["index.json"] = json.dumps(index).encode()

    assert load(archive_of(members), tmp_path / "other") == (str(image.descriptor.digest),)


@pytest.mark.parametrize("name", ["V1.0 RC", "../../etc", "-", "A/B"])
def test_an_annotation_that_is_no_name_is_passed_over(
    shelf: "Shelf", tar: "Tar", tmp_path: Path, name: str
) -> None:
    image = shelf.image(tar(a=b"1"), names=("app",))
    members = members_of(save(shelf, image))
    index = json.loads(members["index.json"])  # type: ignore[arg-type] # bytes
    index["manifests"][0]["annotations"] = {"org.opencontainers.image.ref.name": name}
    members["index.json"] = json.dumps(index).encode()

    assert load(archive_of(members), tmp_path / "other") == (str(image.descriptor.digest),)


def test_a_large_member_gets_a_header_that_can_hold_its_size() -> None:
    class StopError(Exception):
        pass

    class Endless:
        def read(self, size: int = -1, /) -> bytes:
            raise StopError

        def close(self) -> None:
            pass

    output = io.BytesIO()
    sink = ArchiveSink(output)
    blob = Descriptor(media_type=mediatype.OCI_LAYER, digest=Digest.of(b""), size=20 << 30)

    with pytest.raises(StopError):
        sink.write(blob, lambda offset: Endless())


def test_a_blob_that_is_not_its_digest_is_not_saved(shelf: "Shelf", tar: "Tar") -> None:
    image = shelf.image(tar(a=b"1"), names=("app",))
    path = shelf.store.blobs.path(image.manifest.layers[0].digest)
    path.chmod(0o644)
    path.write_bytes(tar(a=b"2"))

    with pytest.raises(CorruptionError):
        save(shelf, image)


def test_docker_archives_without_an_index(tar: "Tar", tmp_path: Path) -> None:
    one, two = tar(a=b"1"), tar(b=b"2")
    layers: Members = {"1/layer.tar": one, "2/layer.tar": gzip.compress(two)}
    members = docker_save(layers, [str(Digest.of(one)), str(Digest.of(two))])

    assert load(archive_of(members), tmp_path / "other") == ("old:1", "old:2")

    with Engine(Settings(root=tmp_path / "other")) as engine:
        image = engine.image("old:2")
    assert [layer.media_type for layer in image.manifest.layers] == [
        mediatype.OCI_LAYER,
        mediatype.OCI_LAYER_GZIP,
    ]
    assert image.manifest.layers[0].digest == Digest.of(one)


def test_a_docker_archive_links_a_layer_that_is_there_twice(tar: "Tar", tmp_path: Path) -> None:
    layer = tar(a=b"1")
    layers: Members = {"1/layer.tar": layer, "2/layer.tar": link("../1/layer.tar")}
    members = docker_save(layers, [str(Digest.of(layer))] * 2)

    assert load(archive_of(members), tmp_path / "other") == ("old:1", "old:2")


@pytest.mark.parametrize(
    "target", ["/etc/passwd", "../../../../etc/passwd", "2/layer.tar", "layer.tar", "../absent"]
)
def test_a_link_out_of_the_archive_leads_nowhere(tmp_path: Path, target: str) -> None:
    members = docker_save({"1/layer.tar": link(target)}, [str(Digest.of(b""))])

    with pytest.raises(ArchiveError, match=r"lacks its member '1/layer\.tar'"):
        load(archive_of(members), tmp_path / "other")


@pytest.mark.parametrize(
    "kind", [tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE]
)
@pytest.mark.parametrize("name", ["index.json", "manifest.json", "oci-layout"])
def test_documents_are_files(tmp_path: Path, kind: bytes, name: str) -> None:
    with pytest.raises(ArchiveError, match=r"neither index\.json nor manifest\.json"):
        load(archive_of({name: link("/etc/passwd", kind)}), tmp_path / "other")


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE])
def test_a_blob_that_is_a_link_is_not_there(
    shelf: "Shelf", tar: "Tar", tmp_path: Path, kind: bytes
) -> None:
    image = shelf.image(tar(a=b"1"), names=("app",))
    members = members_of(save(shelf, image))
    members[f"blobs/sha256/{image.manifest.layers[0].digest.hex}"] = link("/etc/passwd", kind)

    with pytest.raises(ArchiveError, match="lacks sha256:"):
        load(archive_of(members), tmp_path / "other")


@pytest.mark.parametrize("what", ["config", "layer", "manifest"])
@pytest.mark.parametrize("damage", ["missing", "changed", "short", "long"])
def test_damaged_archives_name_nothing(
    shelf: "Shelf", tar: "Tar", tmp_path: Path, what: str, damage: str
) -> None:
    image = shelf.image(tar(a=b"1"), names=("app",))
    members = members_of(save(shelf, image))
    digest = {
        "config": image.manifest.config.digest,
        "layer": image.manifest.layers[0].digest,
        "manifest": image.descriptor.digest,
    }[what]
    name = f"blobs/sha256/{digest.hex}"
    content = members.pop(name)
    assert isinstance(content, bytes)
    if damage != "missing":
        changed = {"changed": content[:-1] + b"~", "short": content[:-1], "long": content + b" "}
        members[name] = changed[damage]

    with Engine(Settings(root=tmp_path / "other")) as engine:
        with pytest.raises(ImagekitError) as caught:
            engine.load(archive_of(members))
        assert isinstance(caught.value, ArchiveError | CorruptionError)
        assert engine.images() == ()


@pytest.mark.parametrize("cut", [100, 700, 2000, 3000])
def test_a_truncated_archive_names_nothing(
    shelf: "Shelf", tar: "Tar", tmp_path: Path, cut: int
) -> None:
    content = save(shelf, shelf.image(tar(a=b"1" * 5000), names=("app",))).getvalue()[:cut]

    with Engine(Settings(root=tmp_path / "other")) as engine:
        with pytest.raises((ArchiveError, CorruptionError)):
            engine.load(io.BytesIO(content))
        assert engine.images() == ()


@pytest.mark.parametrize(
    "content", [b"", b"no archive", gzip.compress(b"x" * 2000), bytes(10_240)], ids=range(4)
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ArchiveError) as caught:
        load(io.BytesIO(content), tmp_path / "other")

    assert caught.value.hint is not None


@pytest.mark.parametrize(
    ("members", "part"),
    [
        ({"manifest.json": b"{"}, "bad manifest.json"),
        ({"manifest.json": b'[{"Config":"c"}]'}, "bad manifest.json"),
        ({"manifest.json": b'[{"Config":"c","RepoTags":null,"Layers":[]}]'}, "member 'c'"),
        (
            {"manifest.json": b'[{"Config":"../c","RepoTags":null,"Layers":[]}]', "c": b"{}"},
            "'../c'",
        ),
        ({"manifest.json": b" " * ((16 << 20) + 1)}, "has a manifest.json of"),
    ],
)
def test_wrong_docker_archives_say_why(members: Members, part: str) -> None:
    with pytest.raises(ArchiveError, match=part):
        ArchiveSource(archive_of(members))


@pytest.mark.parametrize("raw", [b"{}", b"[]", b'{"schemaVersion":2,"config":{}}', b"\xff"])
def test_wrong_indexes_say_why(raw: bytes) -> None:
    with pytest.raises(InvalidDocumentError):
        ArchiveSource(archive_of({"index.json": raw}))


def test_a_path_in_a_digest_is_refused() -> None:
    index = {
        "schemaVersion": 2,
        "manifests": [{"mediaType": mediatype.OCI_MANIFEST, "digest": "sha256:../x", "size": 1}],
    }

    with pytest.raises(InvalidDocumentError, match="invalid digest"):
        ArchiveSource(archive_of({"index.json": json.dumps(index).encode()}))


def test_names_with_a_dot_are_the_same_names(shelf: "Shelf", tar: "Tar", tmp_path: Path) -> None:
    members = members_of(save(shelf, shelf.image(tar(a=b"1"), names=("app:1",))))

    dotted = archive_of({f"./{name}": content for name, content in members.items()})

    assert load(dotted, tmp_path / "other") == ("app:1",)


def test_an_image_is_found_by_its_name(shelf: "Shelf", tar: "Tar") -> None:
    image = shelf.image(tar(a=b"1"), names=("app:1",))
    source = ArchiveSource(save(shelf, image))

    assert source.resolve("app:1").digest == image.descriptor.digest
    with pytest.raises(ImageNotFoundError):
        source.resolve("app:2")


def test_blobs_are_read_from_any_place(shelf: "Shelf", tar: "Tar") -> None:
    layer = tar(a=b"1")
    docker = ArchiveSource(archive_of(docker_save({"1/layer.tar": layer}, [str(Digest.of(layer))])))
    image = shelf.image(layer, names=("app:1",))
    ours = ArchiveSource(save(shelf, image))
    made = docker.images[0][1]

    with contextlib.closing(ours.open(image.manifest.layers[0], 100)) as blob:
        assert blob.read(50) + blob.read() == layer[100:]
    with contextlib.closing(ours.open(image.manifest.layers[0], len(layer) + 5)) as blob:
        assert blob.read() == b""
    assert docker.open(made, 5).read() == docker.open(made).read()[5:]
