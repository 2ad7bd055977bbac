"""Moving an image to where it shall be: one function for push, pull, save, load and copy.

A graph of descriptors is walked from its root; blobs go first and side by side, documents after
everything they refer to. What the sink has is not moved, equal digests move once, and the first
failure stops the rest.
"""

import contextlib
import io
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

import msgspec

from imagekit.base.events import (
    EventSink,
    TransferEnded,
    TransferProgress,
    TransferStarted,
    ignore_events,
)
from imagekit.base.streams import CHUNK_BYTES, DigestMismatchError, VerifiedReader
from imagekit.oci import mediatype
from imagekit.oci.content import BlobReader, ContentSink, ContentSource
from imagekit.oci.descriptor import Descriptor
from imagekit.oci.digest import Digest
from imagekit.oci.documents import MAX_DOCUMENT_BYTES
from imagekit.oci.manifest import Index, parse_document
from imagekit.oci.platform import Platform
from imagekit.registry.errors import NoSuchPlatformError

P = ParamSpec("P")
T = TypeVar("T")

MAX_DEPTH = 8
"""How deep indexes may be nested; a graph made by a stranger has to end somewhere."""


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of content and whether it was moved or there already."""

    descriptor: Descriptor
    skipped: bool


class TransferReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a transfer did.

    ``root`` is the document now at the sink: the one asked for, or the manifest chosen from it for
    a platform. ``blobs`` holds documents too, in no certain order.
    """

    root: Descriptor
    blobs: tuple[Moved, ...]

    @property
    def moved_bytes(self) -> int:
        """The size of what was moved."""
        return sum(one.descriptor.size for one in self.blobs if not one.skipped)

    @property
    def skipped_bytes(self) -> int:
        """The size of what the sink had."""
        return sum(one.descriptor.size for one in self.blobs if one.skipped)


def transfer(
    source: ContentSource,
    sink: ContentSink,
    root: Descriptor,
    *,
    platform: Platform | None = None,
    concurrency: int = 4,
    events: EventSink = ignore_events,
    announce: Callable[[Descriptor, bytes], None] | None = None,
) -> TransferReport:
    """Move ``root`` and everything it refers to, and report what that took.

    With ``platform`` an index is replaced by its manifest for that platform. Nothing is tagged. May
    be repeated after a failure: what arrived is skipped. ``announce`` is told the root document
    before the first blob moves; then blobs begin in the order in which documents list them, as who
    unpacks them wants it, instead of the largest first.

    Raises:
        NoSuchPlatformError: if an index has nothing for ``platform``.
        DigestMismatchError: if content is not what its descriptor promises.
        ImagekitError: whatever source or sink raise; the first one wins.

    """
    workers = _Workers(concurrency)
    graph = _read_graph(source, root, platform, workers)
    mover = _Mover(source=source, sink=sink, events=events, cancelled=workers.cancelled)
    blobs = list(graph.blobs.values())
    if announce is None:
        blobs = _largest_first(blobs)
    else:
        announce(graph.root, graph.raw[graph.root.digest])
    moved = workers.run([_bound(mover.move_blob, blob) for blob in blobs])
    for level in reversed(graph.levels):
        moved += workers.run(
            [_bound(mover.move_document, one, graph.raw[one.digest]) for one in level]
        )
    return TransferReport(root=graph.root, blobs=tuple(moved))


@dataclass(slots=True, kw_only=True)
class _Graph:
    """What has to be moved: documents by distance from the root, and the blobs they refer to."""

    root: Descriptor
    raw: dict[Digest, bytes] = field(default_factory=dict)
    levels: list[list[Descriptor]] = field(default_factory=list)
    blobs: dict[Digest, Descriptor] = field(default_factory=dict)


def read_document(source: ContentSource, descriptor: Descriptor) -> bytes:
    """Return the bytes of a manifest or index, verified against its descriptor.

    Raises:
        DigestMismatchError: if they differ, or are more than a document may have.

    """
    if descriptor.size > MAX_DOCUMENT_BYTES:
        raise DigestMismatchError(
            f"document {descriptor.digest} has {descriptor.size} bytes, more than allowed"
        )
    with contextlib.closing(source.open(descriptor)) as blob:
        reader = VerifiedReader(blob, digest=str(descriptor.digest), size=descriptor.size)
        return b"".join(iter(lambda: reader.read(CHUNK_BYTES), b""))


def _read_graph(
    source: ContentSource, root: Descriptor, platform: Platform | None, workers: "_Workers"
) -> _Graph:
    raw: dict[Digest, bytes] = {}
    for _ in range(MAX_DEPTH):
        raw[root.digest] = read_document(source, root)
        document = parse_document(raw[root.digest], root.media_type)
        if platform is None or not isinstance(document, Index):
            break
        root = _choose(document, root, platform)
    graph = _Graph(root=root, raw={root.digest: raw[root.digest]})
    level = [root]
    for _ in range(MAX_DEPTH):
        if not level:
            return graph
        missing = [one for one in level if one.digest not in graph.raw]
        for one, data in zip(
            missing,
            workers.run([_bound(read_document, source, one) for one in missing]),
            strict=True,
        ):
            graph.raw[one.digest] = data
        following: dict[Digest, Descriptor] = {}
        for one in level:
            for child in parse_document(graph.raw[one.digest], one.media_type).children:
                if is_document(child):
                    following[child.digest] = child
                else:
                    graph.blobs[child.digest] = child
        # A document met again further down has to wait for more: only its last place counts.
        graph.levels = [
            [one for one in earlier if one.digest not in following] for earlier in graph.levels
        ]
        graph.levels.append(level)
        level = list(following.values())
    raise DigestMismatchError(f"indexes below {root.digest} are nested more than {MAX_DEPTH} deep")


