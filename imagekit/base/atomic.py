"""The only way in which a visible file is born: complete, or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from imagekit.base.tokens import token_hex


@contextlib.contextmanager
def replace_file(path: Path, *, mode: int = 0o644, durable: bool = True) -> Iterator[BinaryIO]:
    """Yield a binary file that becomes ``path`` when the block ends without an exception.

    The bytes go to a temporary name in the same directory; at the end they are flushed to the
    disk, renamed over ``path``, and the directory is flushed. An exception leaves ``path`` as it
    was. With ``durable=False`` both flushes are left out: atomic for readers, not across a crash.

    Source: rename(2), fsync(2).
    """
    temporary = path.with_name(f".{path.name[:200]}.{token_hex(6)}.tmp")
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
    if durable:
        sync_directory(path.parent)


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
