"""One walk for every kind of difference: a tree against nothing, lower layers, an earlier scan.

The tree may belong to a hostile container that still runs: every directory is opened relative to
its parent without following links, and file content is opened below the root without any link.
"""

import os
import stat
from collections.abc import Collection, Generator, Iterator, Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import msgspec

from imagekit.base.fds import OwnedFd
from imagekit.layers import holes, overlay
from imagekit.layers.content import OPEN_FILE, ContentRoot, FileContent
from imagekit.layers.entry import Entry, EntryType
from imagekit.layers.errors import LayerContentError, host_error

OPEN_ROOT = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
OPEN_DIRECTORY = OPEN_ROOT | os.O_NOFOLLOW
_TYPES = {
    stat.S_IFREG: EntryType.REGULAR,
    stat.S_IFDIR: EntryType.DIRECTORY,
    stat.S_IFLNK: EntryType.SYMLINK,
    stat.S_IFCHR: EntryType.CHARACTER,
    stat.S_IFBLK: EntryType.BLOCK,
    stat.S_IFIFO: EntryType.FIFO,
}

Child = tuple[str, os.stat_result | None]
"""A name in a directory and what it is; None for a name that is there no more."""

Place = TypeVar("Place")
Found = TypeVar("Found")


class Level(msgspec.Struct, Generic[Place], frozen=True):
    """A directory of the tree beside the baseline's: what the walk must say of it.

    ``place`` is where the baseline has the directory, None where everything in it is new.
    ``opaque`` tells that the tree hides what the baseline has in it.
    """

    place: Place | None = None
    unchanged: bool = False
    opaque: bool = False


class Baseline(Protocol[Place, Found]):
    """What a tree is compared with.

    ``Place`` stands for a directory of it and ``Found`` for one object in such a directory.
    """

    has_whiteouts: bool
    """Whether a device 0:0 in the tree is overlayfs' mark for a deletion."""

    def root(self, fd: int, entry: Entry) -> Level[Place]:
        """Compare the root."""
        ...

    def children(self, place: Place | None, fd: int) -> Sequence[Child]:
        """Return what is of interest in an open directory, in the order of the names' bytes."""
        ...

    def look_up(self, place: Place, name: str) -> Found | None:
        """Return what the baseline has under ``name``."""
        ...

    def directory(self, found: Found | None, fd: int, entry: Entry) -> Level[Place]:
        """Compare a directory of the tree with what the baseline has under its name."""
        ...

    def is_unchanged(self, found: Found, entry: Entry, status: os.stat_result) -> bool:
        """Tell whether something that is no directory equals what the baseline has."""
        ...


class _Frame(msgspec.Struct, Generic[Place]):
    """A directory being walked."""

    fd: OwnedFd
    prefix: str
    children: Sequence[Child]
    place: Place | None
    unsaid: Entry | None
    """The directory's own entry while nothing in it has changed."""
    position: int = 0


