"""One object of a file system as a value, and where its content comes from."""

import enum
from collections.abc import Iterator
from typing import Protocol

import msgspec


class EntryType(enum.Enum):
    """What an entry is; the values are the type flags of POSIX tar."""

    REGULAR = b"0"
    HARDLINK = b"1"
    SYMLINK = b"2"
    CHARACTER = b"3"
    BLOCK = b"4"
    DIRECTORY = b"5"
    FIFO = b"6"


class Content(Protocol):
    """The bytes of a regular file."""

    def chunks(self, size: int) -> Iterator[bytes]:
        """Yield exactly ``size`` bytes, in pieces of at most 1 MiB.

        Raises:
            LayerError: fewer bytes are there, or they cannot be read.

        """
        ...


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A member of a layer.

    ``path`` is relative to the root of the image, without a leading or trailing slash, bytes
    decoded as ``os.fsdecode`` does; the root itself is ``"."``. ``mode`` holds the permission bits
    with setuid, setgid and sticky (07777). ``link`` is the target of a symbolic link, verbatim, or
    the path of the entry that a hard link shares. ``xattrs`` is sorted by name. Equality does not
    look at ``content``.
    """

    path: str
    type: EntryType
    mode: int
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    size: int = 0
    link: str = ""
    device: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[str, bytes], ...] = ()
    content: Content | None = None

    def __eq__(self, other: object) -> bool:
        """Compare everything but the content."""
        if not isinstance(other, Entry):
            return NotImplemented
        return self._compared() == other._compared()

    def __hash__(self) -> int:
        """Agree with equality."""
        return hash(self._compared())

    def _compared(self) -> tuple[object, ...]:
        return msgspec.structs.astuple(self)[:-1]


class BytesContent(msgspec.Struct, frozen=True, kw_only=True):
    """Content held in memory."""

    data: bytes

    def chunks(self, size: int) -> Iterator[bytes]:
        """Yield the data; its length must be ``size``."""
        if size != len(self.data):
            raise ValueError(f"entry says {size} bytes, content has {len(self.data)}")
        yield self.data
