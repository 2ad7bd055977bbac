"""How much an archive may ask for, and which values no file can have."""

import os

import msgspec

from imagekit.layers.errors import LayerFormatError, LayerLimitError, shown
from imagekit.layers.header import Fields

_SECOND_NS = 1_000_000_000
_MAX_ID = 0xFFFFFFFE
_NAME_MAX = 255
_WHITEOUT_PREFIX = b".wh."  # of a name that is deleted, not made
_XATTR_NAME_MAX = 255
_XATTR_SIZE_MAX = 1 << 16


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much an archive may ask for. The defaults stop bombs, not images."""

    entries: int = 10_000_000
    unpacked_bytes: int = 128 << 30
    """Of one archive: its files together, and the tar stream itself."""
    ratio: int = 1100
    """Unpacked to packed bytes, beyond the first ``bounded.FREE_BYTES``; 0 is no limit.

    Deflate cannot pack better than 1032 to 1, so no gzip layer is refused for its zeros. zstd and
    xz can, but a file system of which less than a thousandth has content is not seen.
    """
    header_bytes: int = 1 << 20
    """Of one PAX header, which also carries extended attributes."""
    path_bytes: int = 4095
    """Of a name or link target; PATH_MAX counts the NUL, so the kernel takes no longer one."""
    xattrs: int = 1024
    """Of one entry. Sizes are the kernel's: names of 255 bytes, values of 64 KiB."""


def check(header: Fields, name: bytes, limits: Limits) -> None:
    """Refuse values that no file can have.

    Raises:
        LayerFormatError, LayerLimitError: one of them is.

    """
    link = header.link
    if len(name) > limits.path_bytes or len(link) > limits.path_bytes:
        raise LayerLimitError(f"a name in the archive is longer than {limits.path_bytes} bytes")
    if len(name) > _NAME_MAX:
        for part in name.split(b"/"):
            if len(part.removeprefix(_WHITEOUT_PREFIX)) > _NAME_MAX:
                raise LayerLimitError(
                    f"one part of the name has {len(part)} bytes (limit {_NAME_MAX})"
                )
    if not name or b"\0" in name or b"\0" in link:
        raise LayerFormatError("a tar member has an empty name or a NUL in it")
    if not (0 <= header.uid <= _MAX_ID and 0 <= header.gid <= _MAX_ID):
        raise LayerFormatError(f"owner {header.uid}:{header.gid} is not a pair of 32-bit ids")
    if abs(header.mtime_ns) >= _SECOND_NS << 62:
        raise LayerFormatError("bad time in a tar header")
    if header.device != (0, 0):
        _check_device(*header.device)
    if header.xattrs:
        _check_xattrs(header.xattrs, limits)


def _check_device(major: int, minor: int) -> None:
    if not (0 <= major < 1 << 12 and 0 <= minor < 1 << 20):
        raise LayerFormatError(f"bad device number {major}:{minor}")


def _check_xattrs(xattrs: tuple[tuple[str, bytes], ...], limits: Limits) -> None:
    if len(xattrs) > limits.xattrs:
        raise LayerLimitError(f"{len(xattrs)} extended attributes (limit {limits.xattrs})")
    for key, value in xattrs:
        too_long = len(key) > _XATTR_NAME_MAX // 4 and len(os.fsencode(key)) > _XATTR_NAME_MAX
        if too_long or len(value) > _XATTR_SIZE_MAX:
            raise LayerLimitError(
                f"the extended attribute {shown(key)} of {len(value)} bytes is larger than Linux "
                f"allows (name {_XATTR_NAME_MAX}, value {_XATTR_SIZE_MAX})"
            )
