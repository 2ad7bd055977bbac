"""Directory trees to entries: a whole tree, or what an overlay upper directory changed."""

import os
import stat
from collections.abc import Generator, Sequence
from pathlib import Path

from imagekit.layers import overlay
from imagekit.layers.entry import Entry, EntryType
from imagekit.layers.walk import Child, Level, Walk, list_children

_DEFAULT_ROOT: tuple[int, int, int, tuple[tuple[str, bytes], ...]] = (0o755, 0, 0, ())


def tree_entries(root: Path, *, include_root: bool = False) -> Generator[Entry, None, None]:
    """Yield everything below ``root``, directories before what is in them, names in byte order.

    ``include_root`` begins with an entry for the root itself. Sockets are left out: tar has no
    member type for them. Names of the same inode come as hard links to the first of them.

    Raises:
        LayerContentError: a name begins with ``.wh.``, or a device is 0:0 (overlayfs' whiteout).
        LayerHostError: the tree cannot be read.

    """
    return Walk(root, _Nothing(include_root=include_root)).entries()


def overlay_changes(
    upperdir: Path, lowerdirs: Sequence[Path], *, userxattr: bool = False
) -> Generator[Entry, None, None]:
    """Yield what ``upperdir`` changes over ``lowerdirs`` (topmost first), as a layer says it.

    Order and hard links as in ``tree_entries``. Whiteouts become ``.wh.NAME`` and opaque
    directories get ``.wh..wh..opq``, each only where the lower layers have something to hide; so
    does a socket, which is left out otherwise.
    Left out: files whose metadata and content equal the lower ones, and copied-up directories
    whose metadata is unchanged and below which nothing changed. A changed root directory (owner,
    mode, attributes) comes as the entry ``"."``.

    Raises:
        LayerContentError, LayerHostError: as ``tree_entries``.

    """
    opaque = overlay.OPAQUE_USER if userxattr else overlay.OPAQUE_TRUSTED
    return Walk(upperdir, _LowerLayers(overlay.lower_roots(lowerdirs), opaque)).entries()


class _Nothing:
    """The baseline of a whole tree: all is new."""

    has_whiteouts = False

    def __init__(self, *, include_root: bool) -> None:
        self._root: Level[None] = Level(unchanged=not include_root)

    def root(self, _fd: int, _entry: Entry) -> Level[None]:
        return self._root

    def children(self, _place: None, fd: int) -> Sequence[Child]:
        return list_children(fd)

    def look_up(self, _place: None, _name: str) -> None:
        return None

    def directory(self, _found: None, _fd: int, _entry: Entry) -> Level[None]:
        return Level()

    def is_unchanged(self, _found: None, _entry: Entry, _status: os.stat_result) -> bool:
        return False


class _LowerLayers:
    """The baseline of an overlay's upper directory: the union of its lower layers.

    A place is the host paths of the directories that merge, topmost first.
    """

    has_whiteouts = True

    def __init__(self, roots: tuple[str, ...], opaque_xattr: str) -> None:
        self._roots = roots
        self._opaque_xattr = opaque_xattr

    def root(self, _fd: int, entry: Entry) -> Level[tuple[str, ...]]:
        below = _DEFAULT_ROOT
        if self._roots:
            status = os.stat(self._roots[0])
            below = (
                stat.S_IMODE(status.st_mode),
                status.st_uid,
                status.st_gid,
                overlay.layer_xattrs(self._roots[0]),
            )
        unchanged = (entry.mode, entry.uid, entry.gid, entry.xattrs) == below
        return Level(self._roots or None, unchanged=unchanged)

    def children(self, _place: tuple[str, ...] | None, fd: int) -> Sequence[Child]:
        return list_children(fd)

    def look_up(self, place: tuple[str, ...], name: str) -> overlay.LowerEntry | None:
        return overlay.look_up(place, name, self._opaque_xattr)

    def directory(
        self, found: overlay.LowerEntry | None, fd: int, entry: Entry
    ) -> Level[tuple[str, ...]]:
        if found is None or not found.directories:
            return Level()
        if overlay.is_opaque(fd, self._opaque_xattr):
            return Level(opaque=True)
        return Level(found.directories, unchanged=_same_directory(entry, found))

    def is_unchanged(self, found: overlay.LowerEntry, entry: Entry, status: os.stat_result) -> bool:
        other = found.status
        if (
            status.st_mode != other.st_mode
            or status.st_mtime_ns != other.st_mtime_ns
            or status.st_uid != other.st_uid
            or status.st_gid != other.st_gid
        ):
            return False
        match entry.type:
            case EntryType.REGULAR:
                return (
                    status.st_size == other.st_size
                    and entry.xattrs == overlay.layer_xattrs(found.path)
                    and _same_content(entry, found.path)
                )
            case EntryType.SYMLINK:
                return entry.link == os.readlink(found.path)
            case _:
                return status.st_rdev == other.st_rdev


def _same_directory(entry: Entry, lower: overlay.LowerEntry) -> bool:
    return (
        entry.mode == stat.S_IMODE(lower.status.st_mode)
        and entry.uid == lower.status.st_uid
        and entry.gid == lower.status.st_gid
        and entry.mtime_ns == lower.status.st_mtime_ns
        and entry.xattrs == overlay.layer_xattrs(lower.path)
    )


def _same_content(entry: Entry, lower_path: str) -> bool:
    if entry.size == 0 or entry.content is None:
        return True
    with open(lower_path, "rb", buffering=0) as lower:
        return all(
            lower_piece == chunk
            for chunk in entry.content.chunks(entry.size)
            for lower_piece in (_read_exactly(lower.fileno(), len(chunk)),)
        )


def _read_exactly(fd: int, size: int) -> bytes:
    data = os.read(fd, size)
    while len(data) < size:
        more = os.read(fd, size - len(data))
        if not more:
            break
        data += more
    return data
