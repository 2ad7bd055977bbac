"""A directory that cannot be escaped: paths of an image, opened inside its root.

The kernel resolves every path with the directory as its root (``openat2`` with RESOLVE_IN_ROOT):
absolute links and ``..`` stay inside, also while somebody renames things; magic links of /proc
are refused.

Source: openat2(2).
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from imagekit.base.fds import OwnedFd
from imagekit.layers.errors import LayerContentError, LayerLimitError, host_error
from imagekit.layers.removal import remove
from imagekit.linux import constants, files

_IN_ROOT = constants.RESOLVE_IN_ROOT | constants.RESOLVE_NO_MAGICLINKS
_PATH_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_MAX_LINKS = 40
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class RootDir:
    """The root of an image's file system, open.

    Paths are image paths: absolute or not, they begin at the root. Unless a method says
    otherwise links are followed, inside the root. OSErrors pass through, with the errno of
    open(2), so that callers can tell a missing file from others.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._fd = OwnedFd(os.open(path, _PATH_DIRECTORY))
        except OSError as error:
            raise host_error(f"open {path}", error) from error

    def fileno(self) -> int:
        """Return the directory's descriptor (O_PATH), which stays owned by this object."""
        return self._fd.fileno()

    def close(self) -> None:
        """Close it; safe to repeat."""
        self._fd.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def open(self, path: str, flags: int, mode: int = 0) -> int:
        """Give a new descriptor, as the call does when the root is changed to this directory."""
        return files.openat2(self.fileno(), path or ".", flags, mode, _IN_ROOT)

    @contextmanager
    def parent(self, path: str) -> Iterator[tuple[int, str]]:
        """Give the open directory that holds ``path`` and the last name, which is not resolved.

        ``path`` must name something: not the root, and not ending in ``..``.
        """
        folder, name = _split(path)
        fd = self.open(folder, _PATH_DIRECTORY)
        try:
            yield fd, name
        finally:
            os.close(fd)

    def stat(self, path: str, *, follow: bool = True) -> os.stat_result:
        """Give what the call says, about a link itself without ``follow``."""
        fd = self.open(path, os.O_PATH | (0 if follow else os.O_NOFOLLOW))
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)

    def exists(self, path: str, *, follow: bool = True) -> bool:
        """Tell whether there is something; a link to nothing counts only without ``follow``."""
        try:
            self.stat(path, follow=follow)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def is_directory(self, path: str) -> bool:
        """Tell whether ``path`` leads to a directory."""
        try:
            return stat.S_ISDIR(self.stat(path).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def readlink(self, path: str) -> str:
        """Return the target of a symbolic link, verbatim."""
        with self.parent(path) as (fd, name):
            return os.readlink(name, dir_fd=fd)

    def names(self, path: str) -> tuple[str, ...]:
        """Return what is in a directory, in byte order."""
        fd = self.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return tuple(sorted(os.listdir(fd), key=os.fsencode))
        finally:
            os.close(fd)

    def read_bytes(self, path: str, *, max_bytes: int) -> bytes:
        """Return the content of a regular file; never waits for a fifo or device.

        Raises:
            LayerContentError: it is not a regular file.
            LayerLimitError: it is longer than ``max_bytes``.

        """
        fd = self.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        with open(fd, "rb", buffering=0) as file:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise LayerContentError(f"{path} is not a regular file")
            data = bytearray()
            while piece := file.read(min(1 << 20, max_bytes + 1 - len(data))):
                data += piece
                if len(data) > max_bytes:
                    raise LayerLimitError(f"{path} is longer than {max_bytes} bytes")
        return bytes(data)

    def real_path(self, path: str) -> str:
        """Return the absolute image path that ``path`` leads to, all links resolved.

        Parts that do not exist are kept as they are (links to nothing are followed too).

        Raises:
            OSError: ELOOP for more than 40 links.

        """
        return "/" + "/".join(self._resolve(path)[0])

    def make_directories(
        self, path: str, *, mode: int = 0o755, owner: tuple[int, int] = (0, 0)
    ) -> tuple[str, ...]:
        """Make ``path`` and what is missing above it; return the made ones, outermost first.

        Links are followed, also those to nothing: their targets are made. What exists is not
        changed.

        Raises:
            NotADirectoryError: something on the way, or ``path`` itself, is a file.

        """
        parts, existing = self._resolve(path)
        made: list[str] = []
        fd = self.open("/".join(parts[:existing]), _PATH_DIRECTORY)
        try:
            for depth in range(existing, len(parts)):
                os.mkdir(parts[depth], mode & 0o777, dir_fd=fd)
                inner = os.open(parts[depth], _PATH_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
                os.close(fd)
                fd = inner
                _set_owner_and_mode(fd, owner, mode)
                made.append("/" + "/".join(parts[: depth + 1]))
        finally:
            os.close(fd)
        return tuple(made)

    def write_file(
        self, path: str, data: bytes, *, mode: int = 0o644, owner: tuple[int, int] = (0, 0)
    ) -> None:
        """Put a new file with ``data`` at ``path``; a file or link already there is replaced."""
        with self.parent(path) as (parent_fd, name):
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=parent_fd)
            fd = os.open(name, _CREATE, 0o600, dir_fd=parent_fd)
            with open(fd, "wb", buffering=0) as file:
                view = memoryview(data)
                while view:
                    view = view[file.write(view) or 0 :]
                os.fchown(fd, *owner)
                os.fchmod(fd, mode)

    def remove(self, path: str) -> None:
        """Remove a file, a link (not what it leads to) or a directory with all that is in it."""
        with self.parent(path) as (fd, name):
            remove(fd, name)

    def _resolve(self, path: str) -> tuple[list[str], int]:
        """Return the parts of the real path and how many of them exist."""
        todo = _parts(path)[::-1]
        done: list[str] = []
        existing = 0
        links = 0
        while todo:
            part = todo.pop()
            if part == "..":
                if done:
                    done.pop()
                existing = min(existing, len(done))
                continue
            if existing < len(done):  # below something missing
                done.append(part)
                continue
            with self.parent("/".join([*done, part])) as (fd, name):
                try:
                    status = os.lstat(name, dir_fd=fd)
                except FileNotFoundError:
                    done.append(part)
                    continue
                if not stat.S_ISLNK(status.st_mode):
                    done.append(part)
                    existing = len(done)
                    continue
                target = os.readlink(name, dir_fd=fd)
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            todo += _parts(target)[::-1]
            if target.startswith("/"):
                done, existing = [], 0
        return done, existing


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _split(path: str) -> tuple[str, str]:
    parts = _parts(path)
    if not parts or parts[-1] == "..":
        raise ValueError(f"{path!r} does not name something in a directory")
    return "/".join(parts[:-1]), parts[-1]


def _set_owner_and_mode(path_fd: int, owner: tuple[int, int], mode: int) -> None:
    # An O_PATH descriptor takes neither fchown nor fchmod; its entry in /proc leads to the inode.
    name = f"/proc/self/fd/{path_fd}"
    os.chown(name, *owner)
    os.chmod(name, mode)
