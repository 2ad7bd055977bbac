"""Removing trees that hostile archives made: in linear time, however deep and broad they are.

Each directory is listed once. What lies deeper than a bound is moved to the top and removed from
there, so that the number of open directories stays small; where that cannot be (on overlayfs
a directory of a lower layer does not move) they stay open one below the other.
"""

import errno
import itertools
import os
import stat
from collections.abc import Callable, Iterator

import msgspec

OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
MAX_DEPTH = 64
Gone = Callable[[str], object]


class _Frame(msgspec.Struct):
    """An open directory whose leaves are gone; ``pending`` are its directories: name, old path."""

    fd: int
    name: str
    path: str
    pending: list[tuple[str, str]]


def _nobody(path: str) -> None:
    pass


def remove(dir_fd: int, name: str, *, gone: Gone = _nobody) -> None:
    """Remove ``name`` and, if it is a directory, all that is in it; links are not followed.

    ``gone`` is told the path (below ``dir_fd``) of each thing that was removed.
    """
    try:
        os.unlink(name, dir_fd=dir_fd)
    except (IsADirectoryError, PermissionError):
        if not stat.S_ISDIR(os.lstat(name, dir_fd=dir_fd).st_mode):
            raise
        if not _remove_empty(dir_fd, name):
            _remove_directory(dir_fd, name, gone)
            return
    gone(name)


def _remove_empty(dir_fd: int, name: str) -> bool:
    try:
        os.rmdir(name, dir_fd=dir_fd)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def _remove_directory(dir_fd: int, name: str, gone: Gone) -> None:
    stack = [_enter(dir_fd, name, name, gone)]
    numbers = itertools.count()
    try:
        while stack:
            frame = stack[-1]
            if not frame.pending:
                parent_fd = stack[-2].fd if len(stack) > 1 else dir_fd
                os.rmdir(frame.name, dir_fd=parent_fd)
                os.close(stack.pop().fd)
                gone(frame.path)
                continue
            inner, path = frame.pending.pop()
            if _remove_empty(frame.fd, inner):
                gone(path)
                continue
            moved = None
            if len(stack) >= MAX_DEPTH:
                moved = _move(frame.fd, inner, stack[0].fd, numbers)
            if moved is None:
                stack.append(_enter(frame.fd, inner, path, gone))
            else:
                stack[0].pending.append((moved, path))
    finally:
        for frame in stack:
            os.close(frame.fd)


def _enter(dir_fd: int, name: str, path: str, gone: Gone) -> _Frame:
    """Open a directory, unlink its leaves and list the directories in it."""
    frame = _Frame(os.open(name, OPEN_DIRECTORY, dir_fd=dir_fd), name, path, [])
    try:
        with os.scandir(frame.fd) as found:
            items = [(item.name, item.is_dir(follow_symlinks=False)) for item in found]
        for child, is_directory in items:
            if is_directory:
                frame.pending.append((child, f"{path}/{child}"))
            else:
                os.unlink(child, dir_fd=frame.fd)
                gone(f"{path}/{child}")
    except BaseException:
        os.close(frame.fd)
        raise
    return frame


def _move(from_fd: int, name: str, to_fd: int, numbers: Iterator[int]) -> str | None:
    """Move a directory to a free name in another and return that, or None where it cannot move."""
    free = next(path for path in map(".removed-{}".format, numbers) if not _exists(path, to_fd))
    try:
        os.rename(name, free, src_dir_fd=from_fd, dst_dir_fd=to_fd)
    except OSError as error:
        if error.errno == errno.EXDEV:
            return None
        raise
    return free


def _exists(name: str, dir_fd: int) -> bool:
    try:
        os.lstat(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return False
    return True
