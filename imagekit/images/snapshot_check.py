"""Whether the files of a snapshot are still those of its layer.

The archive that a layer came as is not kept beside its files, but it can be made again: for a layer
that was built here the tar writer gives the very bytes of the diff id. Archives of other tools have
other bytes for the same files, so their blob is unpacked a second time and both directories are
written as archives by the same writer.
"""

import enum
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from imagekit.base.streams import Readable
from imagekit.layers.apply import WhiteoutForm, apply_layer
from imagekit.layers.compression import open_layer
from imagekit.layers.diff import overlay_changes
from imagekit.layers.entry import Entry
from imagekit.layers.limits import Limits
from imagekit.layers.pack import diff_digest
from imagekit.oci.digest import Digest
from imagekit.store.layout import Store
from imagekit.store.leases import Lease
from imagekit.store.verify import SnapshotRow

_SECOND_NS = 1_000_000_000


class Content(enum.Enum):
    """What a look at a snapshot's files found."""

    SOUND = "sound"
    CHANGED = "changed"
    UNVERIFIABLE = "unverifiable"
    """The layer came from another tool and its blob is not here (any more)."""


class SnapshotCheck:
    """Compares snapshots with their layers. ``watch`` is told of bytes read, and may raise."""

    def __init__(
        self, store: Store, lease: Lease, limits: Limits, watch: Callable[[int], None]
    ) -> None:
        self._store = store
        self._lease = lease
        self._limits = limits
        self._watch = watch

    def check(self, snapshot: SnapshotRow, layer: Digest | None) -> Content:
        """Tell whether the files are those of the diff id.

        The caller holds the chain. ``layer`` is a blob whose content is known to be that of the
        diff id, None if there is none.

        Raises:
            LayerError: if the files cannot be read.

        """
        lowerdirs = self._store.snapshots.lowerdirs(snapshot.chain_id)
        fs, below = lowerdirs[0], lowerdirs[1:]
        if diff_digest(self._entries(fs, below))[0] == snapshot.diff_id:
            return Content.SOUND
        if layer is None:
            return Content.UNVERIFIABLE
        return self._compare(fs, below, snapshot.diff_id, layer)

    def _compare(self, fs: Path, below: Sequence[Path], diff_id: Digest, layer: Digest) -> Content:
        fresh = self._store.snapshots.prepare(self._lease)
        try:
            with self._store.blobs.open(layer) as blob:
                _, tar = open_layer(blob, limits=self._limits)
                apply_layer(
                    _Watched(tar, self._watch),
                    fresh.fs,
                    lowerdirs=below,
                    form=WhiteoutForm.OVERLAY_TRUSTED,
                    limits=self._limits,
                )
            wanted = diff_digest(self._entries(fresh.fs, below), nanoseconds=True)[0]
            if diff_digest(self._entries(fs, below), nanoseconds=True)[0] == wanted:
                return Content.SOUND
            # A reproducible build cuts the times in the archive, not those of the files.
            latest = max((e.mtime_ns for e in self._entries(fresh.fs, below)), default=0)
            cut = diff_digest(self._entries(fs, below), clamp_mtime=latest // _SECOND_NS)[0]
            return Content.SOUND if cut == diff_id else Content.CHANGED
        finally:
            self._store.snapshots.discard(fresh)

    def _entries(self, fs: Path, below: Sequence[Path]) -> Iterator[Entry]:
        entries = overlay_changes(fs, below)
        try:
            for entry in entries:
                self._watch(entry.size)
                yield entry
        finally:
            entries.close()


class _Watched:
    def __init__(self, source: Readable, watch: Callable[[int], None]) -> None:
        self._source = source
        self._watch = watch

    def read(self, size: int = -1, /) -> bytes:
        data = self._source.read(size)
        self._watch(len(data))
        return data
