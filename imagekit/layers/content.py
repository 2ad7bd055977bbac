"""The content of files in a tree that may change while it is read."""

import os
from collections.abc import Iterator

from imagekit.base.fds import OwnedFd
from imagekit.layers import holes
from imagekit.layers.errors import LayerContentError, host_error
from imagekit.linux import constants, files

CHUNK_BYTES = 1 << 20
OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
BENEATH = constants.RESOLVE_BENEATH | constants.RESOLVE_NO_SYMLINKS


class ContentRoot(OwnedFd):
    """The root of a tree, open as long as an entry's content may be asked for."""

    def __del__(self) -> None:
        self.close()


class FileContent:
    """Content of a file below an open directory; keeps that directory open.

    The walk opens each file once, for its attributes and for its content. Whoever asks for the
    content before the walk goes on gets that descriptor, later ones an open of their own. With
    ``sparse`` holes come as zeros that were not read.
    """

    __slots__ = ("_fd", "_path", "_root", "_sparse")

    def __init__(self, root: OwnedFd, path: str, fd: int, *, sparse: bool = False) -> None:
        self._root = root
        self._path = path
        self._fd = fd
        self._sparse = sparse

    def chunks(self, size: int) -> Iterator[bytes]:
        """Yield ``size`` bytes of the file, which is opened without following any link."""
        if 0 < size <= CHUNK_BYTES and self._fd >= 0 and not self._sparse:
            return iter((self._whole(size),))  # most files: a third of the time of a generator
        return self._pieces(size)

    def _whole(self, size: int) -> bytes:
        fd, self._fd = self._fd, -1
        try:
            data = os.read(fd, size)
            return data if len(data) == size else data + b"".join(self._read(fd, size - len(data)))
        except OSError as error:
            raise host_error(f"read {self._path}", error) from error
        finally:
            os.close(fd)

    def _pieces(self, size: int) -> Iterator[bytes]:
        fd, self._fd = self._fd, -1
        try:
            if fd < 0:
                fd = files.openat2(self._root.fileno(), self._path, OPEN_FILE, resolve=BENEATH)
            if self._sparse:
                yield from self._around_holes(fd, size)
            else:
                yield from self._read(fd, size)
        except OSError as error:
            raise host_error(f"read {self._path}", error) from error
        finally:
            if fd >= 0:
                os.close(fd)

    def _around_holes(self, fd: int, size: int) -> Iterator[bytes]:
        at = 0
        for offset, length in holes.data_ranges(fd, size):
            yield from holes.zeros(offset - at)
            os.lseek(fd, offset, os.SEEK_SET)
            yield from self._read(fd, length)
            at = offset + length
        if os.fstat(fd).st_size < size:
            raise self._shrunk()
        yield from holes.zeros(size - at)

    def _read(self, fd: int, size: int) -> Iterator[bytes]:
        while size > 0:
            chunk = os.read(fd, min(CHUNK_BYTES, size))
            if not chunk:
                raise self._shrunk()
            size -= len(chunk)
            yield chunk

    def _shrunk(self) -> LayerContentError:
        return LayerContentError(f"{self._path} became shorter while it was read")

    def release(self) -> None:
        """Close the walk's descriptor if nobody has asked for the content."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)
