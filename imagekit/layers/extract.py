"""Creating the objects of an archive in a ``Tree``, one entry at a time."""

import errno
import os
import stat

from imagekit.layers import overlay
from imagekit.layers.entry import Entry, EntryType
from imagekit.layers.errors import LayerFormatError, UnsafeLayerError, shown
from imagekit.layers.holes import copy_content
from imagekit.layers.reader import ArchiveContent
from imagekit.layers.tree import Directory, Tree, clean_path
from imagekit.linux import constants, files

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_BENEATH = constants.RESOLVE_BENEATH | constants.RESOLVE_NO_SYMLINKS
_NO_XATTR = frozenset((errno.ENOTSUP, errno.EPERM))
_NODE_TYPES = {
    EntryType.CHARACTER: stat.S_IFCHR,
    EntryType.BLOCK: stat.S_IFBLK,
    EntryType.FIFO: stat.S_IFIFO,
}


class Extractor:
    """Puts entries into a tree below ``base`` (a clean path; links in it are followed in root).

    A parent that is a link is followed inside the root. The last part of a name never is: what
    exists there is replaced, unless both are directories. ``owner`` replaces all owners.
    """

    def __init__(self, tree: Tree, *, base: str = "", owner: tuple[int, int] | None = None) -> None:
        self.tree = tree
        self._base = base
        self._owner = owner
        self.skipped_devices = 0
        self.skipped_xattrs = 0

    def place(self, path: str) -> tuple[Directory, str]:
        """Return the (made) directory and the name in it where ``path`` (clean) belongs."""
        parent, _, name = path.rpartition("/")
        if self._base:
            parent = f"{self._base}/{parent}" if parent else self._base
        directory = self.tree.directory(parent, create=True)
        assert directory is not None
        self.tree.claim(directory.path)
        return directory, name

    def add(self, entry: Entry, directory: Directory, name: str) -> None:
        """Create ``entry`` under ``name``; directories get their metadata in ``finish``."""
        match entry.type:
            case EntryType.REGULAR:
                self._add_file(entry, directory, name)
            case EntryType.DIRECTORY:
                self._add_directory(entry, directory, name)
            case EntryType.HARDLINK:
                self._add_link(entry, directory, name)
            case EntryType.SYMLINK:
                if not entry.link:
                    raise LayerFormatError(f"{shown(entry.path)} is a symbolic link to nothing")
                self._clear(directory, name)
                os.symlink(entry.link, name, dir_fd=directory.fd)
                self._set_by_name(entry, directory, name)
            case EntryType.CHARACTER | EntryType.BLOCK | EntryType.FIFO:
                self._add_node(entry, directory, name)

    def finish(self) -> None:
        """Set the metadata of directories, the deepest first, and close them."""
        self.tree.reopen()
        root_fd = self.tree.root.fd
        for path in sorted(self.tree.metadata, reverse=True):
            fd = files.openat2(root_fd, path or ".", os.O_RDONLY | os.O_DIRECTORY, resolve=_BENEATH)
            try:
                self._set_metadata(self.tree.metadata[path], fd)
            finally:
                os.close(fd)

    def _add_file(self, entry: Entry, directory: Directory, name: str) -> None:
        try:
            fd = os.open(name, _CREATE, 0o600, dir_fd=directory.fd)
        except FileExistsError:
            self._clear(directory, name)
            fd = os.open(name, _CREATE, 0o600, dir_fd=directory.fd)
        try:
            if entry.size:
                assert isinstance(entry.content, ArchiveContent)
                entry.content.write_to(fd, entry.size)
            self._set_metadata(entry, fd)
        finally:
            os.close(fd)

    def _add_directory(self, entry: Entry, directory: Directory, name: str) -> None:
        path = directory.child_path(name)
        try:
            os.mkdir(name, 0o700, dir_fd=directory.fd)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(name, dir_fd=directory.fd).st_mode):
                # A whiteout, or something that this archive put over a lower directory.
                os.unlink(name, dir_fd=directory.fd)
                os.mkdir(name, 0o700, dir_fd=directory.fd)
                if self.tree.lower(directory, name) is not None:
                    self.make_opaque(directory, name)
                self.tree.reopen()
        self.tree.claim(path)
        self.tree.metadata[path] = entry

    def _add_node(self, entry: Entry, directory: Directory, name: str) -> None:
        if entry.type is EntryType.CHARACTER and entry.device == (0, 0):
            raise UnsafeLayerError(
                f"{shown(entry.path)} is the device 0:0, which overlayfs takes for a deletion"
            )
        self._clear(directory, name)
        try:
            os.mknod(
                name, _NODE_TYPES[entry.type] | 0o600, os.makedev(*entry.device),
                dir_fd=directory.fd,
            )  # fmt: skip
        except PermissionError:
            if entry.type is EntryType.FIFO:
                raise
            self.skipped_devices += 1  # no privilege: the image works without them or says why
            return
        self._set_by_name(entry, directory, name)

    def _add_link(self, entry: Entry, directory: Directory, name: str) -> None:
        target = clean_path(entry.link) if entry.link else ""
        if not target:
            raise LayerFormatError(f"{shown(entry.path)} is a hard link to nothing")
        own_path = directory.child_path(name)
        parent, _, source_name = target.rpartition("/")
        if self._base:
            parent = f"{self._base}/{parent}" if parent else self._base
        source = self.tree.directory(parent, create=False)
        if source is None or not self._is_linkable(source, source_name):
            raise LayerFormatError(
                f"{shown(entry.path)} is a hard link to {shown(target)}, "
                "which is not there or a directory"
            )
        if source.child_path(source_name) == own_path:
            return
        try:
            self._link(source, source_name, directory, name)
        except FileExistsError:
            self._clear(directory, name)
            self._link(source, source_name, directory, name)

    def _link(self, source: Directory, source_name: str, directory: Directory, name: str) -> None:
        os.link(
            source_name,
            name,
            src_dir_fd=source.fd,
            dst_dir_fd=directory.fd,
            follow_symlinks=False,
        )

    def _is_linkable(self, source: Directory, name: str) -> bool:
        """Tell whether a hard link may go there; what only a lower layer has is copied first."""
        try:
            status = os.lstat(name, dir_fd=source.fd)
        except FileNotFoundError:
            lower = self.tree.lower(source, name)
            if lower is None or stat.S_ISDIR(lower.status.st_mode):
                return False
            self._copy_up(lower, source, name)
            self.tree.copied(source.child_path(name))
            return True
        if stat.S_ISDIR(status.st_mode):
            return False
        return self.tree.opaque_xattr is None or not overlay.is_whiteout(status)

    def _copy_up(self, lower: overlay.LowerEntry, directory: Directory, name: str) -> None:
        """Copy what a lower layer has into the tree, as overlayfs does before a link is made."""
        status = lower.status
        entry = Entry(
            path=directory.child_path(name),
            type=EntryType.REGULAR,
            mode=stat.S_IMODE(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            mtime_ns=status.st_mtime_ns,
            xattrs=overlay.layer_xattrs(lower.path) if stat.S_ISREG(status.st_mode) else (),
        )
        if stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(lower.path), name, dir_fd=directory.fd)
            self._set_by_name(entry, directory, name, is_link=True)
        elif stat.S_ISREG(status.st_mode):
            fd = os.open(name, _CREATE, 0o600, dir_fd=directory.fd)
            try:
                with open(lower.path, "rb", buffering=0) as source:
                    copy_content(source.fileno(), fd, status)
                self._set_metadata(entry, fd)
            finally:
                os.close(fd)
        else:
            os.mknod(name, status.st_mode, status.st_rdev, dir_fd=directory.fd)
            self._set_by_name(entry, directory, name)

    def _clear(self, directory: Directory, name: str) -> None:
        """Remove what is under ``name``, if anything."""
        self.tree.claim(directory.child_path(name))
        try:
            os.unlink(name, dir_fd=directory.fd)
        except FileNotFoundError:
            return
        except (IsADirectoryError, PermissionError):
            self.tree.remove(directory, name)

    def make_opaque(self, directory: Directory, name: str) -> None:
        """Mark the sub-directory ``name`` of the tree as hiding what is below it."""
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory.fd)
        try:
            self.tree.set_opaque(fd, directory.child_path(name))
        finally:
            os.close(fd)

    def _set_metadata(self, entry: Entry, fd: int) -> None:
        owner = self._owner
        if owner is None:
            os.fchown(fd, entry.uid, entry.gid)
        else:
            os.fchown(fd, *owner)
        os.fchmod(fd, entry.mode)  # after the owner: chown clears setuid
        for key, value in entry.xattrs:
            self._set_xattr(fd, key, value)
        os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))

    def _set_by_name(
        self, entry: Entry, directory: Directory, name: str, *, is_link: bool = False
    ) -> None:
        """Set metadata of what was just created here and cannot be opened (links, devices)."""
        uid, gid = self._owner or (entry.uid, entry.gid)
        os.chown(name, uid, gid, dir_fd=directory.fd, follow_symlinks=False)
        if not is_link and entry.type is not EntryType.SYMLINK:
            _change_mode(directory.fd, name, entry.mode)
        times = (entry.mtime_ns, entry.mtime_ns)
        os.utime(name, ns=times, dir_fd=directory.fd, follow_symlinks=False)

    def _set_xattr(self, fd: int, key: str, value: bytes) -> None:
        if not overlay.is_layer_xattr(key):
            self.skipped_xattrs += 1
            return
        try:
            os.setxattr(fd, key, value)
        except OSError as error:
            if error.errno not in _NO_XATTR:
                raise
            self.skipped_xattrs += 1


def _change_mode(dir_fd: int, name: str, mode: int) -> None:
    """Change the mode of what stands under ``name`` itself: chmod would follow a link."""
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        os.chmod(f"/proc/self/fd/{fd}", mode)
    finally:
        os.close(fd)
