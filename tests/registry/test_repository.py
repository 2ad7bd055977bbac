import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.base.streams import DigestMismatchError, VerifiedReader, copy_stream
from imagekit.oci import mediatype
from imagekit.oci.descriptor import Descriptor
from imagekit.oci.digest import Digest
from imagekit.oci.errors import InvalidReferenceError
from imagekit.oci.manifest import Manifest
from imagekit.oci.reference import Reference
from imagekit.registry.auth import Credentials
from imagekit.registry.client import RegistryClient
from imagekit.registry.errors import (
    AuthenticationError,
    NotFoundError,
    UnreachableError,
)
from imagekit.registry.memory import MemoryContent
from imagekit.registry.repository import Repository
from imagekit.registry.requests import BytesReader
from imagekit.registry.transfer import transfer

pytestmark = pytest.mark.peer
MakeClient = Callable[..., RegistryClient]


def _image(content: MemoryContent, *layers: bytes) -> Manifest:
    config = content.add(b'{"architecture":"amd64","os":"linux"}', mediatype.OCI_CONFIG)
    manifest = Manifest.build(
        config=config,
        layers=[content.add(layer, mediatype.OCI_LAYER_GZIP) for layer in layers],
    )
    content.add(manifest.raw, manifest.media_type)
    return manifest


def _repository(
    client: RegistryClient, host: str, path: str, **more: tuple[str, ...]
) -> Repository:
    return client.repository(Reference.parse(f"{host}/{path}"), **more)


def _read(repository: Repository, descriptor: Descriptor, offset: int = 0) -> bytes:
    with contextlib.closing(repository.open(descriptor, offset)) as source:
        return source.read()


def test_an_image_goes_up_and_comes_back(docker_registry: str, make_client: MakeClient) -> None:
    here, there = MemoryContent(), MemoryContent()
    manifest = _image(here, os.urandom(3 << 20), b"", b"small")
    repository = _repository(make_client(), docker_registry, "round/trip")

    pushed = transfer(here, repository, manifest.descriptor)
    repository.tag(manifest.descriptor, "1.0")
    pulled = transfer(repository, there, repository.resolve("1.0"))

    assert there.digests() == here.digests()
    assert (
        pushed.moved_bytes
        == pulled.moved_bytes
        == sum(one.size for one in (manifest.descriptor, *manifest.children))
    )
    assert list(repository.tags()) == ["1.0"]


def test_a_second_push_moves_nothing(docker_registry: str, make_client: MakeClient) -> None:
    here = MemoryContent()
    manifest = _image(here, os.urandom(1000))
    repository = _repository(make_client(), docker_registry, "second/push")
    transfer(here, repository, manifest.descriptor)

    report = transfer(here, repository, manifest.descriptor)

    assert report.moved_bytes == 0
    assert all(one.skipped for one in report.blobs)


def test_a_file_is_sent_whole_and_from_an_offset(
    docker_registry: str, make_client: MakeClient, tmp_path: Path
) -> None:
    data = os.urandom((20 << 20) + 7)
    (tmp_path / "blob").write_bytes(data)
    blob = Descriptor(media_type=mediatype.OCI_LAYER, digest=Digest.of(data), size=len(data))

    def open_source(offset: int) -> object:
        file = (tmp_path / "blob").open("rb")
        file.seek(offset)
        return file

    for path, chunk_bytes in (("file/whole", None), ("file/chunks", 7 << 20)):
        repository = _repository(make_client(chunk_bytes=chunk_bytes), docker_registry, path)
        repository.write(blob, open_source)  # type: ignore[arg-type]  # a file is a BlobReader

        assert repository.has(blob)
        assert _read(repository, blob, len(data) - 10) == data[-10:]


def test_a_blob_is_mounted_from_another_repository(
    docker_registry: str, make_client: MakeClient
) -> None:
    client = make_client()
    data = os.urandom(1000)
    blob = MemoryContent().add(data, mediatype.OCI_LAYER)
    _repository(client, docker_registry, "mount/from").write(
        blob, lambda at: BytesReader(data[at:])
    )

    def never(offset: int) -> BytesReader:
        raise AssertionError("the blob was read")

    target = _repository(
        client, docker_registry, "mount/to", mount_from=("mount/absent", "mount/from")
    )
    target.write(blob, never)

    assert target.has(blob)


def test_wrong_content_is_refused_and_leaves_nothing(
    docker_registry: str, make_client: MakeClient
) -> None:
    repository = _repository(make_client(), docker_registry, "wrong/content")
    blob = MemoryContent().add(b"right", mediatype.OCI_LAYER)

    with pytest.raises(DigestMismatchError):
        repository.write(blob, lambda at: BytesReader(b"wrong"[at:]))

    assert not repository.has(blob)


