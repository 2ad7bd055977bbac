"""The only way in which a visible file is born: complete, or not at all."""

import contextlib
import errno
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from imagekit.base.tokens import token_hex

_MAX_NAME_BYTES: Final = 200


@contextlib.contextmanager
def replace_file(path: Path, *, mode: int = 0o644, durable: bool = True) -> Iterator[BinaryIO]:
    """Yield a binary file that becomes ``path`` when the block ends without an exception.

    The bytes go to a file without a name in the same directory, so that a killed process leaves
    nothing; at the end they are flushed to the disk, the file takes the place of ``path``, and the
    directory is flushed. An exception leaves ``path`` as it was. With ``durable=False`` both
    flushes are left out: atomic for readers, not across a crash.

    Source: open(2) O_TMPFILE, rename(2), fsync(2).
    """
    with _unnamed(path.parent, mode) or _named(path, mode) as (file, publish):
        yield file
        file.flush()
        if durable:
            os.fsync(file.fileno())
        publish(path)
    if durable:
        sync_directory(path.parent)


_Draft = contextlib.AbstractContextManager[tuple[BinaryIO, Callable[[Path], None]]]


def _unnamed(directory: Path, mode: int) -> _Draft | None:
    """Return a file without a name; None on a file system that has none of those."""
    try:
        descriptor = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, mode)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EISDIR):
            return None
        raise
    return _linked(descriptor)


@contextlib.contextmanager
def _linked(descriptor: int) -> Iterator[tuple[BinaryIO, Callable[[Path], None]]]:
    with os.fdopen(descriptor, "w+b") as file:
        yield file, functools.partial(_link, descriptor)


def _link(descriptor: int, path: Path) -> None:
    """Give a whole file the name ``path``, whatever had it.

    Where something has the name, a rename is needed, and that needs another name first. It is
    always the same, so that at most one such file is ever left. Whoever finds it there, whole as it
    is, renames it for the process that was killed, or that is about to do so and finds it done.
    """
    with contextlib.suppress(FileExistsError):
        _link_as(descriptor, path)
        return
    temporary = path.with_name(f".{_short(path.name)}.tmp")
    while True:
        try:
            _link_as(descriptor, temporary)
        except FileExistsError:
            with contextlib.suppress(FileNotFoundError):
                temporary.rename(path)
        else:
            break
    try:
        temporary.rename(path)
    except FileNotFoundError:
        if not os.path.lexists(path):
            raise
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _link_as(descriptor: int, path: Path) -> None:
    # With a directory descriptor os.link calls linkat(2) and follows; it is not used, because the
    # path is absolute.
    source = f"/proc/self/fd/{descriptor}"
    os.link(source, path, src_dir_fd=descriptor, follow_symlinks=True)


def _short(name: str) -> str:
    """Return the name, or where it leaves no room for a suffix, one as unique that is shorter."""
    if len(os.fsencode(name)) <= _MAX_NAME_BYTES:
        return name
    import hashlib

    return hashlib.sha256(os.fsencode(name)).hexdigest()


@contextlib.contextmanager
def _named(path: Path, mode: int) -> Iterator[tuple[BinaryIO, Callable[[Path], None]]]:
    temporary = path.with_name(f".{_short(path.name)}.{token_hex(6)}.tmp")
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file, temporary.rename  # type: ignore[misc]  # its result is not used
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise


def write_file(path: Path, data: bytes, *, mode: int = 0o644, durable: bool = True) -> None:
    """Make ``path`` hold exactly ``data``, atomically."""
    with replace_file(path, mode=mode, durable=durable) as file:
        file.write(data)


def sync_directory(path: Path) -> None:
    """Flush a directory, so that names created or renamed in it outlive a crash."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
