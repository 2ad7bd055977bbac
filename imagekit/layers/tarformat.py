"""512-byte tar headers to fields and back.

Written: POSIX.1-2001 (ustar, with a PAX extended header only for what ustar cannot hold), which
GNU tar, bsdtar, Go's archive/tar and Python read. Read: that, V7, GNU and star.

Source: POSIX.1-2017 pax, "ustar Interchange Format" and "pax Extended Header"; GNU tar manual,
"Basic Tar Format".
"""

import struct
import zlib
from collections.abc import Sequence
from functools import lru_cache

from imagekit.layers.errors import LayerFormatError

BLOCK_BYTES = 512
ZERO_BLOCK = bytes(BLOCK_BYTES)
END_OF_ARCHIVE = bytes(2 * BLOCK_BYTES)

NAME_BYTES = 100
PREFIX_BYTES = 155
MAX_OCTAL_7 = 0o7777777
MAX_OCTAL_11 = 0o77777777777

# name mode uid gid size mtime checksum type link magic+version uname gname major minor prefix pad
HEADER = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12s")
USTAR = b"ustar\0"
GNU = b"ustar "
_TAIL = USTAR + b"00" + bytes(64)
_EMPTY_TAIL = bytes(100) + _TAIL + b"0000000\0" * 2 + bytes(167)
_BLANK_CHECKSUM = b"        "
_BLANK_SUM = sum(_BLANK_CHECKSUM)
_SPARSE_PART = ("GNU.sparse.offset", "GNU.sparse.numbytes")
_TEXTS = frozenset(("path", "linkpath", "uname", "gname"))


def checksum(block: bytes) -> int:
    """Return the sum of a header's bytes."""
    # The low half of Adler-32 is 1 + the sum modulo 65521, and 512 ASCII bytes stay below that:
    # 0.2 us in C where sum() takes 4.
    if block.isascii():
        return (zlib.adler32(block) & 0xFFFF) - 1
    return sum(block)


def is_header(block: bytes) -> bool:
    """Tell whether ``block`` is a header: 512 bytes with the checksum they claim."""
    if len(block) != BLOCK_BYTES or block == ZERO_BLOCK:
        return False
    try:
        claimed = parse_number(block[148:156])
    except LayerFormatError:
        return False
    # The sum counts its own field as spaces.
    if checksum(block) - sum(block[148:156]) + _BLANK_SUM == claimed:
        return True
    # Some old tars summed signed chars.
    blanked = block[:148] + _BLANK_CHECKSUM + block[156:]
    return sum(byte - 256 if byte > 127 else byte for byte in blanked) == claimed


@lru_cache(maxsize=4096)
def parse_number(field: bytes) -> int:
    """Return the value of a numeric field: octal text, or base-256 when the top bit is set.

    Raises:
        LayerFormatError: it is neither.

    """
    if field[0] & 0x80:
        value = int.from_bytes(field, "big")
        bits = 8 * len(field)
        if field[0] & 0x40:  # two's complement, the marker bit being the sign
            return value - (1 << bits)
        return value & ((1 << (bits - 1)) - 1)
    text = field[:-1]
    if not text.isdigit() or field[-1] not in b"\0 ":  # as hardly any program writes it
        text = field.strip(b" \0").partition(b"\0")[0].rstrip(b" ")
        if not text:
            return 0
        if not text.isdigit():
            raise LayerFormatError(f"bad number in a tar header: {field!r}")
    try:
        return int(text, 8)
    except ValueError:
        raise LayerFormatError(f"bad number in a tar header: {field!r}") from None


def split_name(name: bytes) -> tuple[bytes, bytes] | None:
    """Return (prefix, name) as ustar stores them, or None when the name does not fit."""
    if len(name) <= NAME_BYTES:
        return b"", name
    if len(name) > PREFIX_BYTES + 1 + NAME_BYTES:
        return None
    cut = name.find(b"/", len(name) - NAME_BYTES - 1, PREFIX_BYTES + 1)
    # A slash at the very end would leave an empty name.
    if cut <= 0 or cut == len(name) - 1:
        return None
    return name[:cut], name[cut + 1 :]


