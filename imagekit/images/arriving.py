"""Unpacking layers while they are still on their way into the store.

What arrives can be read from the first bytes on, before its digest is known. That is safe: whoever
can send a hostile layer can send one with the right digest too, so unpacking trusts nothing anyway,
and a reader is told of the end only when the blob has been verified and is in the store. A snapshot
is committed after that end, hence never made from anything else.
"""

import contextlib
import enum
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO

from imagekit.base.errors import ImagekitError
from imagekit.base.streams import CHUNK_BYTES
from imagekit.images.local import LocalImage
from imagekit.images.store_content import StoreContent
from imagekit.images.unpack import unpack
from imagekit.oci.content import BlobReader, OpenBlob
from imagekit.oci.descriptor import Descriptor
from imagekit.oci.digest import Digest
from imagekit.oci.image_config import ImageConfig
from imagekit.oci.manifest import Manifest
from imagekit.store.layout import Store
from imagekit.store.leases import Lease

if TYPE_CHECKING:
    from imagekit.layers.limits import Limits


class NotArrivedError(Exception):
    """A blob did not come; why, its sender has been told. Not seen outside of this module."""


class _Abandonable:
    """A blob whose reading fails once nobody wants it any more."""

    def __init__(self, blob: BlobReader, abandoned: threading.Event) -> None:
        self._blob = blob
        self._abandoned = abandoned

    def read(self, size: int = -1, /) -> bytes:
        if self._abandoned.is_set():
            raise NotArrivedError
        return self._blob.read(size)

    def close(self) -> None:
        self._blob.close()


class ArrivingContent(StoreContent):
    """A store as a sink whose blobs can be read while they are written.

    Implements ``oci.content.ContentSource`` and ``ContentSink``.
    """

    def __init__(self, store: Store, lease: Lease) -> None:
        super().__init__(store, lease)
        self._lock = threading.Lock()
        self._arrivals: dict[Digest, _Arrival] = {}
        self._has_ended = False

    def has(self, descriptor: Descriptor) -> bool:
        """Tell whether the blob is here; from now on it stays while the lease is held."""
        is_here = super().has(descriptor)
        if is_here:
            self._arrival(descriptor.digest).finish()
        return is_here

    def write(self, descriptor: Descriptor, open_source: OpenBlob) -> None:
        """Store a blob, verified, visible only when whole; read by ``open_arriving`` meanwhile."""
        self._lease.add("blob", str(descriptor.digest))
        arrival = self._arrival(descriptor.digest)
        try:
            with self._store.blobs.writer(descriptor.digest, descriptor.size) as writer:
                arrival.begin(writer.follow())
                source: BlobReader = open_source(0)
                try:
                    while data := source.read(CHUNK_BYTES):
                        writer.write(data)
                        arrival.advance(writer.flush())
                finally:
                    source.close()
                writer.commit()
        except BaseException:
            arrival.fail()
            raise
        arrival.finish()

    def open_arriving(self, descriptor: Descriptor) -> BlobReader:
        """Open a blob that is here or will come; the caller closes.

        Waits until its first bytes are here. Reading waits for what is missing.

        Raises:
            NotArrivedError: also from reading: it will not come.

        """
        arrival = self._arrival(descriptor.digest)
        file = arrival.wait()
        return _ArrivingBlob(arrival, file) if file is not None else self.open(descriptor)

    def end(self) -> None:
        """Say that nothing more will come: who waits for what did not gives up."""
        with self._lock:
            self._has_ended = True
            arrivals = list(self._arrivals.values())
        for arrival in arrivals:
            arrival.fail()

    def _arrival(self, digest: Digest) -> "_Arrival":
        with self._lock:
            arrival = self._arrivals.setdefault(digest, _Arrival())
            if self._has_ended:
                arrival.fail()
            return arrival


