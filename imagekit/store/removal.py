"""Removing directories whose content is hostile: out of sight first, then entry by entry.

``shutil.rmtree`` recurses once for each level and holds a descriptor for each, so a layer with ten
thousand nested directories breaks it. Here the depth is bounded: what lies deeper is renamed to
the top and removed from there. Symbolic links are never followed and other file systems never
entered.
"""

import contextlib
import errno
import os
import stat
from pathlib import Path

from imagekit.base.tokens import token_hex
from imagekit.store.errors import StoreUnavailableError, host_errors
from imagekit.store.owner import Owner

MAX_DEPTH = 64
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Trash:
    """The store's ``tmp`` directory, seen as the place where things go to be removed."""

    def __init__(self, temporary: Path, owner: Owner) -> None:
        self._temporary = temporary
        self._owner = owner

    def new_path(self, label: str) -> Path:
        """Return a name in ``tmp`` that is swept if this process dies; nothing is created."""
        return self._temporary / f"{self._owner}.{label}-{token_hex(6)}"

    def take(self, path: Path) -> Path | None:
        """Move ``path`` out of sight in one step; None if it is not there (any more)."""
        target = self.new_path("removed")
        with host_errors(f"remove {path}"):
            try:
                path.rename(target)
            except FileNotFoundError:
                return None
        return target

    def remove(self, path: Path) -> None:
        """Move ``path`` out of sight and remove it; does nothing if it is not there."""
        taken = self.take(path)
        if taken is not None:
            remove_tree(taken)

    def sweep(self) -> int:
        """Remove what ended processes left and return how many entries that were."""
        swept = 0
        with host_errors(f"sweep {self._temporary}"):
            names = os.listdir(self._temporary)
        for name in names:
            owner = Owner.parse(name.partition(".")[0])
            if owner is None or not owner.is_alive(self._owner):
                remove_tree(self._temporary / name)
                swept += 1
        return swept


def remove_tree(path: Path) -> None:
    """Remove a file or a directory with all that is in it; does nothing if it is not there.

    Needs constant stack and descriptors, whatever the depth. Two processes may remove the same
    tree at once.

    Raises:
        StoreUnavailableError: if a part is a mount point or may not be removed.

    """
    with host_errors(f"remove {path}"):
        parent = os.open(path.parent, _OPEN_DIRECTORY)
    try:
        with host_errors(f"remove {path}"):
            _Remover(parent, path).run()
    finally:
        os.close(parent)


class _Remover:
    def __init__(self, parent_fd: int, path: Path) -> None:
        self._parent_fd = parent_fd
        self._path = path
        self._device = -1
        self._pending = [path.name]

    def run(self) -> None:
        try:
            status = os.lstat(self._path)
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(status.st_mode):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
            return
        self._device = status.st_dev
        while self._pending:
            self._directory(self._parent_fd, self._pending.pop(), depth=0)

    def _directory(self, parent_fd: int, name: str, *, depth: int) -> None:
        try:
            fd = _open_directory(parent_fd, name)
        except FileNotFoundError:
            return
        try:
            status = os.fstat(fd)
            if status.st_dev != self._device:
                raise StoreUnavailableError(
                    f"remove {self._path}: something is mounted at {name!r} in it",
                    hint="Unmount it and run the command again.",
                )
            if status.st_mode & stat.S_IRWXU != stat.S_IRWXU:
                os.fchmod(fd, 0o700)  # without privilege, its entries could not be removed
            with os.scandir(fd) as entries:
                listing = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
            for child, is_directory in listing:
                if not is_directory:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(child, dir_fd=fd)
                elif depth < MAX_DEPTH:
                    self._directory(fd, child, depth=depth + 1)
                else:
                    self._hoist(fd, child)
        finally:
            os.close(fd)
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(name, dir_fd=parent_fd)

    def _hoist(self, fd: int, child: str) -> None:
        # Keeps the owner's prefix, so that a sweep finds it after a crash; random, because another
        # process may be sweeping the same tree.
        name = f"{self._path.name[:200]}.{token_hex(6)}"
        with contextlib.suppress(FileNotFoundError):
            os.rename(child, name, src_dir_fd=fd, dst_dir_fd=self._parent_fd)
            self._pending.append(name)


def _open_directory(parent_fd: int, name: str) -> int:
    try:
        return os.open(name, _OPEN_DIRECTORY, dir_fd=parent_fd)
    except PermissionError as error:
        if error.errno != errno.EACCES:
            raise
        # Without privilege, a layer's directory of mode 0 has to be opened up by its owner. The
        # process that could swap it for a link has ended.
        os.chmod(name, 0o700, dir_fd=parent_fd)
        return os.open(name, _OPEN_DIRECTORY, dir_fd=parent_fd)
