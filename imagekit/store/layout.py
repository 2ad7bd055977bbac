"""The store as a whole: its parts joined, opened and closed together."""

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from imagekit.base.clock import Clock, SystemClock
from imagekit.oci.digest import Digest
from imagekit.store.blobs import BlobStore
from imagekit.store.cache_mounts import CacheMounts
from imagekit.store.cache_records import CacheRecords
from imagekit.store.containers import Containers
from imagekit.store.errors import StoreUnavailableError, clean_up_after, host_errors
from imagekit.store.layer_blobs import LayerBlobs
from imagekit.store.leases import Leases
from imagekit.store.locks import Locks
from imagekit.store.metadata import Database
from imagekit.store.owner import Owner
from imagekit.store.paths import StorePaths
from imagekit.store.recovery import Recovery, make_directories
from imagekit.store.removal import Trash
from imagekit.store.reserve import Reserve
from imagekit.store.snapshots import Snapshots
from imagekit.store.stat_cache import StatCache
from imagekit.store.tags import Tags

if TYPE_CHECKING:
    from imagekit.store.gc import Collector
    from imagekit.store.limits import Limits
    from imagekit.store.repair import Repairer
    from imagekit.store.verify import Verifier

SETTLE_AGE_S = 60.0


class Store:
    """Everything below one root directory. Safe for several threads and processes.

    Not to be used in a forked child: open it there again.
    """

    def __init__(self, root: Path, *, clock: Clock) -> None:
        owner = Owner.current()
        paths = StorePaths(root)
        trash = Trash(paths.temporary, owner)
        self.root = root
        self.paths = paths
        self.locks = Locks(paths.locks)
        self._database = Database(paths.database, self.locks)
        self.blobs = BlobStore(paths.content, temporary=paths.temporary, owner=str(owner))
        self.snapshots = Snapshots(self._database, paths.snapshots, trash, clock, owner)
        self.leases = Leases(self._database, owner, self.snapshots.remove_unfinished)
        self._trash = trash
        self._reserve = Reserve(paths.reserve)
        self._recovery = Recovery(
            database=self._database,
            paths=paths,
            snapshots=self.snapshots,
            leases=self.leases,
            locks=self.locks,
            trash=trash,
            owner=owner,
        )
        self.images = Tags(self._database, self.blobs, clock, self._recovery.tags_changed)
        self.layers = LayerBlobs(self._database)
        self.cache = CacheRecords(self._database, clock)
        self.stat_cache = StatCache(self._database, clock)
        self.containers = Containers(self._database, paths.containers, trash, clock)
        self.cache_mounts = CacheMounts(paths.cache_mounts)

    @classmethod
    def open(cls, root: Path, *, clock: Clock | None = None, spend_reserve: bool = False) -> Self:
        """Open the store at ``root``, creating it if it is not there; the caller closes it.

        What ended processes left is cleared away first. ``spend_reserve`` is for work that reads
        or makes space: on a full disk it may use what the store holds back, until ``close``.

        Raises:
            StoreUnavailableError: if the directory or the database cannot be used.
            StoreTooNewError: if a later release wrote it.

        """
        store = cls(root.absolute(), clock=clock or SystemClock())
        if not store.paths.database.exists():
            make_directories(store.paths)
            store.blobs.create()
        try:
            if spend_reserve:
                store._reserve.spend_if_full()
            try:
                store._start()
            except StoreUnavailableError:
                # A quota may be used up on a disk that has space.
                if not spend_reserve or not store._reserve.spend():
                    raise
                store._database.close()
                store._start()
        except BaseException:
            store.close()
            raise
        return store

    def _start(self) -> None:
        self._database.prepare()
        self._recovery.run()

    @functools.cached_property
    def gc(self) -> "Collector":
        """What finds and removes content that nothing needs; most commands never ask it."""
        from imagekit.store.gc import Collector

        return Collector(
            database=self._database,
            paths=self.paths,
            blobs=self.blobs,
            snapshots=self.snapshots,
            cache_mounts=self.cache_mounts,
            locks=self.locks,
            trash=self._trash,
            reserve=self._reserve,
            recovery=self._recovery,
            verifier=self.verifier,
        )

    @functools.cached_property
    def verifier(self) -> "Verifier":
        """What compares the database with the disk."""
        from imagekit.store.verify import Verifier

        return Verifier(self._database, self.blobs, self.paths)

    @functools.cached_property
    def repairer(self) -> "Repairer":
        """What takes damaged content away."""
        from imagekit.store.repair import Repairer

        return Repairer(self._database, self.blobs, self.snapshots, self.containers, self._recovery)

    @contextlib.contextmanager
    def temporary_directory(self, label: str) -> Iterator[Path]:
        """Yield a new empty directory on the store's file system; it goes with the block.

        If the process is killed, the next ``open`` removes it.
        """
        path = self._trash.new_path(label)
        with host_errors(f"create {path}"):
            path.mkdir(mode=0o700)
        try:
            yield path
        except BaseException as error:
            with clean_up_after(error):
                self._trash.remove(path)
            raise
        self._trash.remove(path)

    @property
    def has_grown(self) -> bool:
        """Whether content has come in through this object that was not here."""
        return self.blobs.has_grown or self.snapshots.has_grown

    def keep_within(self, limits: "Limits", *, spared: tuple[Digest, ...] = ()) -> str:
        """Prune to the limits; return a warning if they cannot be met. See the module ``limits``.

        From then on the store ``has_grown`` no longer.
        """
        from imagekit.store.limits import keep_within

        self.blobs.has_grown = self.snapshots.has_grown = False
        return keep_within(self.gc, limits, spared=spared)

    def settle(self) -> None:
        """Make new images durable; call it at the end of a pull, a build, an import.

        Blobs and database are on the disk when it returns. Snapshots can be made again from blobs,
        so they are left to the kernel, and flushed by a later command once they are a minute old.
        """
        self.blobs.sync()
        self.snapshots.flush(min_age_s=SETTLE_AGE_S)
        self._reserve.make()

    def flush(self) -> None:
        """Bring to the disk what was committed lazily; call it at the end of a build."""
        self.blobs.sync()
        self.snapshots.flush()

    def close(self) -> None:
        """Close the database; no other thread may be using the store. Safe to repeat."""
        self._database.close()
        self._reserve.restore()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
