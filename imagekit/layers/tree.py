"""Finding directories for extraction: one tree to write to, lower layers seen through it.

Every step is a single name relative to an open directory. Links in the middle of a path are
resolved by hand inside the root, as the container would resolve them, so a link can lead
anywhere in the tree but never out of it.
"""

import os
import stat

from imagekit.layers import overlay
from imagekit.layers.entry import Entry, EntryType
from imagekit.layers.errors import LayerFormatError, LayerLimitError, UnsafeLayerError, shown
from imagekit.layers.removal import OPEN_DIRECTORY, remove

MAX_LINKS = 40
MAX_OPEN = 128
MAX_PATH_BYTES = 4095


class Directory:
    """An open directory of the tree, closed when nobody holds it any more.

    ``path`` is its real place below the root ("" for the root itself) without any link in it;
    ``lowers`` are the host directories of lower layers that merge into it.
    """

    __slots__ = ("_owns_fd", "fd", "lowers", "path")

    def __init__(
        self, fd: int, path: str, lowers: tuple[str, ...], *, owns_fd: bool = True
    ) -> None:
        self.fd = fd
        self.path = path
        self.lowers = lowers
        self._owns_fd = owns_fd

    def __del__(self) -> None:
        # By reference count, because the tree forgets directories while a caller still works in
        # one; a descriptor closed too early could have become another file's.
        if self._owns_fd:
            os.close(self.fd)

    def child_path(self, name: str) -> str:
        """Return the real path of a name in this directory."""
        return f"{self.path}/{name}" if self.path else name


def clean_path(path: str) -> str:
    """Return a member's path relative to the root, "" for the root itself.

    Raises:
        UnsafeLayerError: it climbs out with ``..``.

    """
    if path[0] not in "/." and path[-1] != "/" and "/." not in path and "//" not in path:
        return path
    parts: list[str] = []
    for part in path.split("/"):
        if part in ("", "."):
            continue
        if part != "..":
            parts.append(part)
        elif parts:
            parts.pop()
        else:
            raise UnsafeLayerError(f"{path!r} leads out of the directory to unpack into")
    return "/".join(parts)