def test_content_shorter_than_announced_is_refused(
    docker_registry: str, make_client: MakeClient
) -> None:
    repository = _repository(make_client(), docker_registry, "short/content")
    blob = MemoryContent().add(b"right", mediatype.OCI_LAYER)

    with pytest.raises(DigestMismatchError, match="ended after 3 of 5"):
        repository.write(blob, lambda at: BytesReader(b"rig"[at:]))

    assert not repository.has(blob)


def test_tags_and_repositories_are_listed(docker_registry: str, make_client: MakeClient) -> None:
    here = MemoryContent()
    manifest = _image(here)
    repository = _repository(make_client(), docker_registry, "many/tags")
    transfer(here, repository, manifest.descriptor)
    for number in range(5):
        repository.tag(manifest.descriptor, f"t{number}")

    assert sorted(repository.tags(page=2)) == ["t0", "t1", "t2", "t3", "t4"]
    assert "many/tags" in list(make_client().repositories(docker_registry, page=1))


def test_a_deleted_manifest_is_gone(docker_registry: str, make_client: MakeClient) -> None:
    here = MemoryContent()
    manifest = _image(here, b"deleted")
    repository = _repository(make_client(), docker_registry, "delete/it")
    transfer(here, repository, manifest.descriptor)

    repository.delete(str(manifest.descriptor.digest))

    with pytest.raises(NotFoundError):
        repository.resolve(str(manifest.descriptor.digest))


def test_references_are_tags_digests_or_whole(
    docker_registry: str, make_client: MakeClient
) -> None:
    here = MemoryContent()
    manifest = _image(here, b"named")
    repository = _repository(make_client(), docker_registry, "named/it")
    transfer(here, repository, manifest.descriptor)
    repository.tag(manifest.descriptor, f"{docker_registry}/named/it:2")

    for reference in (
        "2",
        str(manifest.descriptor.digest),
        f"{docker_registry}/named/it:2",
        f"{docker_registry}/named/it:absent@{manifest.descriptor.digest}",
    ):
        assert repository.resolve(reference).digest == manifest.descriptor.digest
    with pytest.raises(InvalidReferenceError):
        repository.resolve(f"{docker_registry}/another:2")
    with pytest.raises(NotFoundError):
        repository.resolve("absent")


def test_basic_credentials_open_a_guarded_registry(
    guarded_registry: str, make_client: MakeClient
) -> None:
    here = MemoryContent()
    manifest = _image(here, os.urandom(100_000))
    ann = Credentials(username="ann", password="s3cret")
    repository = _repository(
        make_client(credentials={guarded_registry: ann}), guarded_registry, "ann/app"
    )

    transfer(here, repository, manifest.descriptor)

    assert repository.has(manifest.descriptor)


def test_login_is_checked_stored_and_used(
    guarded_registry: str, make_client: MakeClient, tmp_path: Path
) -> None:
    paths = (tmp_path / "config.json",)
    client = make_client(config_paths=paths)
    with pytest.raises(AuthenticationError):
        client.check(guarded_registry)
    with pytest.raises(AuthenticationError) as caught:
        client.login(guarded_registry, Credentials(username="ann", password="wr0ng"))
    assert "wr0ng" not in str(caught.value)
    assert not paths[0].exists()

    client.login(guarded_registry, Credentials(username="ann", password="s3cret"))

    client.check(guarded_registry)
    make_client(config_paths=paths).check(guarded_registry)
    assert client.logout(guarded_registry)
    with pytest.raises(AuthenticationError):
        client.check(guarded_registry)


def test_a_port_where_nobody_listens_is_unreachable(make_client: MakeClient) -> None:
    repository = _repository(make_client(), "127.0.0.1:1", "a")

    with pytest.raises(UnreachableError, match="refused"):
        repository.resolve("1")


def test_a_verified_copy_reads_in_any_piece_size(
    docker_registry: str, make_client: MakeClient
) -> None:
    data = os.urandom(3_000_001)
    blob = MemoryContent().add(data, mediatype.OCI_LAYER)
    repository = _repository(make_client(), docker_registry, "piece/size")
    repository.write(blob, lambda at: BytesReader(data[at:]))

    for chunk_bytes in (1000, 1 << 20):
        with contextlib.closing(repository.open(blob)) as source:
            got = bytearray()
            reader = VerifiedReader(source, digest=str(blob.digest), size=blob.size)
            copy_stream(reader, got.extend, chunk_bytes=chunk_bytes)
        assert bytes(got) == data