@contextlib.contextmanager
def unpacking(
    store: Store,
    content: ArrivingContent,
    name: str,
    *,
    lease: Lease,
    limits: "Callable[[], Limits] | None" = None,
) -> Iterator[Callable[[Descriptor, bytes], None]]:
    """Unpack an image in a thread while its blobs arrive at ``content``.

    Yields what has to be called with the image's manifest before they do. At the end of the block,
    unless by an error, all was unpacked that could be; ``unpack`` finds it, and for what could not
    it says why.
    """
    threads: list[threading.Thread] = []
    abandoned = threading.Event()

    def open_blob(descriptor: Descriptor) -> BlobReader:
        return _Abandonable(content.open_arriving(descriptor), abandoned)

    def begin(descriptor: Descriptor, raw: bytes) -> None:
        arguments = (store, open_blob, name, descriptor, raw, lease, limits)
        thread = threading.Thread(target=_unpack, args=arguments, name="unpack")
        thread.start()
        threads.append(thread)

    try:
        yield begin
        # Of what has not come by now the documents lied: a config, say, with an index's media type.
        content.end()
        for thread in threads:
            thread.join()
    except BaseException:
        abandoned.set()
        content.end()
        for thread in threads:
            thread.join()
        raise


def _unpack(
    store: Store,
    open_blob: Callable[[Descriptor], BlobReader],
    name: str,
    descriptor: Descriptor,
    raw: bytes,
    lease: Lease,
    limits: "Callable[[], Limits] | None",
) -> None:
    # What fails here has left nothing, and fails again in the unpacking that follows the transfer:
    # with the blobs at hand, so that it can be said whose fault it is.
    with contextlib.suppress(NotArrivedError, ImagekitError, OSError):
        manifest = Manifest.parse(raw, descriptor.media_type)
        with contextlib.closing(open_blob(manifest.config)) as file:
            document = b"".join(iter(lambda: file.read(CHUNK_BYTES), b""))
        config = ImageConfig.parse(document)
        image = LocalImage(name=name, descriptor=descriptor, manifest=manifest, config=config)
        unpack(store, image, lease=lease, limits=limits, open_blob=open_blob)


class _State(enum.Enum):
    AWAITED = enum.auto()
    COMING = enum.auto()
    HERE = enum.auto()
    FAILED = enum.auto()


class _Arrival:
    """One blob, from before its first byte to after its last."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._state = _State.AWAITED
        self._file: BinaryIO | None = None
        self._here_bytes = 0

    def begin(self, file: BinaryIO) -> None:
        """Say that bytes will come into ``file``, which is closed here if nobody takes it."""
        with self._changed:
            if self._state is not _State.AWAITED:  # given up
                file.close()
                return
            self._file, self._state = file, _State.COMING
            self._changed.notify_all()

    def advance(self, here_bytes: int) -> None:
        """Say how many bytes can be read."""
        with self._changed:
            self._here_bytes = here_bytes
            self._changed.notify_all()

    def finish(self) -> None:
        """Say that the blob is in the store."""
        self._end(_State.HERE)

    def fail(self) -> None:
        """Say that it will not come; without effect when it has."""
        self._end(_State.FAILED)

    def wait(self) -> BinaryIO | None:
        """Wait for the first bytes and give the file to read them from; None if all are stored."""
        with self._changed:
            # Whoever comes second, for a layer that an image has twice, waits for the whole blob.
            ended = (_State.HERE, _State.FAILED)
            self._changed.wait_for(lambda: self._file is not None or self._state in ended)
            if self._state is _State.FAILED:
                raise NotArrivedError
            file, self._file = self._file, None
            return file

    def wait_beyond(self, position: int) -> int:
        """Wait until more than ``position`` bytes can be read, or no more come; return how many.

        Raises:
            NotArrivedError: the blob will not be whole.

        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._here_bytes > position or self._state is not _State.COMING
            )
            if self._state is _State.FAILED:
                raise NotArrivedError
            return self._here_bytes - position

    def _end(self, state: _State) -> None:
        with self._changed:
            if self._state in (_State.HERE, _State.FAILED):
                return
            self._state = state
            if self._file is not None:
                self._file.close()
                self._file = None
            self._changed.notify_all()


class _ArrivingBlob:
    """Reads a blob that may still grow; the end is told when it is whole and verified."""

    def __init__(self, arrival: _Arrival, file: BinaryIO) -> None:
        self._arrival = arrival
        self._file = file
        self._position = 0

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(CHUNK_BYTES), b""))
        here = self._arrival.wait_beyond(self._position)
        data = self._file.read(min(size, here)) if here else b""
        self._position += len(data)
        return data

    def close(self) -> None:
        self._file.close()
