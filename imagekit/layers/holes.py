"""Sparse files: reading and writing around what is not there.

A tar layer has no holes of its own: where a file has some depends on the file system, and a layer
must be the same everywhere. So holes become zeros on the way in, without being read, and long runs
of zeros become holes on the way out, without being written.

Source: lseek(2), SEEK_HOLE and SEEK_DATA; copy_file_range(2); sendfile(2).
"""

import errno
import os
from collections.abc import Iterable, Iterator

PIECE_BYTES = 1 << 20
SMALLEST_HOLE_BYTES = 4096
_COPY_BYTES = 1 << 30
_ZEROS = bytes(PIECE_BYTES)
_NOT_IN_KERNEL = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)


def is_sparse(status: os.stat_result) -> bool:
    """Tell whether a file may have holes: it takes fewer blocks than it has bytes."""
    return status.st_blocks * 512 < status.st_size


def data_ranges(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield (offset, length) of the data among the first ``size`` bytes; the rest is holes.

    Moves the file's position. A file system that knows no holes says that everything is data.
    """
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                return
            raise
        if start >= size:
            return
        end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        yield start, end - start


def zeros(size: int) -> Iterator[bytes]:
    """Yield ``size`` zero bytes in pieces of at most 1 MiB."""
    while size >= PIECE_BYTES:
        yield _ZEROS
        size -= PIECE_BYTES
    if size > 0:
        yield bytes(size)


def write_pieces(fd: int, pieces: Iterable[bytes]) -> None:
    """Write ``pieces`` (each at most 1 MiB) from the position of ``fd`` on to the end of the file.

    A piece of at least 4 KiB that is all zeros becomes a hole. There must be nothing in the file
    behind the position.
    """
    hole = 0
    for piece in pieces:
        # One memcmp, which with data ends at the first byte that is not zero.
        if len(piece) >= SMALLEST_HOLE_BYTES and _ZEROS.startswith(piece):
            hole += len(piece)
            continue
        if hole:
            os.lseek(fd, hole, os.SEEK_CUR)
            hole = 0
        write_all(fd, piece)
    if hole:
        os.ftruncate(fd, os.lseek(fd, hole, os.SEEK_CUR))


def write_all(fd: int, data: bytes) -> None:
    """Write all of ``data`` to ``fd``, also when the kernel takes it in parts."""
    written = os.write(fd, data)
    if written != len(data):
        view = memoryview(data)[written:]
        while view:
            view = view[os.write(fd, view) :]


def copy_content(source: int, target: int, status: os.stat_result) -> None:
    """Copy a file's bytes in the kernel to the empty file ``target``, holes as holes.

    Extents are shared where the file systems can, else bytes go from page to page. ``status`` is
    the source's; a file that has grown or shrunk since is copied as it is.
    """
    size = status.st_size
    if is_sparse(status):
        for offset, length in data_ranges(source, size):
            os.lseek(source, offset, os.SEEK_SET)
            os.lseek(target, offset, os.SEEK_SET)
            _copy_range(source, target, length)
        size = min(size, os.fstat(source).st_size)
        os.ftruncate(target, size)
        os.lseek(source, size, os.SEEK_SET)
        os.lseek(target, size, os.SEEK_SET)
    else:
        _copy_range(source, target, size)
    while os.sendfile(target, source, None, _COPY_BYTES):
        pass


def _copy_range(source: int, target: int, size: int) -> None:
    """Copy up to ``size`` bytes from one position to the other; fewer at the end of the file."""
    while size > 0:
        try:
            copied = os.copy_file_range(source, target, min(size, _COPY_BYTES))
        except OSError as error:
            if error.errno not in _NOT_IN_KERNEL:
                raise
            break
        if copied == 0:
            return
        size -= copied
    while size > 0:
        copied = os.sendfile(target, source, None, min(size, _COPY_BYTES))
        if copied == 0:
            return
        size -= copied
