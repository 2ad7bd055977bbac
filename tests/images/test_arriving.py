"""Layers are unpacked while they arrive, and nothing is kept that did not arrive whole."""

import contextlib
import gzip
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imagekit.images.arriving import ArrivingContent, NotArrivedError, unpacking
from imagekit.images.commit import store_image
from imagekit.images.local import LocalImage
from imagekit.images.store_content import StoreContent
from imagekit.oci.content import BlobReader
from imagekit.oci.descriptor import Descriptor
from imagekit.oci.digest import Digest
from imagekit.oci.documents import encode
from imagekit.oci.image_config import ImageConfig
from imagekit.oci.manifest import Manifest
from imagekit.oci.mediatype import OCI_INDEX, OCI_LAYER_GZIP
from imagekit.oci.platform import Platform
from imagekit.registry.transfer import transfer
from imagekit.store.errors import BlobMismatchError
from imagekit.store.layout import Store

if TYPE_CHECKING:
    from tests.images.conftest import Shelf, Tar

pytestmark = pytest.mark.root

LARGE = os.urandom(6 << 20)
PATIENCE_S = 30.0


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "target") as store:
        yield store


class Slow:
    """A source that calls ``pause`` once, in the middle of the blob ``digest``."""

    def __init__(
        self, source: StoreContent, digest: Digest, after: int, pause: Callable[[], None]
    ) -> None:
        self._source = source
        self._digest = digest
        self._after = after
        self._pause = pause

    def resolve(self, reference: str) -> Descriptor:
        return self._source.resolve(reference)

    def open(self, descriptor: Descriptor, offset: int = 0) -> BlobReader:
        reader = self._source.open(descriptor, offset)
        if descriptor.digest != self._digest:
            return reader
        return _Paused(reader, self._after, self._pause)


class _Paused:
    def __init__(self, reader: BlobReader, after: int, pause: Callable[[], None]) -> None:
        self._reader = reader
        self._left = after
        self._pause = pause

    def read(self, size: int = -1, /) -> bytes:
        if self._left <= 0:
            self._pause()
            self._left = 1 << 60
        data = self._reader.read(min(size, self._left))
        self._left -= len(data)
        return data

    def close(self) -> None:
        self._reader.close()


def gzipped(shelf: "Shelf", *tars: bytes) -> LocalImage:
    layers = [shelf.layer(gzip.compress(one, 1, mtime=0), OCI_LAYER_GZIP) for one in tars]
    config = ImageConfig(platform=Platform.host(), diff_ids=tuple(map(Digest.of, tars)))
    return store_image(shelf.store, config, layers, lease=shelf.lease)


def pull(
    shelf: "Shelf", target: Store, image: LocalImage, source: object = None
) -> ArrivingContent:
    with target.leases.hold("pull") as lease:
        content = ArrivingContent(target, lease)
        with unpacking(target, content, "r.example/a:1", lease=lease) as announce:
            transfer(
                source or StoreContent(shelf.store, shelf.lease),  # type: ignore[arg-type] # both are
                content,
                image.descriptor,
                announce=announce,
            )
        content.tag(image.descriptor, "r.example/a:1")
    return content


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_files_are_there_before_their_layer_has_arrived(
    shelf: "Shelf", target: Store, tar: "Tar"
) -> None:
    image = gzipped(shelf, tar(first=b"1", large=LARGE, last=b"2"))
    seen: list[bool] = []

    def pause() -> None:
        snapshots = target.paths.snapshots
        seen.append(eventually(lambda: any(snapshots.glob("*/fs/first"))))
        assert target.snapshots.all() == []
        assert not target.blobs.has(image.manifest.layers[0].digest)

    layer = image.manifest.layers[0].digest
    slow = Slow(StoreContent(shelf.store, shelf.lease), layer, 4 << 20, pause)
    pull(shelf, target, image, slow)

    assert seen == [True]
    (snapshot,) = target.snapshots.all()
    assert (snapshot.fs / "large").read_bytes() == LARGE
    assert (snapshot.fs / "last").read_bytes() == b"2"
    assert target.gc.verify() == []


def test_lower_layers_are_unpacked_while_upper_ones_arrive(
    shelf: "Shelf", target: Store, tar: "Tar"
) -> None:
    image = gzipped(shelf, tar(a=b"1"), tar(b=b"2", _wh_a=b""))
    seen: list[bool] = []
    upper = image.manifest.layers[1].digest
    slow = Slow(
        StoreContent(shelf.store, shelf.lease),
        upper,
        0,
        lambda: seen.append(eventually(lambda: len(target.snapshots.all()) == 1)),
    )

    pull(shelf, target, image, slow)

    assert seen == [True]
    assert image.chain_id is not None
    top, bottom = target.snapshots.lowerdirs(image.chain_id)
    assert (top / "a").is_char_device()
    assert (bottom / "a").read_bytes() == b"1"


def test_the_same_layer_twice(shelf: "Shelf", target: Store, tar: "Tar") -> None:
    image = gzipped(shelf, tar(a=LARGE), tar(b=b"1"), tar(a=LARGE))

    pull(shelf, target, image)

    assert image.chain_id is not None
    assert len(target.snapshots.lowerdirs(image.chain_id)) == 3