def encode_header(
    name: bytes,
    prefix: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    kind: bytes,
    link: bytes = b"",
    device: tuple[int, int] = (0, 0),
) -> bytes:
    """Return one ustar header block; every value must fit its field."""
    head = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0" % (
        name.ljust(100, b"\0"), mode, uid, gid, size, mtime,
    )  # fmt: skip
    if link or prefix or device != (0, 0):
        tail = b"%b%b%b%07o\0%07o\0%b" % (
            kind, link.ljust(100, b"\0"), _TAIL, device[0], device[1], prefix.ljust(167, b"\0"),
        )  # fmt: skip
    else:
        tail = kind + _EMPTY_TAIL
    blanked = head + _BLANK_CHECKSUM + tail
    return b"%b%06o\0 %b" % (head, checksum(blanked), tail)


def encode_pax(name: bytes, records: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return the blocks of an extended header for the member ``name``; records in given order."""
    body = b"".join(_pax_record(key, value) for key, value in records)
    folder, _, base = name.rstrip(b"/").rpartition(b"/")
    own_name = (folder + b"/PaxHeaders.0/" + base).lstrip(b"/")[:NAME_BYTES].rstrip(b"/")
    # The extended header's own name means nothing to readers; Go, too, makes it plain ASCII.
    own_name = bytes(byte for byte in own_name if 0 < byte < 128)
    header = encode_header(own_name, b"", 0o644, 0, 0, len(body), 0, b"x")
    return header + body + bytes(-len(body) % BLOCK_BYTES)


def _pax_record(key: bytes, value: bytes) -> bytes:
    # The length counts itself: adding its digits can add one more.
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)


def parse_pax(body: bytes) -> dict[str, bytes]:
    """Return the records of an extended header; of several with one key the last.

    Sparse files of PAX 0.0 repeat two keys for each of their parts: these come joined under
    ``GNU.sparse.map``, as PAX 0.1 spells it.

    Raises:
        LayerFormatError: a record's length or shape is wrong.

    """
    records: dict[str, bytes] = {}
    parts: list[bytes] = []
    at = 0
    end = len(body)
    has_nul = b"\0" in body
    has_parts = b"GNU.sparse." in body
    while at < end and body[at] != 0:
        space = body.find(b" ", at, at + 12)
        digits = body[at:space] if space > at else b""
        if not digits.isdigit():
            raise LayerFormatError("bad record length in an extended tar header")
        stop = at + int(digits)
        equals = body.find(b"=", space + 1, stop)
        if stop > end or equals <= space + 1 or body[stop - 1 : stop] != b"\n":
            raise LayerFormatError("bad record in an extended tar header")
        key = body[space + 1 : equals].decode("utf-8", "surrogateescape")
        value = body[equals + 1 : stop - 1]
        if has_nul and ("\0" in key or (b"\0" in value and key in _TEXTS)):
            raise LayerFormatError("a NUL in an extended tar header")
        if has_parts and key in _SPARSE_PART:
            if key != _SPARSE_PART[len(parts) % 2] or b"," in value:
                raise LayerFormatError("the map of a sparse file is not in order")
            parts.append(value)
        else:
            records[key] = value
        at = stop
    if parts:
        records["GNU.sparse.map"] = b",".join(parts)
    return records


def parse_pax_number(key: str, value: bytes) -> int:
    """Return a decimal record (size, uid, gid and the like), never negative."""
    if not value.isdigit() or len(value) > 20:
        raise LayerFormatError(f"bad {key} in an extended tar header: {value[:40]!r}")
    return int(value)


def parse_pax_time(value: bytes) -> int:
    """Return a PAX time ("-1.5", "1700000000.123456789") in nanoseconds."""
    sign, digits = (-1, value[1:]) if value[:1] == b"-" else (1, value)
    whole, _, fraction = digits.partition(b".")
    if not whole.isdigit() or len(whole) > 19 or not (fraction or b"0").isdigit():
        raise LayerFormatError(f"bad time in an extended tar header: {value[:40]!r}")
    return sign * (int(whole) * 1_000_000_000 + int(fraction[:9].ljust(9, b"0")))


def format_pax_time(time_ns: int) -> bytes:
    """Return nanoseconds since the epoch as a PAX time without trailing zeros."""
    whole, fraction = divmod(abs(time_ns), 1_000_000_000)
    sign = "-" if time_ns < 0 else ""
    text = f"{sign}{whole}.{fraction:09d}".rstrip("0").rstrip(".")
    return text.encode()