def _choose(index: Index, root: Descriptor, platform: Platform) -> Descriptor:
    chosen = index.select(platform)
    if chosen is None:
        offered = sorted({str(m.platform) for m in index.manifests if m.platform})
        raise NoSuchPlatformError(
            f"{root.digest} has no image for {platform}",
            hint=f"It is offered for {', '.join(offered)}." if offered else None,
        )
    return chosen


def is_document(descriptor: Descriptor) -> bool:
    """Tell whether the descriptor is of a manifest or index."""
    kind = descriptor.media_type
    return mediatype.is_manifest(kind) or mediatype.is_index(kind)


class _Mover(msgspec.Struct, frozen=True, kw_only=True):
    source: ContentSource
    sink: ContentSink
    events: EventSink
    cancelled: threading.Event

    def move_blob(self, blob: Descriptor) -> Moved:
        with self._told(blob) as name:
            if self.sink.has(blob):
                self.events(TransferEnded(name=name, skipped="already there"))
                return Moved(descriptor=blob, skipped=True)
            told = _Told()
            self.sink.write(blob, lambda offset: self._open(blob, offset, name, told))
            self.events(TransferEnded(name=name))
            return Moved(descriptor=blob, skipped=False)

    def move_document(self, document: Descriptor, raw: bytes) -> Moved:
        if self.sink.has(document):
            return Moved(descriptor=document, skipped=True)
        self.sink.put_document(document, raw)
        return Moved(descriptor=document, skipped=False)

    @contextlib.contextmanager
    def _told(self, blob: Descriptor) -> Iterator[str]:
        if self.cancelled.is_set():
            raise _CancelledError
        name = blob.digest.short
        self.events(TransferStarted(name=name, total_bytes=blob.size))
        yield name

    def _open(self, blob: Descriptor, offset: int, name: str, told: "_Told") -> "_Counted":
        source = self.source.open(blob, offset)

        def advance(count: int) -> None:
            if self.cancelled.is_set():
                raise _CancelledError
            told.count += count
            self.events(TransferProgress(name=name, advance_bytes=count))

        if offset != told.count:  # what was read or sent before has been lost, in part at least
            advance(offset - told.count)

        return _Counted(source, advance)


@dataclass(slots=True)
class _Told:
    """How many bytes of a blob have been told as moved."""

    count: int = 0


class _CancelledError(Exception):
    """Another part of the transfer failed; not seen outside of this module."""


class _Counted:
    """A blob that tells how much of it was read, or sent by the kernel without being read."""

    def __init__(self, source: BlobReader, advance: Callable[[int], None]) -> None:
        self._source = source
        self._advance = advance

    def read(self, size: int = -1, /) -> bytes:
        data = self._source.read(size)
        self._advance(len(data))
        return data

    def close(self) -> None:
        self._source.close()

    def region(self) -> tuple[int, int] | None:
        """Return descriptor and offset of the plain file behind it, if there is one."""
        if isinstance(self._source, io.BufferedReader | io.FileIO):
            return self._source.fileno(), self._source.tell()
        return None

    def sent(self, count: int) -> None:
        """Count bytes that were sent from the region."""
        self._advance(count)


class _Workers:
    """Runs a batch of jobs in threads; the first failure cancels what has not ended.

    Not ``concurrent.futures``, whose import alone takes longer than a transfer that moves nothing.
    """

    def __init__(self, concurrency: int) -> None:
        self.cancelled = threading.Event()
        self._concurrency = concurrency

    def run(self, jobs: list[Callable[[], T]]) -> list[T]:
        """Return the jobs' results in their order.

        Raises:
            BaseException: what the first failing job raised, when all threads have ended.

        """
        if len(jobs) == 1:
            return [jobs[0]()]
        waiting = iter(enumerate(jobs))
        results: dict[int, T] = {}
        failures: list[BaseException] = []
        lock = threading.Lock()

        def work() -> None:
            while not self.cancelled.is_set():
                with lock:
                    number, job = next(waiting, (-1, None))
                if job is None:
                    return
                try:
                    result = job()
                except BaseException as error:  # noqa: BLE001 - raised again by the caller's thread
                    with lock:
                        failures.append(error)
                    self.cancelled.set()
                    return
                with lock:
                    results[number] = result

        threads: list[threading.Thread] = []
        try:
            for number in range(min(self._concurrency, len(jobs))):
                thread = threading.Thread(target=work, name=f"transfer-{number}")
                thread.start()
                threads.append(thread)
            for thread in threads:
                thread.join()
        except BaseException:  # an interrupt of this thread, or no thread to be had
            self.cancelled.set()
            for thread in threads:
                thread.join()
            raise
        for failure in failures:
            if not isinstance(failure, _CancelledError):
                raise failure
        return [results[number] for number in range(len(jobs))]


def _bound(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Callable[[], T]:
    return lambda: function(*args, **kwargs)


def _largest_first(blobs: Iterable[Descriptor]) -> list[Descriptor]:
    """Return the blobs so that the longest moves do not begin last."""
    return sorted(blobs, key=lambda blob: blob.size, reverse=True)
