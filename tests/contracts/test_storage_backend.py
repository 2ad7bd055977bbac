"""The promises of StorageBackend, kept by each implementation."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.oci.digest import Digest
from registry_server.storage.filesystem import FilesystemStorage
from registry_server.storage.interface import (
    ContentMismatchError,
    Referrer,
    StorageBackend,
    StoredBlob,
    StoredManifest,
    UploadBusyError,
    UploadUnknownError,
)
from registry_server.storage.memory import MemoryStorage

CONTENT = b"some content"
DIGEST = Digest.of(CONTENT)
OTHER = Digest.of(b"other content")

BACKENDS: dict[str, Callable[[Path], StorageBackend]] = {
    "filesystem": FilesystemStorage,
    "durable": lambda root: FilesystemStorage(root, durable=True),
    "memory": lambda _root: MemoryStorage(),
}


@pytest.fixture(params=sorted(BACKENDS))
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> StorageBackend:
    return BACKENDS[request.param](tmp_path)


def push(storage: StorageBackend, repository: str, content: bytes = CONTENT) -> Digest:
    digest = Digest.of(content)
    upload = storage.create_upload(repository)
    with storage.open_upload(repository, upload, "sha256") as writer:
        writer.write([content])
        writer.commit(digest)
    return digest


def read(blob: StoredBlob | None) -> bytes | None:
    if blob is None:
        return None
    content = blob.content
    data = content.read_bytes() if isinstance(content, Path) else content
    assert len(data) == blob.size
    return data


def manifest(raw: bytes = b"{}", media_type: str = "a/b") -> StoredManifest:
    return StoredManifest(digest=Digest.of(raw), media_type=media_type, raw=raw)


# Blobs


def test_committed_blob_is_there(storage: StorageBackend) -> None:
    push(storage, "a/b")

    assert read(storage.blob("a/b", DIGEST)) == CONTENT


def test_blob_of_another_repository_is_not_seen(storage: StorageBackend) -> None:
    push(storage, "a/b")

    assert storage.blob("a/c", DIGEST) is None
    assert storage.blob("a", DIGEST) is None


def test_blob_is_mounted_from_its_source(storage: StorageBackend) -> None:
    push(storage, "a/b")

    assert storage.mount_blob("c", DIGEST, "a/b")
    assert read(storage.blob("c", DIGEST)) == CONTENT


def test_blob_is_mounted_from_any(storage: StorageBackend) -> None:
    push(storage, "a/b/nested")

    assert storage.mount_blob("c", DIGEST, None)
    assert read(storage.blob("c", DIGEST)) == CONTENT


@pytest.mark.parametrize("source", ["absent", "a/c", None])
def test_mount_of_what_the_source_lacks_changes_nothing(
    storage: StorageBackend, source: str | None
) -> None:
    push(storage, "a/b", b"unrelated")

    assert not storage.mount_blob("c", DIGEST, source)
    assert storage.blob("c", DIGEST) is None
    assert not storage.has_repository("c")


def test_manifest_content_is_no_blob_to_mount(storage: StorageBackend) -> None:
    storage.put_manifest("a/b", manifest(CONTENT))

    assert not storage.mount_blob("c", DIGEST, None)


def test_blob_is_deleted_from_one_repository(storage: StorageBackend) -> None:
    push(storage, "a/b")
    push(storage, "c")

    assert storage.delete_blob("a/b", DIGEST)

    assert storage.blob("a/b", DIGEST) is None
    assert read(storage.blob("c", DIGEST)) == CONTENT
    assert not storage.delete_blob("a/b", DIGEST)


# Upload sessions


def test_new_session_is_empty(storage: StorageBackend) -> None:
    upload = storage.create_upload("a/b")

    assert storage.upload_offset("a/b", upload) == 0


def test_sessions_are_told_apart(storage: StorageBackend) -> None:
    assert storage.create_upload("a/b") != storage.create_upload("a/b")


def test_parts_are_appended_in_order(storage: StorageBackend) -> None:
    upload = storage.create_upload("a/b")
    for parts in ([b"some", b" "], [b"con"], [], [b"", b"tent"]):
        with storage.open_upload("a/b", upload, "sha256") as writer:
            writer.write(parts)
            assert writer.offset == storage.upload_offset("a/b", upload)

    with storage.open_upload("a/b", upload, "sha256") as writer:
        writer.commit(DIGEST)

    assert read(storage.blob("a/b", DIGEST)) == CONTENT


def test_many_small_parts_are_all_kept(storage: StorageBackend) -> None:
    upload = storage.create_upload("a/b")
    content = bytes(range(256)) * 20
    with storage.open_upload("a/b", upload, "sha256") as writer:
        writer.write([content[n : n + 1] for n in range(len(content))])
        writer.commit(Digest.of(content))

    assert read(storage.blob("a/b", Digest.of(content))) == content


def test_algorithm_may_turn_out_otherwise(storage: StorageBackend) -> None:
    upload = storage.create_upload("a/b")
    digest = Digest.of(CONTENT, "sha512")
    with storage.open_upload("a/b", upload, "sha256") as writer:
        writer.write([CONTENT])
        writer.commit(digest)

    assert read(storage.blob("a/b", digest)) == CONTENT


def test_nothing_is_visible_before_the_commit(storage: StorageBackend) -> None:
    upload = storage.create_upload("a/b")
    with storage.open_upload("a/b", upload, "sha256") as writer:
        writer.write([CONTENT])

    assert storage.blob("a/b", DIGEST) is None
    assert not storage.has_repository("a/b")


def test_session_keeps_what_it_received(storage: StorageBackend) -> None:
    upload = storage.create_upload("a/b")
    writer = storage.open_upload("a/b", upload, "sha256")
    writer.write([CONTENT[:5]])
    writer.__exit__(ConnectionResetError, ConnectionResetError(), None)

    assert storage.upload_offset("a/b", upload) == 5
    with storage.open_upload("a/b", upload, "sha256") as writer:
        writer.write([CONTENT[5:]])
        writer.commit(DIGEST)
    assert read(storage.blob("a/b", DIGEST)) == CONTENT


def test_rollback_drops_this_holders_bytes_only(storage: StorageBackend) -> None:
    upload = storage.create_upload("a/b")
    with storage.open_upload("a/b", upload, "sha256") as writer:
        writer.write([CONTENT[:5]])
    with storage.open_upload("a/b", upload, "sha256") as writer:
        writer.write([b"wrong"])
        writer.rollback()
        assert writer.offset == 5

    with storage.open_upload("a/b", upload, "sha256") as writer:
        writer.write([CONTENT[5:]])
        writer.commit(DIGEST)
    assert read(storage.blob("a/b", DIGEST)) == CONTENT


def test_wrong_digest_makes_nothing_visible_and_ends_the_session(storage: StorageBackend) -> None:
    upload = storage.create_upload("a/b")
    with storage.open_upload("a/b", upload, "sha256") as writer:
        writer.write([CONTENT])
        with pytest.raises(ContentMismatchError) as caught:
            writer.commit(OTHER)

    assert (caught.value.expected, caught.value.actual) == (OTHER, DIGEST)
    assert storage.blob("a/b", OTHER) is None
    assert storage.blob("a/b", DIGEST) is None
    with pytest.raises(UploadUnknownError):
        storage.upload_offset("a/b", upload)


def test_commit_ends_the_session(storage: StorageBackend) -> None:
    upload = storage.create_upload("a/b")
    with storage.open_upload("a/b", upload, "sha256") as writer:
        writer.write([CONTENT])
        writer.commit(DIGEST)

    with pytest.raises(UploadUnknownError):
        storage.open_upload("a/b", upload, "sha256")


def test_second_commit_of_equal_content_is_no_error(storage: StorageBackend) -> None:
    assert push(storage, "a/b") == push(storage, "a/b")


def test_session_has_one_holder(storage: StorageBackend) -> None:
    upload = storage.create_upload("a/b")
    with storage.open_upload("a/b", upload, "sha256"), pytest.raises(UploadBusyError):
        storage.open_upload("a/b", upload, "sha256")

    storage.open_upload("a/b", upload, "sha256").__exit__(None, None, None)


@pytest.mark.parametrize("repository", ["a", "a/c"])
def test_session_belongs_to_its_repository(storage: StorageBackend, repository: str) -> None:
    upload = storage.create_upload("a/b")

    with pytest.raises(UploadUnknownError):
        storage.upload_offset(repository, upload)
    with pytest.raises(UploadUnknownError):
        storage.open_upload(repository, upload, "sha256")
    with pytest.raises(UploadUnknownError):
        storage.delete_upload(repository, upload)


def test_deleted_session_is_gone(storage: StorageBackend) -> None:
    upload = storage.create_upload("a/b")

    storage.delete_upload("a/b", upload)

    with pytest.raises(UploadUnknownError):
        storage.delete_upload("a/b", upload)


def test_commit_of_a_session_deleted_meanwhile_makes_nothing_visible(
    storage: StorageBackend,
) -> None:
    upload = storage.create_upload("a/b")
    with storage.open_upload("a/b", upload, "sha256") as writer:
        writer.write([CONTENT])
        storage.delete_upload("a/b", upload)
        with pytest.raises(UploadUnknownError):
            writer.commit(DIGEST)

    assert storage.blob("a/b", DIGEST) is None


def test_purge_drops_what_was_not_touched_since(storage: StorageBackend) -> None:
    upload = storage.create_upload("a/b")

    assert storage.purge_uploads(time.time() - 60) == 0
    assert storage.upload_offset("a/b", upload) == 0
    assert storage.purge_uploads(time.time() + 60) == 1
    with pytest.raises(UploadUnknownError):
        storage.upload_offset("a/b", upload)


# Manifests and tags


def test_manifest_comes_back_as_put(storage: StorageBackend) -> None:
    storage.put_manifest("a/b", manifest())

    assert storage.manifest("a/b", manifest().digest) == manifest()
    assert storage.has_manifest("a/b", manifest().digest)
    assert storage.manifest("a/c", manifest().digest) is None
    assert not storage.has_manifest("a/c", manifest().digest)


def test_newer_media_type_holds(storage: StorageBackend) -> None:
    storage.put_manifest("a/b", manifest(media_type="old/type"))

    storage.put_manifest("a/b", manifest(media_type="new/type"))

    stored = storage.manifest("a/b", manifest().digest)
    assert stored is not None
    assert stored.media_type == "new/type"


def test_manifest_goes_with_its_tags(storage: StorageBackend) -> None:
    for raw, tags in ((b"{}", ["one", "two"]), (b"[]", ["three"])):
        storage.put_manifest("a/b", manifest(raw))
        for tag in tags:
            storage.set_tag("a/b", tag, Digest.of(raw))

    assert storage.delete_manifest("a/b", Digest.of(b"{}"))

    assert storage.tags("a/b") == ["three"]
    assert storage.manifest("a/b", Digest.of(b"{}")) is None
    assert not storage.delete_manifest("a/b", Digest.of(b"{}"))


def test_tag_points_where_it_was_set_last(storage: StorageBackend) -> None:
    storage.set_tag("a/b", "v1", DIGEST)
    storage.set_tag("a/b", "v1", OTHER)

    assert storage.tag("a/b", "v1") == OTHER
    assert storage.tag("a/b", "v2") is None
    assert storage.tag("a/c", "v1") is None


def test_tag_goes_without_its_manifest(storage: StorageBackend) -> None:
    storage.put_manifest("a/b", manifest())
    storage.set_tag("a/b", "v1", manifest().digest)

    assert storage.delete_tag("a/b", "v1")

    assert storage.manifest("a/b", manifest().digest) == manifest()
    assert not storage.delete_tag("a/b", "v1")


def test_tags_are_in_byte_order(storage: StorageBackend) -> None:
    for tag in ("b", "_a", "B", "1", "a.b-c"):
        storage.set_tag("a/b", tag, DIGEST)

    assert storage.tags("a/b") == ["1", "B", "_a", "a.b-c", "b"]
    assert storage.tags("a") == []


# Repositories


def test_repositories_hold_a_manifest(storage: StorageBackend) -> None:
    for name in ("b", "a/nested", "a"):
        storage.put_manifest(name, manifest())
    push(storage, "only-blobs")
    storage.create_upload("only-a-session")

    assert storage.repositories() == ["a", "a/nested", "b"]
    storage.delete_manifest("a", manifest().digest)
    assert storage.repositories() == ["a/nested", "b"]


def test_repository_is_known_from_its_first_push(storage: StorageBackend) -> None:
    assert not storage.has_repository("a/b")

    push(storage, "a/b")

    assert storage.has_repository("a/b")
    assert not storage.has_repository("a")


# Referrers


def referrer(content: bytes) -> Referrer:
    return Referrer(digest=Digest.of(content), descriptor=b'{"x":"' + content + b'"}')


def test_referrers_are_in_the_order_of_digests(storage: StorageBackend) -> None:
    records = [referrer(content) for content in (b"1", b"2", b"3")]
    for record in records:
        storage.add_referrer("a/b", DIGEST, record)

    expected = sorted(records, key=lambda record: record.digest)
    assert storage.referrers("a/b", DIGEST) == expected
    assert storage.referrers("a/b", OTHER) == []
    assert storage.referrers("a/c", DIGEST) == []


def test_recording_a_referrer_again_keeps_one(storage: StorageBackend) -> None:
    for _ in range(2):
        storage.add_referrer("a/b", DIGEST, referrer(b"1"))

    assert storage.referrers("a/b", DIGEST) == [referrer(b"1")]


def test_deleted_referrer_is_gone(storage: StorageBackend) -> None:
    storage.add_referrer("a/b", DIGEST, referrer(b"1"))

    for _ in range(2):
        storage.delete_referrer("a/b", DIGEST, referrer(b"1").digest)

    assert storage.referrers("a/b", DIGEST) == []