class Tree:
    """The directory that is written to, merged with the lower layers below it.

    ``opaque_xattr`` is None for a plain tree. ``parent`` gives the metadata of directories that
    have to be made and that no lower layer has.
    """

    def __init__(
        self, root_fd: int, *, lowers: tuple[str, ...], opaque_xattr: str | None, parent: Entry
    ) -> None:
        self.root = Directory(root_fd, "", lowers, owns_fd=False)
        self.opaque_xattr = opaque_xattr
        self._parent = parent
        self._open: dict[str, Directory] = {}
        self._known: dict[str, Directory] = {}
        self.metadata: dict[str, Entry] = {}
        """What to set on directories, by real path, when everything in them is written."""
        self._copied: set[str] = set()
        self._opaque: set[str] = set()

    def directory(self, path: str, *, create: bool) -> Directory | None:
        """Return the directory that ``path`` (clean) leads to, links resolved inside the root.

        What exists only in a lower layer is first made in the tree with its metadata. What exists
        nowhere is made when ``create``, else the answer is None.

        Raises:
            LayerFormatError: something on the way is not a directory.

        """
        if not path:
            return self.root
        known = self._known.get(path)
        if known is not None:
            return known
        current, names = self._start(path)
        links = 0
        while names:
            name = names.pop()
            if name in ("", "."):
                continue
            if name == "..":
                current = self._parent_of(current)
                continue
            step = self._step(current, name, create=create)
            if step is None:
                return None
            if isinstance(step, Directory):
                current = step
                continue
            links += 1
            if links > MAX_LINKS:
                raise LayerFormatError(f"{shown(path)}: too many links")
            names.extend(reversed(step.split("/")))
            if step.startswith("/"):
                current = self.root
        self._known[path] = current
        return current

    def copied(self, path: str) -> None:
        """Note that what is at a real path came from a lower layer, not from the archive."""
        self._copied.add(path)

    def claim(self, path: str) -> None:
        """Note that the archive itself has something at a real path."""
        while path in self._copied:
            self._copied.remove(path)
            path = path.rpartition("/")[0]

    def is_only_copied(self, path: str) -> bool:
        """Tell whether something is here only because a lower layer has it."""
        return path in self._copied

    def lower(self, directory: Directory, name: str) -> overlay.LowerEntry | None:
        """Return what the lower layers have under ``name``."""
        if not directory.lowers or self.opaque_xattr is None:
            return None
        return overlay.look_up(directory.lowers, name, self.opaque_xattr)

    def set_opaque(self, fd: int, path: str) -> None:
        """Mark an open directory of the tree as hiding what is below it; only overlay trees.

        What was copied into it from lower layers goes, and so do whiteouts: they have nothing to
        hide any more, and overlayfs would list them.
        """
        assert self.opaque_xattr is not None
        if path in self._opaque:
            return  # nothing that would have to go can have come into it since
        self._opaque.add(path)
        os.setxattr(fd, self.opaque_xattr, b"y")
        stack = [(os.dup(fd), self._clear_hidden(fd, path))]
        try:
            while stack:
                folder, paths = stack[-1]
                if paths:
                    inner = paths.pop()
                    name = inner.rpartition("/")[2]
                    inner_fd = os.open(name, OPEN_DIRECTORY, dir_fd=folder)
                    stack.append((inner_fd, []))
                    stack[-1][1].extend(self._clear_hidden(inner_fd, inner))
                else:
                    os.close(stack.pop()[0])
        finally:
            for folder, _ in stack:
                os.close(folder)
        self.reopen()

    def _clear_hidden(self, fd: int, path: str) -> list[str]:
        """Remove what has no place in a directory that hides all below; return its directories."""
        directories = []
        with os.scandir(fd) as found:
            items = [(item.name, item.stat(follow_symlinks=False)) for item in found]
        for name, status in items:
            child = f"{path}/{name}" if path else name
            if child in self._copied or overlay.is_whiteout(status):
                self._remove(fd, path, name)
            elif stat.S_ISDIR(status.st_mode):
                directories.append(child)
        return directories

    def remove(self, directory: Directory, name: str) -> None:
        """Remove ``name`` with all that is in it, and what is known about it."""
        self._remove(directory.fd, directory.path, name)
        self.reopen()

    def _remove(self, fd: int, path: str, name: str) -> None:
        def gone(inner: str) -> None:
            removed = f"{path}/{inner}" if path else inner
            self.metadata.pop(removed, None)
            self._copied.discard(removed)
            self._opaque.discard(removed)

        remove(fd, name, gone=gone)

    def reopen(self) -> None:
        """Let go of all open directories; they are looked up anew."""
        self._known.clear()
        self._open.clear()

    def _start(self, path: str) -> tuple[Directory, list[str]]:
        """Return the nearest directory known on the way and the names after it, last first."""
        prefix = path
        rest: list[str] = []
        while prefix:
            known = self._known.get(prefix)
            if known is not None:
                return known, rest
            prefix, _, name = prefix.rpartition("/")
            rest.append(name)
        return self.root, rest

    def _parent_of(self, directory: Directory) -> Directory:
        path = directory.path.rpartition("/")[0]
        current = self.root
        for name in path.split("/") if path else ():
            step = self._step(current, name, create=False)
            assert isinstance(step, Directory)
            current = step
        return current

    def _step(self, directory: Directory, name: str, *, create: bool) -> Directory | str | None:
        """Return the sub-directory, or the target of a link, or None for nothing."""
        path = directory.child_path(name)
        found = self._open.get(path)
        if found is not None:
            return found
        over_whiteout = False
        try:
            fd = os.open(name, OPEN_DIRECTORY, dir_fd=directory.fd)
        except FileNotFoundError:
            pass
        except NotADirectoryError:
            status = os.lstat(name, dir_fd=directory.fd)
            if stat.S_ISLNK(status.st_mode):
                return os.readlink(name, dir_fd=directory.fd)
            if self.opaque_xattr is None or not overlay.is_whiteout(status):
                raise LayerFormatError(f"{shown(path)} is not a directory") from None
            over_whiteout = True
        else:
            return self._remember(fd, path, self._lowers_under(directory, name, fd))
        lower = None if over_whiteout else self.lower(directory, name)
        if lower is not None:
            if stat.S_ISLNK(lower.status.st_mode):
                return os.readlink(lower.path)
            if not stat.S_ISDIR(lower.status.st_mode):
                raise LayerFormatError(f"{shown(path)} is not a directory")
        elif not create:
            return None
        return self._make(directory, name, lower, over_whiteout=over_whiteout)

    def _make(
        self,
        directory: Directory,
        name: str,
        lower: overlay.LowerEntry | None,
        *,
        over_whiteout: bool,
    ) -> Directory:
        path = directory.child_path(name)
        if len(os.fsencode(path)) > MAX_PATH_BYTES:  # by links; no member's own name is so long
            raise LayerLimitError(f"{shown(path)} lies too deep: no program could open it")
        if over_whiteout:
            os.unlink(name, dir_fd=directory.fd)
        os.mkdir(name, 0o700, dir_fd=directory.fd)
        if lower is None:
            self.metadata[path] = self._parent
            self.claim(directory.path)
        else:
            self.metadata[path] = directory_metadata(lower)
            self.copied(path)
        fd = os.open(name, OPEN_DIRECTORY, dir_fd=directory.fd)
        if over_whiteout and self.opaque_xattr is not None:
            os.setxattr(fd, self.opaque_xattr, b"y")
        return self._remember(fd, path, () if lower is None else lower.directories)

    def _lowers_under(self, directory: Directory, name: str, fd: int) -> tuple[str, ...]:
        lower = self.lower(directory, name)
        if lower is None or self.opaque_xattr is None or overlay.is_opaque(fd, self.opaque_xattr):
            return ()
        return lower.directories

    def _remember(self, fd: int, path: str, lowers: tuple[str, ...]) -> Directory:
        if len(self._open) >= MAX_OPEN:
            self.reopen()
        directory = Directory(fd, path, lowers)
        self._open[path] = directory
        return directory


def directory_metadata(lower: overlay.LowerEntry) -> Entry:
    """Return owner, mode, times and attributes of a lower layer's directory."""
    return host_metadata(lower.path, lower.status)


def host_metadata(path: str, status: os.stat_result) -> Entry:
    """Return what a directory at a host path has, as an entry for it."""
    return Entry(
        path=path,
        type=EntryType.DIRECTORY,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        mtime_ns=status.st_mtime_ns,
        xattrs=overlay.layer_xattrs(path),
    )
