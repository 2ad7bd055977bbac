"""What changed in a plain tree since it was scanned, as a layer says it."""

import os
import stat
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from imagekit.base.fds import OwnedFd
from imagekit.layers import overlay
from imagekit.layers.content import BENEATH
from imagekit.layers.entry import Entry
from imagekit.layers.errors import LayerContentError, host_error
from imagekit.layers.scan import OWN_RECORD, RECORD, TreeState, proof, scan
from imagekit.layers.walk import OPEN_DIRECTORY, OPEN_ROOT, Child, Level, Walk
from imagekit.linux import files

_MODE = 0
_LINKS = 3
_INODE = 4
_SIZE = 5


def changes_since(
    root: Path, before: TreeState, after: TreeState | None = None
) -> Generator[Entry, None, None]:
    """Yield what a layer must say of ``root`` to make it from what it was ``before``.

    ``after`` is its present state, scanned with the same ``exclude``; it can serve as ``before``
    of the next step. Without it the tree is scanned here. Nobody may write to the tree meanwhile.

    Order, hard links and sockets as in ``overlay_changes``; so are the parents of what changed,
    named even if they themselves did not change, for programs that unpack a layer by itself. What
    differs, because the old content is gone:

    - A file whose inode, size, owner, mode, times or number of names changed comes whole, also if
      it was rewritten with what it held before, as with docker. All names of such a file come: it
      is whole under the first, a hard link under the others.
    - A directory that was replaced by another is no opaque one: what it lost is deleted by name.

    Raises:
        LayerContentError: as ``tree_entries``; or the tree changed while it was read.
        LayerHostError: the tree cannot be read.

    """
    if after is None:
        after = scan(root, exclude=map(os.fsdecode, before.exclude))
    elif after.exclude != before.exclude:
        raise ValueError("the two scans did not look at the same part of the tree")
    try:
        plan = _Comparison(root, before, after).plan()
    except OSError as error:
        raise host_error(f"read {root}", error) from error
    yield from Walk(root, _EarlierScan(plan, before, after)).entries()


class _Plan(msgspec.Struct):
    """What the walk visits, by paths relative to the root."""

    said: set[bytes]
    """What changed or is new."""
    replaced: set[bytes]
    """Of these, what the lower layers have something for."""
    gone: set[bytes]
    names: dict[bytes, set[bytes]]
    """What to visit in a directory that was there before; others are visited whole."""

    def visit(self, path: bytes) -> None:
        """Have the walk come to ``path``, through all of its parents."""
        while path:
            parent, _, name = path.rpartition(b"/")
            names = self.names.setdefault(parent, set())
            if name in names:
                return
            names.add(name)
            path = parent


class _Comparison:
    def __init__(self, root: Path, before: TreeState, after: TreeState) -> None:
        self._root = root
        self._before = before
        self._after = after
        self._plan = _Plan(said=set(), replaced=set(), gone=set(), names={})
        self._linked: set[int] = set()
        """Inodes of several names, one of which is said."""

    def plan(self) -> _Plan:
        before, plan = self._before.directories, self._plan
        for path, directory in self._after.directories.items():
            earlier = before.get(path)
            if earlier is None:  # its parent has it as a new name
                for record in directory.by_name().values():
                    self._note_link(record)
                continue
            if not _same_own(path, earlier.own, directory.own):
                plan.said.add(path)
                plan.visit(path)
            if (earlier.names, earlier.records) != (directory.names, directory.records):
                self._compare_names(path, earlier.by_name(), directory.by_name())
        self._check_proofs()
        if self._linked:
            self._say_all_names()
        return plan

    def _compare_names(
        self, path: bytes, earlier: dict[bytes, bytes], present: dict[bytes, bytes]
    ) -> None:
        prefix = path + b"/" if path else b""
        for name, record in present.items():
            old = earlier.get(name)
            if old != record:
                self._say(prefix + name, record, old)
        for name in earlier.keys() - present.keys():
            if _is_in_a_layer(name, earlier[name]) and prefix + name not in self._after.mounts:
                self._plan.gone.add(prefix + name)
                self._plan.visit(prefix + name)

    def _say(self, path: bytes, record: bytes, old: bytes | None) -> None:
        plan = self._plan
        plan.said.add(path)
        if old is not None and _is_in_a_layer(path.rpartition(b"/")[2], old):
            plan.replaced.add(path)
        plan.visit(path)
        self._note_link(record)

    def _note_link(self, record: bytes) -> None:
        fields = RECORD.unpack(record)
        if fields[_LINKS] > 1:
            self._linked.add(fields[_INODE])

    def _check_proofs(self) -> None:
        """Find what was changed in the tick in which it had been scanned."""
        by_parent: dict[bytes, list[tuple[bytes, bytes]]] = {}
        for path, expected in self._before.proofs.items():
            if path not in self._plan.said:
                parent, _, name = path.rpartition(b"/")
                by_parent.setdefault(parent, []).append((name, expected))
        for parent, expectations in by_parent.items():
            directory = self._after.directories.get(parent)
            if directory is not None:
                self._check_directory(parent, directory.by_name(), expectations)

    def _check_directory(
        self, path: bytes, present: dict[bytes, bytes], expectations: list[tuple[bytes, bytes]]
    ) -> None:
        prefix = path + b"/" if path else b""
        with _opened(self._root, path) as fd:
            for name, expected in expectations:
                record = present.get(name)
                if record is None:
                    continue  # gone
                fields = RECORD.unpack(record)
                if proof(fd, os.fsdecode(name), fields[_MODE]) != expected:
                    self._say(prefix + name, record, record)

    def _say_all_names(self) -> None:
        """Say a file under all of its names if it is said under one.

        When a name was moved in the tick of the scan, the others have the same record as before.
        """
        for path, directory in self._after.directories.items():
            if path not in self._before.directories:
                continue
            for name, record in directory.by_name().items():
                fields = RECORD.unpack(record)
                if fields[_LINKS] > 1 and fields[_INODE] in self._linked:
                    child = path + b"/" + name if path else name
                    if child not in self._plan.said:
                        self._say(child, record, record)