class Walk(Generic[Place, Found]):
    """Entries for what a tree has and its baseline has not."""

    def __init__(self, root: Path, baseline: Baseline[Place, Found]) -> None:
        self._root_path = os.fspath(root)
        self._baseline = baseline
        self._first_names: dict[tuple[int, int], str] = {}
        self._stack: list[_Frame[Place]] = []
        self._content: FileContent | None = None

    def entries(self) -> Generator[Entry, None, None]:
        """Yield the entries; the generator owns all descriptors that contents do not.

        Raises:
            LayerContentError: the tree holds what a layer cannot express.
            LayerHostError: the tree cannot be read.

        """
        try:
            root = OwnedFd(os.open(self._root_path, OPEN_ROOT))
            content_root = ContentRoot(os.dup(root.fileno()))
        except OSError as error:
            raise host_error(f"read {self._root_path}", error) from error
        try:
            entry = make_entry(".", os.fstat(root.fileno()), overlay.layer_xattrs(root.fileno()))
            level = self._baseline.root(root.fileno(), entry)
            if not level.unchanged:
                yield entry
            children = self._baseline.children(level.place, root.fileno())
            self._stack.append(_Frame(root, "", children, level.place, None))
            while self._stack:
                frame = self._stack[-1]
                if frame.position == len(frame.children):
                    self._stack.pop().fd.close()
                    continue
                name, status = frame.children[frame.position]
                frame.position += 1
                if (  # most files are new ones, of which there is nothing to ask
                    frame.place is None
                    and frame.unsaid is None
                    and status is not None
                    and status.st_nlink == 1
                    and stat.S_ISREG(status.st_mode)
                    and not name.startswith(overlay.WHITEOUT_PREFIX)
                ):
                    yield self._leaf(frame, name, status, content_root)
                else:
                    yield from self._visit(frame, name, status, content_root)
                if self._content is not None:
                    self._content.release()
                    self._content = None
        except OSError as error:
            where = self._stack[-1].prefix if self._stack else ""
            raise host_error(f"read {self._root_path}/{where}", error) from error
        finally:
            if self._content is not None:
                self._content.release()
            for frame in self._stack:
                frame.fd.close()
            root.close()

    def _visit(
        self,
        frame: _Frame[Place],
        name: str,
        status: os.stat_result | None,
        content_root: ContentRoot,
    ) -> Iterator[Entry]:
        path = frame.prefix + name
        if status is None:
            yield from self._say_gone(frame, name)
            return
        kind = stat.S_IFMT(status.st_mode)
        found = None
        if frame.place is not None:
            found = self._baseline.look_up(frame.place, name)
        if kind == stat.S_IFSOCK:  # tar has no member type for it
            if found is not None:
                yield from self._say_gone(frame, name)
            return
        if name.startswith(overlay.WHITEOUT_PREFIX):
            raise LayerContentError(
                f"{path}: a layer cannot hold a file of this name",
                hint="Names that begin with .wh. mean a deletion; rename the file.",
            )
        if overlay.is_whiteout(status):
            if not self._baseline.has_whiteouts:
                raise LayerContentError(f"{path}: a layer cannot hold the device 0:0")
            if found is not None:
                yield from self._say_gone(frame, name)
            return
        if kind == stat.S_IFDIR:
            yield from self._enter(frame, name, status, found)
            return
        if status.st_nlink > 1:
            key = (status.st_dev, status.st_ino)
            first = self._first_names.setdefault(key, path)
            if first != path:
                yield from self._say_parents()
                yield make_entry(path, status, (), link=first, kind=EntryType.HARDLINK)
                return
        entry = self._leaf(frame, name, status, content_root)
        if (
            found is not None
            and status.st_nlink == 1
            and self._baseline.is_unchanged(found, entry, status)
        ):
            return
        if frame.unsaid is not None:
            yield from self._say_parents()
        yield entry

    def _leaf(
        self, frame: _Frame[Place], name: str, status: os.stat_result, content_root: ContentRoot
    ) -> Entry:
        path = frame.prefix + name
        if stat.S_ISREG(status.st_mode):
            fd = os.open(name, OPEN_FILE, dir_fd=frame.fd.fileno())
            self._content = FileContent(content_root, path, fd, sparse=holes.is_sparse(status))
            return make_entry(path, status, overlay.layer_xattrs(fd), content=self._content)
        link = ""
        if stat.S_ISLNK(status.st_mode):
            link = os.readlink(name, dir_fd=frame.fd.fileno())
        return make_entry(path, status, (), link=link)

    def _enter(
        self, frame: _Frame[Place], name: str, status: os.stat_result, found: Found | None
    ) -> Iterator[Entry]:
        fd = OwnedFd(os.open(name, OPEN_DIRECTORY, dir_fd=frame.fd.fileno()))
        try:
            path = frame.prefix + name
            entry = make_entry(path, status, overlay.layer_xattrs(fd.fileno()))
            level = self._baseline.directory(found, fd.fileno(), entry)
            children = self._baseline.children(level.place, fd.fileno())
            unsaid = entry if level.unchanged else None
            child = _Frame(fd, path + "/", children, level.place, unsaid)
            if not level.unchanged:
                yield from self._say_parents()
                yield entry
                if level.opaque:
                    yield _marker(f"{path}/{overlay.OPAQUE_MARKER}")
        except BaseException:  # also when the consumer stops here
            fd.close()
            raise
        self._stack.append(child)

    def _say_gone(self, frame: _Frame[Place], name: str) -> Iterator[Entry]:
        yield from self._say_parents()
        yield _marker(frame.prefix + overlay.WHITEOUT_PREFIX + name)

    def _say_parents(self) -> Iterator[Entry]:
        # From the innermost outwards only the unsaid tail needs a look.
        start = len(self._stack)
        while start > 0 and self._stack[start - 1].unsaid is not None:
            start -= 1
        for frame in self._stack[start:]:
            if frame.unsaid is not None:
                yield frame.unsaid
                frame.unsaid = None


def list_children(fd: int) -> list[tuple[str, os.stat_result]]:
    """Return what is in an open directory, links not followed, in the order of names' bytes."""
    with os.scandir(fd) as found:
        children = {item.name: item.stat(follow_symlinks=False) for item in found}
    return [(name, children[name]) for name in sorted_names(children)]


def sorted_names(names: Collection[str]) -> list[str]:
    """Return names of files in the order of their bytes."""
    # Code points have the order of their UTF-8, but what is no UTF-8 stands among them as
    # surrogates.
    key = None if "".join(names).isascii() else os.fsencode
    return sorted(names, key=key)


def make_entry(
    path: str,
    status: os.stat_result,
    xattrs: tuple[tuple[str, bytes], ...],
    *,
    link: str = "",
    content: FileContent | None = None,
    kind: EntryType | None = None,
) -> Entry:
    """Return what ``lstat`` says of a path, as an entry; sizes are of content only."""
    mode = status.st_mode
    kind = kind or _TYPES[stat.S_IFMT(mode)]
    device = (0, 0)
    if kind is EntryType.CHARACTER or kind is EntryType.BLOCK:
        device = (os.major(status.st_rdev), os.minor(status.st_rdev))
    return Entry(
        path=path,
        type=kind,
        mode=stat.S_IMODE(mode),
        uid=status.st_uid,
        gid=status.st_gid,
        mtime_ns=status.st_mtime_ns,
        size=status.st_size if content is not None else 0,
        link=link,
        device=device,
        xattrs=xattrs,
        content=content,
    )


def _marker(path: str) -> Entry:
    """Return the empty file that stands for a deletion.

    Its time is the epoch: all whiteouts of an overlay mount share one inode, whose own time says
    nothing and would make two equal layers differ.
    """
    return Entry(path=path, type=EntryType.REGULAR, mode=0, uid=0, gid=0, mtime_ns=0)
