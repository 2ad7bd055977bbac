"""Directory trees to entries: a whole tree, or what an overlay upper directory changed.

The tree may belong to a hostile container that still runs: every directory is opened relative to
its parent without following links, and file content is opened below the root without any link.
"""

import os
import stat
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import msgspec

from imagekit.base.fds import OwnedFd
from imagekit.layers import holes, overlay
from imagekit.layers.entry import Entry, EntryType
from imagekit.layers.errors import LayerContentError, host_error
from imagekit.linux import constants, files

CHUNK_BYTES = 1 << 20
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_BENEATH = constants.RESOLVE_BENEATH | constants.RESOLVE_NO_SYMLINKS
_TYPES = {
    stat.S_IFREG: EntryType.REGULAR,
    stat.S_IFDIR: EntryType.DIRECTORY,
    stat.S_IFLNK: EntryType.SYMLINK,
    stat.S_IFCHR: EntryType.CHARACTER,
    stat.S_IFBLK: EntryType.BLOCK,
    stat.S_IFIFO: EntryType.FIFO,
}
_DEFAULT_ROOT: tuple[int, int, int, tuple[tuple[str, bytes], ...]] = (0o755, 0, 0, ())


def tree_entries(root: Path, *, include_root: bool = False) -> Generator[Entry, None, None]:
    """Yield everything below ``root``, directories before what is in them, names in byte order.

    ``include_root`` begins with an entry for the root itself. Sockets are left out: tar has no
    member type for them. Names of the same inode come as hard links to the first of them.

    Raises:
        LayerContentError: a name begins with ``.wh.``, or a device is 0:0 (overlayfs' whiteout).
        LayerHostError: the tree cannot be read.

    """
    return _Walk(root, include_root=include_root).entries()


def overlay_changes(
    upperdir: Path, lowerdirs: Sequence[Path], *, userxattr: bool = False
) -> Generator[Entry, None, None]:
    """Yield what ``upperdir`` changes over ``lowerdirs`` (topmost first), as a layer says it.

    Order, hard links and sockets as in ``tree_entries``. Whiteouts become ``.wh.NAME`` and opaque
    directories get ``.wh..wh..opq``, each only where the lower layers have something to hide.
    Left out: files whose metadata and content equal the lower ones, and copied-up directories
    whose metadata is unchanged and below which nothing changed. A changed root directory (owner,
    mode, attributes) comes as the entry ``"."``.

    Raises:
        LayerContentError, LayerHostError: as ``tree_entries``.

    """
    opaque = overlay.OPAQUE_USER if userxattr else overlay.OPAQUE_TRUSTED
    return _Walk(upperdir, lowers=overlay.lower_roots(lowerdirs), opaque_xattr=opaque).entries()


class FileContent:
    """Content of a file below an open directory; keeps that directory open.

    The walk opens each file once, for its attributes and for its content. Whoever asks for the
    content before the walk goes on gets that descriptor, later ones an open of their own. With
    ``sparse`` holes come as zeros that were not read.
    """

    __slots__ = ("_fd", "_path", "_root", "_sparse")

    def __init__(self, root: OwnedFd, path: str, fd: int, *, sparse: bool = False) -> None:
        self._root = root
        self._path = path
        self._fd = fd
        self._sparse = sparse

    def chunks(self, size: int) -> Iterator[bytes]:
        """Yield ``size`` bytes of the file, which is opened without following any link."""
        fd, self._fd = self._fd, -1
        try:
            if fd < 0:
                fd = files.openat2(self._root.fileno(), self._path, _OPEN_FILE, resolve=_BENEATH)
            if self._sparse:
                yield from self._around_holes(fd, size)
            else:
                yield from self._read(fd, size)
        except OSError as error:
            raise host_error(f"read {self._path}", error) from error
        finally:
            if fd >= 0:
                os.close(fd)

    def _around_holes(self, fd: int, size: int) -> Iterator[bytes]:
        at = 0
        for offset, length in holes.data_ranges(fd, size):
            yield from holes.zeros(offset - at)
            os.lseek(fd, offset, os.SEEK_SET)
            yield from self._read(fd, length)
            at = offset + length
        if os.fstat(fd).st_size < size:
            raise self._shrunk()
        yield from holes.zeros(size - at)

    def _read(self, fd: int, size: int) -> Iterator[bytes]:
        while size > 0:
            chunk = os.read(fd, min(CHUNK_BYTES, size))
            if not chunk:
                raise self._shrunk()
            size -= len(chunk)
            yield chunk

    def _shrunk(self) -> LayerContentError:
        return LayerContentError(f"{self._path} became shorter while it was read")

    def release(self) -> None:
        """Close the walk's descriptor if nobody has asked for the content."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)


class _Frame(msgspec.Struct):
    """A directory being walked."""

    fd: OwnedFd
    prefix: str
    children: list[tuple[str, os.stat_result]]
    lowers: tuple[str, ...]
    unsaid: Entry | None
    """The directory's own entry while nothing in it has changed."""
    position: int = 0


