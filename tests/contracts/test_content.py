"""What every source and sink of content promises (imagekit.oci.content), sentence by sentence."""

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from imagekit.base.errors import ImagekitError
from imagekit.images.archive import ArchiveSink, ArchiveSource
from imagekit.images.arriving import ArrivingContent
from imagekit.images.store_content import StoreContent
from imagekit.oci import mediatype
from imagekit.oci.content import BlobReader, ContentSink, ContentSource
from imagekit.oci.descriptor import Descriptor
from imagekit.oci.digest import Digest
from imagekit.oci.manifest import Manifest
from imagekit.oci.reference import Reference
from imagekit.registry.client import RegistryClient, RegistrySettings
from imagekit.registry.memory import MemoryContent
from imagekit.registry.requests import BytesReader
from imagekit.registry.transfer import transfer
from imagekit.store.layout import Store
from registry_server.testing import running_registry

CONFIG = b'{"architecture":"amd64","os":"linux"}'


@dataclass(frozen=True, kw_only=True)
class Place:
    """A sink, and what was written to it as a source; no more is written after ``as_source``."""

    sink: ContentSink
    as_source: Callable[[], ContentSource]
    name: str


@contextlib.contextmanager
def memory(tmp_path: Path) -> Iterator[Place]:
    content = MemoryContent()
    yield Place(sink=content, as_source=lambda: content, name="r.example/a/b:1")


@contextlib.contextmanager
def store(tmp_path: Path) -> Iterator[Place]:
    with Store.open(tmp_path / "store") as opened, opened.leases.hold("test") as lease:
        content = StoreContent(opened, lease)
        yield Place(sink=content, as_source=lambda: content, name="r.example/a/b:1")


@contextlib.contextmanager
def arriving(tmp_path: Path) -> Iterator[Place]:
    with Store.open(tmp_path / "store") as opened, opened.leases.hold("test") as lease:
        content = ArrivingContent(opened, lease)
        yield Place(sink=content, as_source=lambda: content, name="r.example/a/b:1")


@contextlib.contextmanager
def archive(tmp_path: Path) -> Iterator[Place]:
    with (tmp_path / "archive.tar").open("w+b") as file:
        sink = ArchiveSink(file)
        finish = contextlib.ExitStack()
        finish.callback(sink.close)

        def as_source() -> ContentSource:
            finish.close()
            file.seek(0)
            return ArchiveSource(file)

        with finish:
            yield Place(sink=sink, as_source=as_source, name="r.example/a/b:1")


@contextlib.contextmanager
def repository(tmp_path: Path) -> Iterator[Place]:
    with running_registry(tmp_path / "registry") as registry:
        client = RegistryClient(RegistrySettings())
        with contextlib.closing(client):
            made = client.repository(Reference.parse(f"{registry.host}/a/b"))
            yield Place(sink=made, as_source=lambda: made, name=f"{registry.host}/a/b:1")


PLACES = [memory, store, arriving, archive, repository]
# An archive that is only written to cannot take back a member that turned out wrong.
REPAIRABLE = [memory, store, arriving, repository]


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with request.param(tmp_path) as made:
        yield made


@pytest.fixture(params=REPAIRABLE)
def repairable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with request.param(tmp_path) as made:
        yield made


def _blob(data: bytes, media_type: str = mediatype.OCI_LAYER) -> Descriptor:
    return Descriptor(media_type=media_type, digest=Digest.of(data), size=len(data))


def _write(sink: ContentSink, data: bytes, media_type: str = mediatype.OCI_LAYER) -> Descriptor:
    blob = _blob(data, media_type)
    sink.write(blob, lambda at: BytesReader(data[at:]))
    return blob


def _put_image(sink: ContentSink, *layers: bytes) -> Manifest:
    manifest = Manifest.build(
        config=_write(sink, CONFIG, mediatype.OCI_CONFIG),
        layers=[_write(sink, layer) for layer in layers],
    )
    sink.put_document(manifest.descriptor, manifest.raw)
    return manifest


def _read(source: ContentSource, descriptor: Descriptor, offset: int = 0) -> bytes:
    with contextlib.closing(source.open(descriptor, offset)) as blob:
        return b"".join(iter(lambda: blob.read(100_000), b""))


def test_a_tag_is_resolved_to_what_was_tagged(place: Place) -> None:
    manifest = _put_image(place.sink, b"layer")
    place.sink.tag(manifest.descriptor, place.name)

    found = place.as_source().resolve(place.name)

    assert (found.digest, found.size) == (manifest.descriptor.digest, manifest.descriptor.size)
    assert found.media_type == manifest.media_type


def test_a_tag_moves_to_what_is_tagged_last(repairable: Place) -> None:
    for layer in (b"one", b"two"):
        manifest = _put_image(repairable.sink, layer)
        repairable.sink.tag(manifest.descriptor, repairable.name)

        assert repairable.as_source().resolve(repairable.name).digest == manifest.descriptor.digest


