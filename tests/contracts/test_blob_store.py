"""What every content-addressed blob directory promises, whoever uses it (store or registry)."""

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagekit.oci.digest import Digest
from imagekit.store.blobs import BlobStore
from imagekit.store.errors import BlobMismatchError, ContentNotFoundError
from imagekit.store.layout import Store

ABSENT = Digest.of(b"absent")


@contextlib.contextmanager
def bare(tmp_path: Path) -> Iterator[BlobStore]:
    blobs = BlobStore(tmp_path / "content", temporary=tmp_path / "content" / "uploads")
    blobs.create()
    yield blobs


@contextlib.contextmanager
def of_a_store(tmp_path: Path) -> Iterator[BlobStore]:
    with Store.open(tmp_path / "store") as store:
        yield store.blobs


@pytest.fixture(params=[bare, of_a_store])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BlobStore]:
    with request.param(tmp_path) as made:
        yield made


def files_below(tmp_path: Path) -> set[str]:
    return {path.name for path in tmp_path.rglob("*") if path.is_file()}


@pytest.mark.parametrize("data", [b"", b"x", b"layer" * 1_000_000])
def test_put_blob_reads_back(blobs: BlobStore, data: bytes) -> None:
    digest = blobs.put(data)

    assert digest == Digest.of(data)
    assert blobs.has(digest)
    assert blobs.size(digest) == len(data)
    assert blobs.read(digest) == data
    assert blobs.path(digest).read_bytes() == data
    with blobs.open(digest) as file:
        assert file.read() == data


def test_put_twice_is_one_blob(blobs: BlobStore) -> None:
    assert blobs.put(b"same") == blobs.put(b"same")
    assert list(blobs.all()) == [Digest.of(b"same")]


def test_absent_blob_is_named_in_the_error(blobs: BlobStore) -> None:
    assert not blobs.has(ABSENT)
    for operation in (blobs.open, blobs.size, blobs.read):
        with pytest.raises(ContentNotFoundError, match=str(ABSENT)):
            operation(ABSENT)


def test_writer_is_invisible_until_commit(blobs: BlobStore) -> None:
    digest = Digest.of(b"ab")

    with blobs.writer(digest, 2) as writer:
        writer.write(b"a")
        writer.write(b"b")
        assert not blobs.has(digest)
        assert writer.commit() == digest

    assert blobs.read(digest) == b"ab"


def test_writer_without_commit_leaves_nothing(blobs: BlobStore, tmp_path: Path) -> None:
    before = files_below(tmp_path)

    with blobs.writer() as writer:
        writer.write(b"dropped")
    with contextlib.suppress(ZeroDivisionError), blobs.writer() as writer:
        writer.write(b"dropped too")
        raise ZeroDivisionError

    assert files_below(tmp_path) == before


def test_commit_refuses_another_digest(blobs: BlobStore, tmp_path: Path) -> None:
    before = files_below(tmp_path)

    with blobs.writer(ABSENT) as writer:
        writer.write(b"something else")
        with pytest.raises(BlobMismatchError, match="content is"):
            writer.commit()

    assert files_below(tmp_path) == before


def test_commit_refuses_fewer_bytes_than_announced(blobs: BlobStore) -> None:
    with blobs.writer(Digest.of(b"abc"), 3) as writer:
        writer.write(b"ab")
        with pytest.raises(BlobMismatchError, match="2 of the announced 3"):
            writer.commit()


def test_more_bytes_than_announced_fail_before_they_are_written(blobs: BlobStore) -> None:
    with blobs.writer(size=3) as writer, pytest.raises(BlobMismatchError, match="announced 3"):
        writer.write(b"abcd")


def test_sha512_is_as_good(blobs: BlobStore) -> None:
    digest = Digest("sha512", hashlib.sha512(b"data").hexdigest())

    with blobs.writer(digest) as writer:
        writer.write(b"data")
        assert writer.commit() == digest

    assert list(blobs.all()) == [digest]
    assert blobs.read(digest) == b"data"


def test_delete_tells_and_open_readers_go_on(blobs: BlobStore) -> None:
    digest = blobs.put(b"going")

    with blobs.open(digest) as file:
        assert blobs.delete(digest)
        assert not blobs.delete(digest)
        assert file.read() == b"going"

    assert list(blobs.all()) == []


def test_delete_older_spares_what_was_written_or_refreshed_since(blobs: BlobStore) -> None:
    digest = blobs.put(b"data")
    written = blobs.path(digest).stat().st_ctime

    assert not blobs.delete_older(digest, written)
    assert blobs.refresh(digest)
    assert blobs.has(digest)
    assert blobs.delete_older(digest, written + 3600)
    assert not blobs.delete_older(digest, written + 3600)
    assert not blobs.refresh(digest)


def test_import_moves_a_file_of_that_digest(blobs: BlobStore, tmp_path: Path) -> None:
    for _ in range(2):
        source = tmp_path / "upload"
        source.write_bytes(b"uploaded")
        blobs.import_file(source, Digest.of(b"uploaded"))
        assert not source.exists()

    assert blobs.read(Digest.of(b"uploaded")) == b"uploaded"


def test_import_refuses_another_content(blobs: BlobStore, tmp_path: Path) -> None:
    source = tmp_path / "upload"
    source.write_bytes(b"forged")

    with pytest.raises(BlobMismatchError, match="its content is"):
        blobs.import_file(source, ABSENT)

    assert source.exists()
    assert not blobs.has(ABSENT)


def test_all_passes_over_foreign_files(blobs: BlobStore) -> None:
    digest = blobs.put(b"mine")
    (blobs.path(digest).parent / "README").write_bytes(b"")

    assert list(blobs.all()) == [digest]


def test_threads_write_the_same_blob_at_once(blobs: BlobStore, tmp_path: Path) -> None:
    data = b"shared" * 100_000
    barrier = threading.Barrier(6)
    results: list[Digest] = []

    def write() -> None:
        with blobs.writer(Digest.of(data), len(data)) as writer:
            writer.write(data)
            barrier.wait(30)
            results.append(writer.commit())

    threads = [threading.Thread(target=write) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert results == [Digest.of(data)] * 6
    assert blobs.read(Digest.of(data)) == data
    assert not [name for name in files_below(tmp_path) if "." in name and name[0].isdigit()]


def test_layout_file_says_version_1(blobs: BlobStore) -> None:
    layout = blobs.path(ABSENT).parent.parent.parent / "oci-layout"

    assert layout.read_bytes() == b'{"imageLayoutVersion":"1.0.0"}'
    blobs.sync()