class _Walk:
    def __init__(
        self,
        root: Path,
        *,
        lowers: tuple[str, ...] = (),
        opaque_xattr: str | None = None,
        include_root: bool = False,
    ) -> None:
        self._root_path = os.fspath(root)
        self._lowers = lowers
        self._opaque_xattr = opaque_xattr
        self._include_root = include_root
        self._first_names: dict[tuple[int, int], str] = {}
        self._stack: list[_Frame] = []
        self._content: FileContent | None = None

    def entries(self) -> Generator[Entry, None, None]:
        """Yield the entries; the generator owns all descriptors that contents do not."""
        try:
            root = OwnedFd(os.open(self._root_path, _OPEN_DIRECTORY & ~os.O_NOFOLLOW))
            content_root = ContentRoot(os.dup(root.fileno()))
        except OSError as error:
            raise host_error(f"read {self._root_path}", error) from error
        try:
            yield from self._root_entry(root)
            self._stack.append(_Frame(root, "", _children(root.fileno()), self._lowers, None))
            while self._stack:
                frame = self._stack[-1]
                if frame.position == len(frame.children):
                    self._stack.pop().fd.close()
                    continue
                name, status = frame.children[frame.position]
                frame.position += 1
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
        self, frame: _Frame, name: str, status: os.stat_result, content_root: "ContentRoot"
    ) -> Iterator[Entry]:
        path = frame.prefix + name
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFSOCK:
            return
        if name.startswith(overlay.WHITEOUT_PREFIX):
            raise LayerContentError(
                f"{path}: a layer cannot hold a file of this name",
                hint="Names that begin with .wh. mean a deletion; rename the file.",
            )
        lower = self._look_up(frame, name) if frame.lowers else None
        if overlay.is_whiteout(status):
            if self._opaque_xattr is None:
                raise LayerContentError(f"{path}: a layer cannot hold the device 0:0")
            if lower is not None:
                yield from self._say_parents()
                yield _marker(frame.prefix + overlay.WHITEOUT_PREFIX + name)
            return
        if kind == stat.S_IFDIR:
            yield from self._enter(frame, name, status, lower)
            return
        if status.st_nlink > 1:
            key = (status.st_dev, status.st_ino)
            first = self._first_names.setdefault(key, path)
            if first != path:
                yield from self._say_parents()
                yield _entry(path, status, (), link=first, kind=EntryType.HARDLINK)
                return
        entry = self._leaf(frame, name, status, content_root)
        if lower is not None and status.st_nlink == 1 and self._is_unchanged(entry, status, lower):
            return
        if frame.unsaid is not None:
            yield from self._say_parents()
        yield entry

    def _leaf(
        self, frame: _Frame, name: str, status: os.stat_result, content_root: "ContentRoot"
    ) -> Entry:
        path = frame.prefix + name
        if stat.S_ISREG(status.st_mode):
            fd = os.open(name, _OPEN_FILE, dir_fd=frame.fd.fileno())
            self._content = FileContent(content_root, path, fd, sparse=holes.is_sparse(status))
            return _entry(path, status, overlay.layer_xattrs(fd), content=self._content)
        link = ""
        if stat.S_ISLNK(status.st_mode):
            link = os.readlink(name, dir_fd=frame.fd.fileno())
        return _entry(path, status, (), link=link)

    def _enter(
        self,
        frame: _Frame,
        name: str,
        status: os.stat_result,
        lower: overlay.LowerEntry | None,
    ) -> Iterator[Entry]:
        fd = OwnedFd(os.open(name, _OPEN_DIRECTORY, dir_fd=frame.fd.fileno()))
        try:
            path = frame.prefix + name
            entry = _entry(path, status, overlay.layer_xattrs(fd.fileno()))
            lowers = lower.directories if lower is not None else ()
            opaque = bool(
                lowers
                and self._opaque_xattr is not None
                and overlay.is_opaque(fd.fileno(), self._opaque_xattr)
            )
            unchanged = bool(lowers) and not opaque and _same_directory(entry, lower)
            child = _Frame(
                fd,
                path + "/",
                _children(fd.fileno()),
                () if opaque else lowers,
                entry if unchanged else None,
            )
            if not unchanged:
                yield from self._say_parents()
                yield entry
                if opaque:
                    yield _marker(f"{path}/{overlay.OPAQUE_MARKER}")
        except BaseException:  # also when the consumer stops here
            fd.close()
            raise
        self._stack.append(child)

    def _say_parents(self) -> Iterator[Entry]:
        # From the innermost outwards only the unsaid tail needs a look.
        start = len(self._stack)
        while start > 0 and self._stack[start - 1].unsaid is not None:
            start -= 1
        for frame in self._stack[start:]:
            if frame.unsaid is not None:
                yield frame.unsaid
                frame.unsaid = None

    def _look_up(self, frame: _Frame, name: str) -> overlay.LowerEntry | None:
        assert self._opaque_xattr is not None
        return overlay.look_up(frame.lowers, name, self._opaque_xattr)

    def _root_entry(self, root: OwnedFd) -> Iterator[Entry]:
        entry = _entry(".", os.fstat(root.fileno()), overlay.layer_xattrs(root.fileno()))
        if self._include_root:
            yield entry
        elif self._opaque_xattr is not None:
            below = _DEFAULT_ROOT
            if self._lowers:
                status = os.stat(self._lowers[0])
                below = (
                    stat.S_IMODE(status.st_mode),
                    status.st_uid,
                    status.st_gid,
                    overlay.layer_xattrs(self._lowers[0]),
                )
            if (entry.mode, entry.uid, entry.gid, entry.xattrs) != below:
                yield entry

    def _is_unchanged(
        self, entry: Entry, status: os.stat_result, lower: overlay.LowerEntry
    ) -> bool:
        other = lower.status
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
                    and entry.xattrs == overlay.layer_xattrs(lower.path)
                    and _same_content(entry, lower.path)
                )
            case EntryType.SYMLINK:
                return entry.link == os.readlink(lower.path)
            case _:
                return status.st_rdev == other.st_rdev


class ContentRoot(OwnedFd):
    """The root of a tree, open as long as an entry's content may be asked for."""

    def __del__(self) -> None:
        self.close()


def _children(fd: int) -> list[tuple[str, os.stat_result]]:
    with os.scandir(fd) as found:
        children = [(item.name, item.stat(follow_symlinks=False)) for item in found]
    children.sort(key=_name_bytes)
    return children


def _name_bytes(child: tuple[str, os.stat_result]) -> bytes:
    return os.fsencode(child[0])


def _entry(
    path: str,
    status: os.stat_result,
    xattrs: tuple[tuple[str, bytes], ...],
    *,
    link: str = "",
    content: FileContent | None = None,
    kind: EntryType | None = None,
) -> Entry:
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


def _same_directory(entry: Entry, lower: overlay.LowerEntry | None) -> bool:
    return (
        lower is not None
        and entry.mode == stat.S_IMODE(lower.status.st_mode)
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