def test_an_absent_tag_is_an_error_of_ours(place: Place) -> None:
    manifest = _put_image(place.sink)
    place.sink.tag(manifest.descriptor, place.name)

    with pytest.raises(ImagekitError):
        place.as_source().resolve(place.name.removesuffix(":1") + ":absent")


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_content_is_opened_from_any_offset(place: Place, size: int) -> None:
    data = os.urandom(size)
    blob = _write(place.sink, data)
    _put_image(place.sink)
    source = place.as_source()

    for offset in {0, size // 2, size}:
        assert _read(source, blob, offset) == data[offset:]


def test_a_document_is_opened_as_it_was_put(place: Place) -> None:
    manifest = _put_image(place.sink, b"layer")

    assert _read(place.as_source(), manifest.descriptor) == manifest.raw


def test_absent_content_is_an_error_of_ours(place: Place) -> None:
    _put_image(place.sink)

    with pytest.raises(ImagekitError):
        _read(place.as_source(), _blob(b"absent"))


def test_a_read_gives_at_most_what_was_asked_and_then_nothing(place: Place) -> None:
    blob = _write(place.sink, b"x" * 1000)
    _put_image(place.sink)

    with contextlib.closing(place.as_source().open(blob)) as reader:
        got = 0
        while data := reader.read(300):
            assert len(data) <= 300
            got += len(data)
        assert got == 1000
        assert reader.read(300) == b""
        assert reader.read() == b""


def test_close_may_be_repeated_and_comes_at_any_time(place: Place) -> None:
    blob = _write(place.sink, os.urandom(3_000_000))
    _put_image(place.sink)
    source = place.as_source()

    reader = source.open(blob)
    reader.read(10)
    reader.close()
    reader.close()

    assert len(_read(source, blob)) == 3_000_000


def test_has_tells_what_is_there(place: Place) -> None:
    assert not place.sink.has(_blob(b"data"))

    blob = _write(place.sink, b"data")
    manifest = _put_image(place.sink)

    assert place.sink.has(blob)
    assert place.sink.has(manifest.descriptor)
    assert not place.sink.has(_blob(b"other"))
    assert not place.sink.has(_blob(b"{}", mediatype.OCI_MANIFEST))


def test_writing_again_does_no_harm(place: Place) -> None:
    _put_image(place.sink, b"same")
    manifest = _put_image(place.sink, b"same")
    place.sink.tag(manifest.descriptor, place.name)

    assert _read(place.as_source(), manifest.layers[0]) == b"same"


@pytest.mark.parametrize("wrong", [b"wrong", b"righ", b"", b"right and more"])
def test_other_content_than_promised_is_refused_and_not_seen(
    repairable: Place, wrong: bytes
) -> None:
    blob = _blob(b"right")

    with contextlib.suppress(ImagekitError):
        repairable.sink.write(blob, lambda at: BytesReader(wrong[at:]))
        # A sink may stop at the promised size; then it has the right content, or has failed.
        assert wrong.startswith(b"right")

    if repairable.sink.has(blob):
        assert _read(repairable.as_source(), blob) == b"right"
        assert wrong.startswith(b"right")


def test_a_source_that_fails_leaves_nothing(repairable: Place) -> None:
    blob = _blob(b"x" * 3_000_000)
    closed = []

    class FailingReader:
        def __init__(self) -> None:
            self.reads = 0

        def read(self, size: int = -1, /) -> bytes:
            self.reads += 1
            if self.reads > 1:
                raise ZeroDivisionError
            return b"x" * min(size, 1000)

        def close(self) -> None:
            closed.append(1)

    def open_source(offset: int) -> BlobReader:
        return FailingReader()

    with pytest.raises(ZeroDivisionError):
        repairable.sink.write(blob, open_source)

    assert closed
    assert not repairable.sink.has(blob)
    assert _write(repairable.sink, b"x" * 3_000_000) == blob
    assert repairable.sink.has(blob)


def test_several_threads_write_at_a_time(place: Place) -> None:
    pieces = [os.urandom(200_000) for _ in range(8)]

    with ThreadPoolExecutor(4) as pool:
        blobs = list(pool.map(lambda piece: _write(place.sink, piece), [*pieces, *pieces[:2]]))
    _put_image(place.sink)
    source = place.as_source()
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(lambda blob: _read(source, blob), blobs))

    assert read == [*pieces, *pieces[:2]]


def test_a_transfer_moves_an_image_between_any_two(place: Place) -> None:
    here, there = MemoryContent(), MemoryContent()
    manifest = _put_image(here, os.urandom(2_000_000), b"", b"small")
    transfer(here, place.sink, manifest.descriptor)
    place.sink.tag(manifest.descriptor, place.name)
    source = place.as_source()

    transfer(source, there, source.resolve(place.name))

    assert there.digests() == here.digests()
