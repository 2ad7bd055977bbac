"""Files that a user names: read, or replaced once they are whole."""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from imagekit.base.errors import HostError, UserError


@contextlib.contextmanager
def open_source(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading.

    Raises:
        UserError: if it cannot be.

    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}", hint="Check the path.") from error
    with file:
        yield file


@contextlib.contextmanager
def create_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a new file that takes the place of ``path`` at the end of the block.

    Raises:
        HostError: if the disk is full or broken.
        UserError: if it cannot be written for another reason.

    """
    from imagekit.base.atomic import replace_file

    try:
        with replace_file(path) as file:
            yield file
    except OSError as error:
        attempt = f"cannot write {path}: {error.strerror or error}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            hint = "Free space on that file system, or write to another."
            raise HostError(attempt, hint=hint) from error
        raise UserError(attempt, hint="Check the path.") from error