def test_what_is_here_already_is_unpacked_from_here(
    shelf: "Shelf", target: Store, tar: "Tar"
) -> None:
    image = gzipped(shelf, tar(a=b"1"))
    target.blobs.put(shelf.store.blobs.read(image.manifest.layers[0].digest))

    pull(shelf, target, image)

    assert len(target.snapshots.all()) == 1


def test_a_blob_that_turns_out_wrong_leaves_no_snapshot(
    shelf: "Shelf", target: Store, tar: "Tar"
) -> None:
    image = gzipped(shelf, tar(a=LARGE))
    path = shelf.store.blobs.path(image.manifest.layers[0].digest)
    # The last byte of gzip's size field: everything was unpacked when it is met.
    path.write_bytes(path.read_bytes()[:-1] + b"\xee")

    with pytest.raises(BlobMismatchError):
        pull(shelf, target, image)

    assert target.snapshots.all() == []
    assert list(target.paths.snapshots.iterdir()) == []
    assert not any(thread.name == "unpack" for thread in threading.enumerate())


def test_bytes_behind_the_layer_belong_to_the_digest(
    shelf: "Shelf", target: Store, tar: "Tar"
) -> None:
    image = gzipped(shelf, tar(a=b"1"))
    path = shelf.store.blobs.path(image.manifest.layers[0].digest)
    path.write_bytes(path.read_bytes() + bytes(1000))

    with pytest.raises(BlobMismatchError):
        pull(shelf, target, image)

    assert target.snapshots.all() == []


def test_a_source_that_breaks_off_ends_the_unpacking(
    shelf: "Shelf", target: Store, tar: "Tar"
) -> None:
    image = gzipped(shelf, tar(first=b"1", large=LARGE))

    def pause() -> None:
        raise ConnectionResetError

    layer = image.manifest.layers[0].digest
    slow = Slow(StoreContent(shelf.store, shelf.lease), layer, 4 << 20, pause)
    with pytest.raises(ConnectionResetError):
        pull(shelf, target, image, slow)

    assert list(target.paths.snapshots.iterdir()) == []
    assert list(target.paths.temporary.iterdir()) == []


def test_content_that_cannot_be_unpacked_is_left_to_those_who_can_say_why(
    shelf: "Shelf", target: Store, tar: "Tar"
) -> None:
    image = gzipped(shelf, b"no archive" * 1000)

    pull(shelf, target, image)

    assert target.snapshots.all() == []
    assert target.blobs.has(image.manifest.layers[0].digest)


def test_readers_of_what_never_comes_give_up(target: Store) -> None:
    with target.leases.hold("test") as lease:
        content = ArrivingContent(target, lease)
        wanted = Descriptor(media_type=OCI_LAYER_GZIP, digest=Digest.of(b"never"), size=5)
        results: list[str] = []

        def read() -> None:
            try:
                content.open_arriving(wanted)
            except NotArrivedError:
                results.append("gave up")

        reader = threading.Thread(target=read)
        reader.start()
        content.end()
        reader.join(PATIENCE_S)
        assert results == ["gave up"]
        with pytest.raises(NotArrivedError):
            content.open_arriving(wanted)


def test_a_config_that_says_to_be_an_index_keeps_no_pull_waiting(
    shelf: "Shelf", target: Store
) -> None:
    raw = encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []})
    shelf.store.blobs.put(raw)
    config = Descriptor(media_type=OCI_INDEX, digest=Digest.of(raw), size=len(raw))
    manifest = Manifest.build(config=config, layers=())
    shelf.store.blobs.put(manifest.raw)

    with target.leases.hold("pull") as lease:
        content = ArrivingContent(target, lease)
        with unpacking(target, content, "r.example/a:1", lease=lease) as announce:
            transfer(
                StoreContent(shelf.store, shelf.lease),
                content,
                manifest.descriptor,
                announce=announce,
            )

    assert target.snapshots.all() == []


def test_an_interrupt_does_not_wait_for_the_unpacking(
    shelf: "Shelf", target: Store, tar: "Tar", monkeypatch: pytest.MonkeyPatch
) -> None:
    image = gzipped(shelf, tar(first=b"1", large=LARGE, second=LARGE))
    real, reading = ArrivingContent.open_arriving, threading.Event()

    def open_slowly(self: ArrivingContent, descriptor: Descriptor) -> BlobReader:
        reader = real(self, descriptor)
        if descriptor.digest != image.manifest.layers[0].digest:
            return reader
        reading.set()
        return _Paused(reader, 4 << 20, lambda: time.sleep(0.2))

    monkeypatch.setattr(ArrivingContent, "open_arriving", open_slowly)
    with target.leases.hold("pull") as lease:
        content = ArrivingContent(target, lease)
        running = contextlib.ExitStack()
        announce = running.enter_context(unpacking(target, content, "a", lease=lease))
        source = StoreContent(shelf.store, shelf.lease)
        transfer(source, content, image.descriptor, announce=announce)
        assert reading.wait(PATIENCE_S)
        interrupt = KeyboardInterrupt()
        assert not running.__exit__(KeyboardInterrupt, interrupt, None)

    assert target.snapshots.all() == []
    assert list(target.paths.snapshots.iterdir()) == []