class _EarlierScan:
    """The baseline of a plain tree: what the comparison of two scans found.

    A place is the path of a directory; what is found is the path of something that is replaced.
    """

    has_whiteouts = False

    def __init__(self, plan: _Plan, before: TreeState, after: TreeState) -> None:
        self._plan = plan
        self._before = before
        self._after = after

    def root(self, _fd: int, _entry: Entry) -> Level[bytes]:
        return Level(b"", unchanged=b"" not in self._plan.said)

    def children(self, place: bytes | None, fd: int) -> Sequence[Child]:
        assert place is not None
        if place in self._before.directories:
            names = sorted(self._plan.names.get(place, ()))
        else:
            names = self._after.directories[place].all_names()
        prefix = place + b"/" if place else b""
        children: list[Child] = []
        for name in names:
            text = os.fsdecode(name)
            if prefix + name in self._plan.gone:
                children.append((text, None))
            else:
                children.append((text, os.stat(text, dir_fd=fd, follow_symlinks=False)))
        return children

    def look_up(self, place: bytes, name: str) -> bytes | None:
        path = os.fsencode(name)
        if place:
            path = place + b"/" + path
        return path if path in self._plan.replaced else None

    def directory(self, _found: bytes | None, _fd: int, entry: Entry) -> Level[bytes]:
        path = os.fsencode(entry.path)
        if path not in self._after.directories:
            raise LayerContentError(f"{entry.path} changed while it was read")
        unchanged = path in self._before.directories and path not in self._plan.said
        return Level(path, unchanged=unchanged)

    def is_unchanged(self, _found: bytes, _entry: Entry, _status: os.stat_result) -> bool:
        return False


@contextmanager
def _opened(root: Path, path: bytes) -> Iterator[int]:
    """Open a directory below the root without following any link."""
    with OwnedFd(os.open(root, OPEN_ROOT)) as fd:
        if not path:
            yield fd.fileno()
            return
        inner = files.openat2(fd.fileno(), path, OPEN_DIRECTORY, resolve=BENEATH)
        with OwnedFd(inner) as directory:
            yield directory.fileno()


def _same_own(path: bytes, earlier: bytes, present: bytes) -> bool:
    if path:
        return earlier == present
    # The time of the root changes with every mount point that is made in it.
    old, new = OWN_RECORD.unpack(earlier), OWN_RECORD.unpack(present)
    return old[:3] == new[:3] and old[4] == new[4]


def _is_in_a_layer(name: bytes, record: bytes) -> bool:
    """Tell whether a layer can have brought what had this record."""
    fields = RECORD.unpack(record)
    return not (
        stat.S_ISSOCK(fields[_MODE])
        or name.startswith(os.fsencode(overlay.WHITEOUT_PREFIX))
        or (stat.S_ISCHR(fields[_MODE]) and fields[_SIZE] == 0)
    )
