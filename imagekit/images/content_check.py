"""Reading everything that the store holds: blobs, the layers in them, the files of snapshots.

Commands may run meanwhile. A blob is opened once and stays readable; a snapshot is leased while it
is looked at; what has gone by then is no issue.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

import msgspec

from imagekit.base.events import EventSink, TransferEnded, TransferProgress, TransferStarted
from imagekit.base.streams import CHUNK_BYTES, HashingReader, Readable
from imagekit.images.snapshot_check import Content, SnapshotCheck
from imagekit.layers.compression import open_layer
from imagekit.layers.errors import (
    LayerContentError,
    LayerFormatError,
    LayerHostError,
    LayerLimitError,
)
from imagekit.layers.limits import Limits
from imagekit.layers.pack import layers_at_once
from imagekit.oci import mediatype
from imagekit.oci.digest import Digest
from imagekit.store.errors import DAMAGED_MEDIUM, ContentNotFoundError
from imagekit.store.layout import Store
from imagekit.store.leases import Lease
from imagekit.store.verify import Inventory, Issue, Kind, SnapshotRow, damaged_blob, unreadable_blob

T = TypeVar("T")
R = TypeVar("R")


class BlobFinding(msgspec.Struct, frozen=True, kw_only=True):
    """What reading a blob told: what is wrong, or, for a layer, the diff id of its content."""

    issue: Issue | None = None
    diff_id: Digest | None = None


class ContentCheck:
    """Reads with several threads: hashing and unpacking release the GIL."""

    def __init__(
        self,
        store: Store,
        inventory: Inventory,
        lease: Lease,
        *,
        limits: Limits,
        events: EventSink,
        threads: int | None = None,
    ) -> None:
        self._store = store
        self._inventory = inventory
        self._lease = lease
        self._limits = limits
        self._events = events
        self._threads = threads or layers_at_once()
        self._cancelled = threading.Event()

    # -- blobs and layers

    def blobs(self) -> dict[Digest, BlobFinding]:
        """Return what is found about every blob; their sizes are told as progress."""
        inventory = self._inventory
        layers = {
            str(layer.digest)
            for image in inventory.images
            for part in image.parts
            for layer in part.manifest.layers
            if mediatype.is_layer(layer.media_type)
        } | inventory.layers.keys()
        sizes = {digest: self._size(digest) for digest in self._store.blobs.all()}
        largest_first = sorted(sizes, key=sizes.__getitem__, reverse=True)
        with _Progress(self._events, "blobs", sum(sizes.values()), self._cancelled) as progress:
            found = self._in_threads(
                lambda digest: self._blob(digest, progress, is_layer=str(digest) in layers),
                largest_first,
            )
        return dict(zip(largest_first, found, strict=True))

    def _blob(self, digest: Digest, progress: "_Progress", *, is_layer: bool) -> BlobFinding:
        """Read a blob once: its digest on the way in, that of its content when it is a layer."""
        content, broken = None, ""
        try:
            with self._store.blobs.open(digest) as file:
                raw = HashingReader(_Counted(file, progress.advance), digest.algorithm)
                if is_layer:
                    try:
                        content = HashingReader(open_layer(raw, limits=self._limits)[1])
                        _read_all(content)
                    except LayerFormatError as error:
                        broken = error.message
                    except LayerLimitError:
                        content = None  # it was never unpacked here either
                _read_all(raw)
        except ContentNotFoundError:
            return BlobFinding()
        except OSError as error:
            return BlobFinding(issue=unreadable_blob(digest, error, self._inventory))
        if raw.hexdigest() != digest.hex:
            # Unless a prune has taken it meanwhile: nothing of it is left then.
            is_here = self._store.blobs.has(digest)
            return BlobFinding(issue=damaged_blob(digest, self._inventory) if is_here else None)
        if broken:
            images = self._inventory.hit_by_blob(digest)
            return BlobFinding(
                issue=Issue(
                    code="layer-content",
                    kind=Kind.BLOB,
                    subject=str(digest),
                    message=broken,
                    images=images,
                )
            )
        if content is None:
            return BlobFinding()
        return BlobFinding(diff_id=Digest("sha256", content.hexdigest()))

    def contradictions(self, findings: Mapping[Digest, BlobFinding]) -> Iterator[Issue]:
        """Yield what rows and configs say of layers that these do not unpack to."""
        actual = {str(digest): one.diff_id for digest, one in findings.items() if one.diff_id}
        for digest, recorded in self._inventory.layers.items():
            if digest in actual and str(actual[digest]) != recorded:
                yield Issue(
                    code="layer-row",
                    kind=Kind.LAYER,
                    subject=digest,
                    message=f"it unpacks to {actual[digest]}, not to the recorded {recorded}",
                    images=self._inventory.hit_by_blob(Digest.parse(digest)),
                )
        for image in self._inventory.images:
            for layer, diff_id in (
                (layer.digest, diff_id) for part in image.parts for layer, diff_id, _ in part.layers
            ):
                found = actual.get(str(layer), diff_id)
                if found == diff_id:
                    continue
                for name in image.names:
                    yield Issue(
                        code="layer-diff-id",
                        kind=Kind.IMAGE,
                        subject=name,
                        message=f"its layer {layer} unpacks to {found}, not to {diff_id}",
                        images=(name,),
                    )

    # -- snapshots

    def snapshots(
        self, findings: Mapping[Digest, BlobFinding]
    ) -> tuple[list[Issue], tuple[str, ...]]:
        """Return the issues, and the chain ids of those that cannot be verified."""
        blob_of = {one.diff_id: digest for digest, one in findings.items() if one.diff_id}
        rows = list(self._inventory.snapshots.values())
        total = self._store.snapshots.total_bytes()
        with _Progress(self._events, "layers", total, self._cancelled) as progress:
            check = SnapshotCheck(self._store, self._lease, self._limits, progress.advance)
            results = self._in_threads(
                lambda row: self._snapshot(check, row, blob_of.get(row.diff_id)), rows
            )
        issues = []
        unverifiable = []
        for row, found in zip(rows, results, strict=True):
            chain_id = str(row.chain_id)
            if found is Content.UNVERIFIABLE:
                unverifiable.append(chain_id)
            elif isinstance(found, str):
                images = self._inventory.hit_by_snapshot(chain_id)
                issues.append(
                    Issue(
                        code="snapshot-content",
                        kind=Kind.SNAPSHOT,
                        subject=chain_id,
                        message=found,
                        images=images,
                    )
                )
        return issues, tuple(unverifiable)

    def _snapshot(
        self, check: SnapshotCheck, row: SnapshotRow, layer: Digest | None
    ) -> Content | str:
        """Return what was found, as a sentence if that is damage."""
        self._lease.add("chain", str(row.chain_id))
        try:
            if not self._is_complete(row):
                return Content.SOUND  # gone meanwhile, or told as a broken reference
            found = check.check(row, layer)
        except LayerContentError as error:
            return error.message
        except LayerLimitError:
            return Content.UNVERIFIABLE
        except LayerHostError as error:
            cause = error.__cause__
            if not isinstance(cause, OSError) or cause.errno not in DAMAGED_MEDIUM:
                raise
            return error.message
        finally:
            self._lease.drop("chain", str(row.chain_id))
        if found is Content.CHANGED:
            return f"its files are not those of the layer {row.diff_id}"
        return found

    def _is_complete(self, row: SnapshotRow) -> bool:
        """Tell whether the directories of the whole chain are there."""
        current = self._store.snapshots.get(row.chain_id)
        if current is None or current.id != row.id:
            return False
        seen: set[Digest] = set()  # a damaged database may have a circle
        while current is not None and current.chain_id not in seen and current.fs.is_dir():
            if current.parent is None:
                return True
            seen.add(current.chain_id)
            current = self._store.snapshots.get(current.parent)
        return False

    # -- parts

    def _size(self, digest: Digest) -> int:
        try:
            return self._store.blobs.size(digest)
        except ContentNotFoundError:
            return 0

    def _in_threads(self, function: Callable[[T], R], items: Sequence[T]) -> list[R]:
        with ThreadPoolExecutor(self._threads, thread_name_prefix="fsck") as pool:
            futures = [pool.submit(function, item) for item in items]
            try:
                return [future.result() for future in futures]
            except BaseException:
                self._cancelled.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise


class _CancelledError(Exception):
    """Another part of the check failed; not seen outside of this module."""


class _Progress:
    """Tells of bytes as they are read, a MiB or more at a time, and can end the reading."""

    def __init__(
        self, events: EventSink, name: str, total_bytes: int, cancelled: threading.Event
    ) -> None:
        self._events = events
        self._name = name
        self._total_bytes = total_bytes
        self._cancelled = cancelled
        self._lock = threading.Lock()
        self._untold = 0

    def advance(self, count: int) -> None:
        """Count bytes that were read."""
        if self._cancelled.is_set():
            raise _CancelledError
        with self._lock:
            self._untold += count
            told, self._untold = (
                (self._untold, 0) if self._untold >= CHUNK_BYTES else (0, self._untold)
            )
        if told:
            self._events(TransferProgress(name=self._name, advance_bytes=told))

    def __enter__(self) -> Self:
        self._events(
            TransferStarted(name=self._name, total_bytes=self._total_bytes, verb="checking")
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self._events(TransferProgress(name=self._name, advance_bytes=self._untold))
        self._events(TransferEnded(name=self._name))


class _Counted:
    def __init__(self, source: Readable, advance: Callable[[int], None]) -> None:
        self._source = source
        self._advance = advance

    def read(self, size: int = -1, /) -> bytes:
        data = self._source.read(size)
        self._advance(len(data))
        return data


def _read_all(stream: Readable) -> None:
    while stream.read(CHUNK_BYTES):
        pass
