"""COPY and ADD carried out on a root file system.

Source: Dockerfile reference "COPY", "ADD"; BuildKit's fsutil copy, whose order of metadata
operations is followed: owner, mode, attributes, times; directories' times after their contents.
"""

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from imagekit.base.fds import OwnedFd
from imagekit.build.errors import BuildError, CopyConflictError
from imagekit.build.operations import CopyOperation, Document
from imagekit.build.remote import FetchedFile
from imagekit.build.rootfs import directory_in_the_way, make_directories, root_directory
from imagekit.build.sources import Item, Match, Tree, attributes
from imagekit.dockerfile.chmod import Chmod, parse_chmod
from imagekit.layers.apply import extract_archive
from imagekit.layers.archive import is_archive
from imagekit.layers.errors import LayerError
from imagekit.layers.holes import copy_content
from imagekit.layers.limits import Limits
from imagekit.layers.rootdir import RootDir
from imagekit.sandbox.users import MAX_ID, parse_group, parse_passwd

_MAX_DATABASE_BYTES = 10 << 20
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def resolve_owner(root: RootDir, text: str) -> tuple[int, int]:
    """Return uid and gid of --chown, and of WORKDIR's USER.

    A number without a group is the group too; a name has uid and gid of the image's passwd; an
    unknown name is 0, as in the reference.

    Raises:
        BuildError: if a number is too large, or the image's files are not regular.

    """
    user, _, group = text.partition(":")
    uid, gid = 0, 0
    if user.isascii() and user.isdecimal():
        uid = gid = int(user)
    elif user and user != "root":
        for entry in parse_passwd(_database(root, "/etc/passwd")):
            if entry.name == user:
                uid, gid = entry.uid, entry.gid
                break
    if group.isascii() and group.isdecimal():
        gid = int(group)
    elif group:
        entries = parse_group(_database(root, "/etc/group"))
        gid = next((entry.gid for entry in entries if entry.name == group), 0)
    if max(uid, gid) > MAX_ID:
        raise BuildError(f"{text}: an id is not between 0 and {MAX_ID}")
    return uid, gid


