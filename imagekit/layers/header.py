"""One tar header with what the blocks before it said, as the fields of an entry.

Where programs disagree this follows Go's archive/tar, the reader of docker, containerd and
BuildKit: a layer must mean the same everywhere.

==========================================  ==================================================
an old long name (type ``L``, ``K``)        wins over ``path``, ``linkpath`` of a PAX header
a PAX record with an empty value            takes back an earlier one; the header's field counts
``hdrcharset``, ``uname``, ``gname``        ignored: names are bytes, owners are numbers
``SCHILY.xattr.NAME``                       an attribute, also an empty one (which Go drops)
``LIBARCHIVE.xattr.NAME``                   ignored; bsdtar says the same by SCHILY.xattr
``SCHILY.acl.*``, ``SCHILY.fflags``         ignored
prefix field of magic ``ustar`` (POSIX)     in front of the name
the same place of magic ``ustar  `` (GNU)   atime and ctime, or the prefix that Go before 1.8 wrote
==========================================  ==================================================

Source: Go src/archive/tar/reader.go (next, readHeader, mergePAX).
"""

from imagekit.layers import tarformat
from imagekit.layers.errors import LayerFormatError
from imagekit.layers.sparse import SparseMap

XATTR_PREFIX = "SCHILY.xattr."
SPARSE_PREFIX = "GNU.sparse."
_SECOND_NS = 1_000_000_000
_NUMBERS = frozenset(("size", "uid", "gid"))
_MODE_BITS = 0o7777
_STAR_TRAILER = b"tar\0"
_STAR_PREFIX_BYTES = 131

Pax = dict[str, bytes]


class Fields:
    """What a header says; ``name`` and ``link`` are bytes as they stand there."""

    __slots__ = (
        "device", "gid", "is_sparse", "kind", "link", "magic", "mode", "mtime_ns", "name", "size",
        "uid", "xattrs",
    )  # fmt: skip

    def __init__(self, block: bytes, pax: Pax, long_name: bytes, long_link: bytes) -> None:
        (name, mode, uid, gid, size, mtime, _, kind, link, magic, _, _, major, minor, prefix,
         _) = tarformat.HEADER.unpack(block)  # fmt: skip
        number = tarformat.parse_number
        self.mode = number(mode) & _MODE_BITS
        self.uid = number(uid)
        self.gid = number(gid)
        self.size = number(size)
        self.mtime_ns = number(mtime) * _SECOND_NS
        self.kind = kind
        self.magic = magic[:6]
        self.device = (0, 0)
        self.is_sparse = kind == b"S"
        self.xattrs: tuple[tuple[str, bytes], ...] = ()
        if long_name:
            self.name = long_name
        elif prefix[0] or prefix[12]:
            self.name = full_name(block)
        else:
            self.name = name.partition(b"\0")[0]
        self.link = long_link or link.partition(b"\0")[0]
        if kind in b"34" and self.magic in (tarformat.USTAR, tarformat.GNU):
            self.device = (number(major), number(minor))
        if pax:
            self._override(pax, is_named=bool(long_name), is_linked=bool(long_link))
        if not 0 <= self.size < 1 << 63:
            raise LayerFormatError(f"the size {self.size} cannot be")

    def _override(self, pax: Pax, *, is_named: bool, is_linked: bool) -> None:
        xattrs = []
        for key, value in pax.items():
            if key.startswith(XATTR_PREFIX):
                xattrs.append((key[len(XATTR_PREFIX) :], value))
            elif not value:
                continue
            elif key == "path":
                if not is_named:
                    self.name = value
            elif key == "linkpath":
                if not is_linked:
                    self.link = value
            elif key in _NUMBERS:
                setattr(self, key, tarformat.parse_pax_number(key, value))
            elif key == "mtime":
                self.mtime_ns = tarformat.parse_pax_time(value)
            elif key.startswith(SPARSE_PREFIX):
                self.is_sparse = self.is_sparse or SparseMap.is_in(pax)
        if xattrs:
            self.xattrs = tuple(sorted(xattrs))


def full_name(block: bytes) -> bytes:
    """Return the name of a header block with the prefix that it may have."""
    name = block[: tarformat.NAME_BYTES].partition(b"\0")[0]
    prefix = block[345:500]
    magic = block[257:263]
    if magic == tarformat.USTAR:
        if block[508:] == _STAR_TRAILER:
            prefix = prefix[:_STAR_PREFIX_BYTES]
    elif magic != tarformat.GNU or _is_gnu_times(prefix[:24]):
        return name
    prefix = prefix.partition(b"\0")[0]
    if not prefix or (magic == tarformat.GNU and not prefix.isascii()):
        return name
    return prefix + b"/" + name


def _is_gnu_times(fields: bytes) -> bool:
    try:
        for field in (fields[:12], fields[12:]):
            if field[0]:
                tarformat.parse_number(field)
    except LayerFormatError:
        return False
    return True
