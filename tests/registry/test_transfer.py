import threading
from collections.abc import Callable

import pytest

from imagekit.base.errors import CorruptionError, RemoteError
from imagekit.base.events import Event, TransferEnded, TransferProgress, TransferStarted
from imagekit.oci import mediatype
from imagekit.oci.content import BlobReader, OpenBlob
from imagekit.oci.descriptor import Descriptor
from imagekit.oci.manifest import Index, Manifest
from imagekit.oci.platform import Platform
from imagekit.registry.errors import NoSuchPlatformError
from imagekit.registry.memory import MemoryContent
from imagekit.registry.transfer import transfer

AMD64, ARM64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")


class RecordingSink(MemoryContent):
    """Remembers the order in which content arrived."""

    def __init__(self) -> None:
        super().__init__()
        self.order: list[Descriptor] = []

    def write(self, descriptor: Descriptor, open_source: OpenBlob) -> None:
        super().write(descriptor, open_source)
        self.order.append(descriptor)


def _image(content: MemoryContent, *layers: bytes) -> Descriptor:
    manifest = Manifest.build(
        config=content.add(b"config " + b" ".join(layers), mediatype.OCI_CONFIG),
        layers=[content.add(layer, mediatype.OCI_LAYER) for layer in layers],
    )
    return content.add(manifest.raw, manifest.media_type)


def _index(content: MemoryContent, *manifests: Descriptor) -> Descriptor:
    index = Index.build(manifests=manifests)
    return content.add(index.raw, index.media_type)


def _for(descriptor: Descriptor, platform: Platform) -> Descriptor:
    return Descriptor(
        media_type=descriptor.media_type,
        digest=descriptor.digest,
        size=descriptor.size,
        platform=platform,
    )


def test_a_document_arrives_after_everything_it_refers_to() -> None:
    source, sink = MemoryContent(), RecordingSink()
    image = _image(source, b"one", b"two")
    inner = _index(source, image)
    root = _index(source, inner, image, _image(source, b"two", b"three"))

    transfer(source, sink, root)

    assert sink.digests() == source.digests()
    assert sink.order[-1] == root
    arrived = [one.digest for one in sink.order]
    assert arrived.index(image.digest) < arrived.index(inner.digest)
    assert len(arrived) == len(set(arrived))


def test_a_platform_is_chosen_from_an_index() -> None:
    source, sink = MemoryContent(), MemoryContent()
    amd64, arm64 = _image(source, b"amd64"), _image(source, b"arm64")
    root = _index(source, _for(amd64, AMD64), _for(arm64, ARM64))

    report = transfer(source, sink, root, platform=ARM64)

    assert report.root.digest == arm64.digest
    assert root.digest not in sink.digests()
    assert amd64.digest not in sink.digests()
    assert arm64.digest in sink.digests()


def test_a_missing_platform_names_those_that_are_there() -> None:
    source = MemoryContent()
    root = _index(source, _for(_image(source, b"amd64"), AMD64))

    with pytest.raises(NoSuchPlatformError) as caught:
        transfer(source, MemoryContent(), root, platform=ARM64)

    assert caught.value.hint == "It is offered for linux/amd64."


def test_what_is_there_is_skipped() -> None:
    source, sink = MemoryContent(), RecordingSink()
    first = _image(source, b"base", b"one")
    second = _image(source, b"base", b"two")
    transfer(source, sink, first)
    sink.order.clear()

    report = transfer(source, sink, second)

    assert len(sink.order) == 3
    skipped = [one.descriptor.size for one in report.blobs if one.skipped]
    assert skipped == [len(b"base")]
    assert report.skipped_bytes == len(b"base")


def test_events_tell_each_blob_and_every_byte() -> None:
    source, sink = MemoryContent(), MemoryContent()
    root = _image(source, b"x" * 1000, b"y" * 10)
    seen: list[Event] = []

    transfer(source, sink, root, events=seen.append)

    started = {e.name: e.total_bytes for e in seen if isinstance(e, TransferStarted)}
    moved = dict.fromkeys(started, 0)
    for event in seen:
        if isinstance(event, TransferProgress):
            moved[event.name] += event.advance_bytes
    assert moved == started
    assert {e.name for e in seen if isinstance(e, TransferEnded)} == started.keys()


def test_the_first_failure_stops_the_rest() -> None:
    source = MemoryContent()
    root = _image(source, *(bytes([n]) * 1000 for n in range(50)))
    writes: list[Descriptor] = []
    lock = threading.Lock()

    class FailingSink(MemoryContent):
        def write(self, descriptor: Descriptor, open_source: OpenBlob) -> None:
            with lock:
                writes.append(descriptor)
            raise RemoteError("disk of the other side is full")

    sink = FailingSink()
    with pytest.raises(RemoteError, match="full"):
        transfer(source, sink, root)

    assert len(writes) < 50
    assert sink.digests() == frozenset()


def test_a_running_blob_is_cancelled_by_anothers_failure() -> None:
    endless, failing = threading.Event(), threading.Event()

    class Endless:
        def read(self, size: int = -1, /) -> bytes:
            endless.set()
            failing.wait(10)
            return b"x"

        def close(self) -> None:
            pass

    class Source(MemoryContent):
        def open(self, descriptor: Descriptor, offset: int = 0) -> BlobReader:
            if descriptor.size == 1_000_000_000:
                return Endless()
            if descriptor.size == 7:
                endless.wait(10)
                failing.set()
                raise RemoteError("gone")
            return super().open(descriptor, offset)

    source = Source()
    layer = source.add(b"seven b", mediatype.OCI_LAYER)
    large = Descriptor(
        media_type=mediatype.OCI_LAYER,
        digest=source.add(b"large", mediatype.OCI_LAYER).digest,
        size=1_000_000_000,
    )
    manifest = Manifest.build(
        config=source.add(b"config", mediatype.OCI_CONFIG), layers=[large, layer]
    )
    root = source.add(manifest.raw, manifest.media_type)

    with pytest.raises(RemoteError, match="gone"):
        transfer(source, MemoryContent(), root)


def test_indexes_nested_without_end_are_refused() -> None:
    source = MemoryContent()
    root = _image(source, b"deep")
    for _ in range(20):
        root = _index(source, root)

    with pytest.raises(CorruptionError, match="nested"):
        transfer(source, MemoryContent(), root)


@pytest.mark.parametrize("concurrency", [1, 8])
def test_any_number_of_threads_moves_the_same(concurrency: int) -> None:
    source, sink = MemoryContent(), MemoryContent()
    root = _index(source, *(_image(source, bytes([n])) for n in range(10)))

    transfer(source, sink, root, concurrency=concurrency)

    assert sink.digests() == source.digests()


def test_transfer_needs_no_http_library(run_python: Callable[[str], str]) -> None:
    loaded = run_python("import sys, imagekit.registry.transfer; print('requests' in sys.modules)")

    assert loaded.strip() == "False"


def test_bytes_that_were_lost_are_taken_back() -> None:
    source = MemoryContent()
    root = _image(source, b"x" * 1000)
    seen: list[Event] = []

    class Forgetful(MemoryContent):
        def write(self, descriptor: Descriptor, open_source: OpenBlob) -> None:
            if descriptor.size == 1000:
                open_source(0).read(700)
                open_source(400).read(100)
            super().write(descriptor, open_source)

    transfer(source, Forgetful(), root, events=seen.append)

    moves = [one.advance_bytes for one in seen if isinstance(one, TransferProgress)]
    assert [m for m in moves if m < 0 or m == 100] == [-300, 100, -500]
    assert sum(moves) == 1000 + len(b"config " + b"x" * 1000)