def _database(root: RootDir, path: str) -> str:
    try:
        data = root.read_bytes(path, max_bytes=_MAX_DATABASE_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (LayerError, OSError) as error:  # a fifo, a device, a loop of links, too large
        raise BuildError(
            f"cannot look up users in the image's {path}: {_reason(error)}",
            hint="Give --chown and USER as numbers, or repair the image.",
        ) from error
    return data.decode("utf-8", "surrogateescape")


def _reason(error: LayerError | OSError) -> str:
    return error.message if isinstance(error, LayerError) else error.strerror or str(error)


class Copier(msgspec.Struct):
    """Carries out one COPY or ADD on a root file system.

    ``changed`` lists the sources that somebody wrote to after they had been digested.
    """

    root: OwnedFd
    inside: RootDir
    operation: CopyOperation
    owner: tuple[int, int] | None = None
    mode: Chmod | None = None
    limits: Limits | None = None
    changed: list[str] = msgspec.field(default_factory=list)
    _links: dict[tuple[int, int], str] = msgspec.field(default_factory=dict)

    @classmethod
    def prepare(
        cls,
        root: OwnedFd,
        operation: CopyOperation,
        names: RootDir | None = None,
        *,
        limits: Limits | None = None,
    ) -> "Copier":
        """Return a copier whose owner names have been looked up in the root file system.

        ``names`` is where to look them up if not in ``root`` itself.
        """
        inside = root_directory(root)
        owner = None
        if operation.owner is not None:
            owner = resolve_owner(names or inside, operation.owner)
        mode = parse_chmod(operation.mode) if operation.mode is not None else None
        return cls(
            root=root,
            inside=inside,
            operation=operation,
            owner=owner,
            mode=mode,
            limits=limits,
        )

    def copy(
        self, tree: Tree | None, matches: Sequence[Match], fetched: Sequence[FetchedFile] = ()
    ) -> None:
        """Copy everything; files first, then downloads, then documents.

        Raises:
            CopyConflictError: if a directory would replace a file, or the other way round.

        """
        for match in matches:
            assert tree is not None
            self._copy_match(tree, match)
        for file in fetched:
            self._place_fetched(file)
        for document in self.operation.documents:
            self._place_document(document)

    @property
    def _new_directory_mode(self) -> int:
        """Mode of directories made on the way: an octal --chmod counts for them too."""
        return self.mode.octal if self.mode and self.mode.octal is not None else 0o755

    def _make_directories(self, path: str) -> OwnedFd:
        return make_directories(
            self.inside, path, mode=self._new_directory_mode, owner=self.owner or (0, 0)
        )

    def _copy_match(self, tree: Tree, match: Match) -> None:
        destination = self.operation.destination
        if match.is_directory:
            with self._make_directories(destination) as target:
                self._copy_contents(tree, match, target)
                _set_time(target, match.top.status.st_mtime_ns)
            return
        if self._is_archive(tree, match):
            self._unpack(tree, match)
            return
        parent, name = self._target(destination, match.name)
        with parent:
            self._copy_item(tree, match.top, parent, name)

    def _target(self, destination: str, name: str) -> tuple[OwnedFd, str]:
        """Return the directory, made if missing, and the name in it for a file source."""
        with directory_in_the_way(destination):
            if destination.endswith("/") or self.inside.is_directory(destination):
                return self._make_directories(destination), name
            destination = self.inside.real_path(destination)
        directory, _, name = destination.rpartition("/")
        return self._make_directories(directory), name

    def _copy_contents(self, tree: Tree, match: Match, target: OwnedFd) -> None:
        # The directories between the source's top and the current item, innermost last; each gets
        # its time when the last item in it has been copied.
        chain: list[tuple[Item, OwnedFd]] = []
        try:
            for item in match.items:
                directory, _, name = item.below.rpartition("/")
                while chain and chain[-1][0].below != directory:
                    _leave(chain)
                parent = chain[-1][1] if chain else target
                if stat.S_ISDIR(item.status.st_mode):
                    chain.append((item, self._copy_directory(tree, item, parent, name)))
                else:
                    self._copy_item(tree, item, parent, name)
            while chain:
                _leave(chain)
        finally:
            for _, fd in chain:
                fd.close()

    def _copy_directory(self, tree: Tree, item: Item, parent: OwnedFd, name: str) -> OwnedFd:
        try:
            os.mkdir(name, 0o700, dir_fd=parent.fileno())
        except FileExistsError:
            existing = os.stat(name, dir_fd=parent.fileno(), follow_symlinks=False)
            if not stat.S_ISDIR(existing.st_mode):
                raise CopyConflictError(
                    f"cannot copy to non-directory: {self._shown(item)}",
                    hint="The source has a directory where the image has a file or link.",
                ) from None
        fd = OwnedFd(os.open(name, _DIRECTORY, dir_fd=parent.fileno()))
        os.fchown(fd.fileno(), *self._owner_of(tree, item))
        os.fchmod(fd.fileno(), self._mode_of(item.status.st_mode, is_directory=True))
        with tree.open_directory(item) as source:
            _copy_attributes(source, fd)
        return fd

    def _copy_item(self, tree: Tree, item: Item, parent: OwnedFd, name: str) -> None:
        status = item.status
        kind = stat.S_IFMT(status.st_mode)
        self._remove_old(item, parent, name)
        key = (status.st_dev, status.st_ino)
        if status.st_nlink > 1 and kind != stat.S_IFDIR and key in self._links:
            first = self._links[key]
            os.link(
                first,
                name,
                src_dir_fd=self.root.fileno(),
                dst_dir_fd=parent.fileno(),
                follow_symlinks=False,
            )
            return
        owner = self._owner_of(tree, item)
        if kind == stat.S_IFLNK:
            os.symlink(tree.read_link(item), name, dir_fd=parent.fileno())
            os.chown(name, *owner, dir_fd=parent.fileno(), follow_symlinks=False)
        elif kind == stat.S_IFREG:
            self._copy_file(tree, item, parent, name, owner)
        else:
            self._make_special(kind, item, parent, name, owner)
        times = (status.st_atime_ns, status.st_mtime_ns)
        os.utime(name, ns=times, dir_fd=parent.fileno(), follow_symlinks=False)
        if status.st_nlink > 1:
            self._links[key] = f"{self._path_of(parent)}/{name}".lstrip("/")

    def _copy_file(
        self, tree: Tree, item: Item, parent: OwnedFd, name: str, owner: tuple[int, int]
    ) -> None:
        with (
            tree.open_file(item) as source,
            OwnedFd(os.open(name, _NEW_FILE, 0o600, dir_fd=parent.fileno())) as target,
        ):
            copy_content(source.fileno(), target.fileno(), item.status)
            os.fchown(target.fileno(), *owner)
            os.fchmod(target.fileno(), self._mode_of(item.status.st_mode))
            _copy_attributes(source, target)
            if _moment(os.fstat(source.fileno())) != _moment(item.status):
                self.changed.append(item.path)

    def _make_special(
        self, kind: int, item: Item, parent: OwnedFd, name: str, owner: tuple[int, int]
    ) -> None:
        mode = self._mode_of(item.status.st_mode)
        if kind == stat.S_IFSOCK:
            os.close(os.open(name, _NEW_FILE, 0o600, dir_fd=parent.fileno()))
        elif kind == stat.S_IFCHR and item.status.st_rdev == 0:
            raise CopyConflictError(
                f"cannot copy the device 0:0 {item.path}: to overlayfs it means a deletion",
                hint="Exclude it; it is a mark of a union mount and no real device.",
            )
        else:
            os.mknod(name, kind | 0o600, item.status.st_rdev, dir_fd=parent.fileno())
        os.chown(name, *owner, dir_fd=parent.fileno(), follow_symlinks=False)
        os.chmod(name, mode, dir_fd=parent.fileno())

    def _remove_old(self, item: Item, parent: OwnedFd, name: str) -> None:
        try:
            os.unlink(name, dir_fd=parent.fileno())
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in (errno.EISDIR, errno.EPERM):
                raise  # the disk is full, a limit is reached
            raise CopyConflictError(
                f"cannot replace to directory {self._shown(item)} with file",
                hint="End the destination with '/' to copy into the directory.",
            ) from error

    def _place_fetched(self, file: FetchedFile) -> None:
        if self.operation.unpack:
            with file.path.open("rb") as source:
                if is_archive(source):
                    self._unpack_file(source, file.name)
                    return
        with file.path.open("rb") as source, self._new_file(file.name, 0o600) as target:
            copy_content(source.fileno(), target.fileno(), os.fstat(source.fileno()))
            os.utime(target.fileno(), ns=(file.mtime_ns, file.mtime_ns))

    def _place_document(self, document: Document) -> None:
        with self._new_file(document.name, 0o644) as target:
            data = memoryview(document.content)
            while data:
                data = data[os.write(target.fileno(), data) :]

    def _new_file(self, name: str, mode: int) -> OwnedFd:
        """Return a new empty file at the destination, which it replaces; the caller closes it."""
        parent, name = self._target(self.operation.destination, name)
        with parent:
            self._unlink_any(parent, name)
            target = OwnedFd(os.open(name, _NEW_FILE, 0o600, dir_fd=parent.fileno()))
        os.fchown(target.fileno(), *(self.owner or (0, 0)))
        os.fchmod(target.fileno(), self._mode_of(mode | stat.S_IFREG))
        return target

    def _unlink_any(self, parent: OwnedFd, name: str) -> None:
        try:
            os.unlink(name, dir_fd=parent.fileno())
        except FileNotFoundError:
            return
        except (IsADirectoryError, PermissionError) as error:
            raise CopyConflictError(f"cannot replace to directory {name} with file") from error

    def _is_archive(self, tree: Tree, match: Match) -> bool:
        if not self.operation.is_add or self.operation.unpack is False:
            return False
        if not stat.S_ISREG(match.top.status.st_mode):
            return False
        with tree.open_file(match.top) as fd, open(fd.fileno(), "rb", closefd=False) as file:
            return is_archive(file)

    def _unpack(self, tree: Tree, match: Match) -> None:
        with tree.open_file(match.top) as fd, open(fd.fileno(), "rb", closefd=False) as file:
            self._unpack_file(file, match.name)

    def _unpack_file(self, file: BinaryIO, name: str) -> None:
        file.seek(0)
        self._make_directories(self.operation.destination).close()
        root = Path(f"/proc/self/fd/{self.root.fileno()}")
        destination = self.operation.destination
        try:
            extract_archive(file, root, destination, owner=self.owner, limits=self.limits)
        except LayerError as error:
            error.locate(f"unpack {name}")
            raise

    def _owner_of(self, tree: Tree, item: Item) -> tuple[int, int]:
        if self.owner is not None:
            return self.owner
        return (item.status.st_uid, item.status.st_gid) if tree.keeps_owners else (0, 0)

    def _mode_of(self, mode: int, *, is_directory: bool = False) -> int:
        if self.mode is None:
            return stat.S_IMODE(mode)
        return self.mode.apply(mode, is_directory=is_directory)

    def _shown(self, item: Item) -> str:
        return f"{self.operation.destination.rstrip('/')}/{item.below}".rstrip("/")

    def _path_of(self, directory: OwnedFd) -> str:
        root = os.readlink(f"/proc/self/fd/{self.root.fileno()}").rstrip("/")
        return os.readlink(f"/proc/self/fd/{directory.fileno()}").removeprefix(root)


def _set_time(directory: OwnedFd, mtime_ns: int) -> None:
    os.utime(directory.fileno(), ns=(mtime_ns, mtime_ns))


def _moment(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _copy_attributes(source: OwnedFd, target: OwnedFd) -> None:
    for name, value in attributes(source.fileno()):
        try:
            os.setxattr(target.fileno(), name, value)
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.EPERM):
                raise


def _leave(chain: list[tuple[Item, OwnedFd]]) -> None:
    item, directory = chain.pop()
    with directory:
        _set_time(directory, item.status.st_mtime_ns)
