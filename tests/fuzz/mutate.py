"""Changing tar archives where it hurts: in their headers, with right checksums, and their order."""

import random
from collections.abc import Callable

from tests.layers.judges import FIELDS, header, long, pax, with_checksum

BLOCK = 512
NAMES = (
    b"a", b"d", b"d/a", b"d/l/a", b"l", b"l/a", b"h", b"..", b"../secret", b"/secret", b"d/../..",
    b".", b"./", b"/", b"", b"d/", b"d//a", b"./d/./a", b"d/../a", b".wh.a", b".wh.d", b"d/.wh.a",
    b".wh.l", b".wh..wh..opq", b"d/.wh..wh..opq", b"l/.wh..wh..opq", b".wh.", b".wh..", b".wh...",
    b".wh..wh.aufs", b".wh.d/a", b"lower", b"lower/f", b"lower/sub/g", b"lower/.wh.f", b"lower/l",
    b"lower/sub/.wh..wh..opq", b"x" * 99, b"x" * 100, b"n" * 60 + b"/" + b"m" * 30, b"\xff\xfe",
    b"\n", b"../house/secret", b"a\0b",
)  # fmt: skip
KINDS = b"000001112222334555556xgLKSDVM7XZ\0"
NUMBERS = (
    b"", b"0000000", b"0000001", b"7777777", b"00000001000", b"77777777777", b"-1", b"8",
    b"   644 ", b"\x80\0\0\0\0\0\0\1", b"\xff" * 12, b"\x80" + b"\xff" * 11,
    b"\x80\0\0\0\x40\0\0\0\0\0\0\0",
    b"\x80\0\0\0\0\0\0\0\0\0\2\0", b"00000000003\0", b"00000000777\0", b"\xc0" + bytes(11),
)  # fmt: skip
KEYS = (
    b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime", b"atime", b"hdrcharset", b"uname",
    b"SCHILY.xattr.user.x", b"SCHILY.xattr.", b"SCHILY.xattr.user.overlay.opaque",
    b"SCHILY.xattr.trusted.overlay.redirect", b"SCHILY.xattr.security.capability",
    b"SCHILY.xattr.user.a\0b", b"LIBARCHIVE.xattr.user.x", b"GNU.sparse.major", b"GNU.sparse.minor",
    b"GNU.sparse.name", b"GNU.sparse.size", b"GNU.sparse.realsize", b"GNU.sparse.map",
    b"GNU.sparse.numblocks", b"GNU.sparse.offset", b"GNU.sparse.numbytes", b"comment",
)  # fmt: skip
VALUES = (
    b"", b"0", b"1", b"2", b"3", b"5,3", b"0,1,2,1", b"9223372036854775807",
    b"99999999999999999999", b"-1", b"1.5", b"-1.5", b"1e9", b"4294967295", b"4294967296",
    b"512", b"y", b"a\0b", b"\xff",
    b"1000000", b"262144,1",
)  # fmt: skip
NUMBER_FIELDS = ("mode", "uid", "gid", "size_field", "mtime", "major", "minor")
BYTES = (0, 32, 47, 48, 128, 255)
TEXTS = ("magic", "prefix", "trailer", "atime", "ctime", "sparse", "more", "real_size")
MAGICS = (b"ustar\x0000", b"ustar  \0", b"", b"tar\0", b"00000000001\0" * 2, b"old/prefix", b"\1")


def mutate(data: bytes, chance: random.Random, max_bytes: int) -> bytes:
    """Return ``data`` with one to four changes, at most ``max_bytes`` long."""
    blocks = [data[at : at + BLOCK].ljust(BLOCK, b"\0") for at in range(0, len(data), BLOCK)]
    tail = len(data) % BLOCK
    for _ in range(chance.choice((1, 1, 2, 4))):
        chance.choice(CHANGES)(blocks, chance)
    mutated = b"".join(blocks)[:max_bytes]
    if tail and chance.random() < 0.5:
        mutated = mutated[: len(mutated) - BLOCK + tail]
    return mutated


def _headers(blocks: list[bytes]) -> list[int]:
    return [
        at for at, block in enumerate(blocks) if with_checksum(block)[148:154] == block[148:154]
    ]


def _some_header(blocks: list[bytes], chance: random.Random) -> int:
    return chance.choice(_headers(blocks) or range(len(blocks)))


def _change_field(blocks: list[bytes], chance: random.Random) -> None:
    if not blocks:
        return
    at = _some_header(blocks, chance)
    block = bytearray(blocks[at])
    what = chance.randrange(5)
    if what == 0:
        block[:100] = chance.choice(NAMES)[:100].ljust(100, b"\0")
    elif what == 1:
        block[157:257] = chance.choice(NAMES)[:100].ljust(100, b"\0")
    elif what == 2:
        block[156] = chance.choice(KINDS)
    elif what == 3:
        start, stop = FIELDS[
            chance.choice(("mode", "uid", "gid", "size_field", "mtime", "major", "minor"))
        ]
        block[start:stop] = chance.choice(NUMBERS)[: stop - start].ljust(stop - start, b"\0")
    else:
        start, stop = FIELDS[chance.choice(TEXTS)]
        block[start:stop] = chance.choice(MAGICS)[: stop - start].ljust(stop - start, b"\0")
    blocks[at] = with_checksum(block)


def _insert(blocks: list[bytes], chance: random.Random) -> None:
    at = _some_header(blocks, chance) if blocks else 0
    what = chance.randrange(4)
    if what == 0:
        records = [
            (chance.choice(KEYS), chance.choice((*VALUES, *NAMES)))
            for _ in range(chance.randrange(1, 5))
        ]
        new = pax(*records, kind=chance.choice((b"x", b"x", b"g")))
    elif what == 1:
        new = long(chance.choice(NAMES), chance.choice((b"L", b"K")))
    elif what == 2:
        kind = bytes([chance.choice(KINDS)])
        new = header(chance.choice(NAMES), kind=kind, link=chance.choice(NAMES))
    else:
        new = bytes(BLOCK)
    blocks[at:at] = [new[start : start + BLOCK] for start in range(0, len(new), BLOCK)]


def _copy(blocks: list[bytes], chance: random.Random) -> None:
    if blocks:
        start, to = chance.randrange(len(blocks)), chance.randrange(len(blocks))
        blocks[to:to] = blocks[start : start + chance.randrange(1, 4)]


def _delete(blocks: list[bytes], chance: random.Random) -> None:
    if blocks:
        start = chance.randrange(len(blocks))
        del blocks[start : start + chance.randrange(1, 4)]


def _swap(blocks: list[bytes], chance: random.Random) -> None:
    if blocks:
        one, two = _some_header(blocks, chance), _some_header(blocks, chance)
        blocks[one], blocks[two] = blocks[two], blocks[one]


def _bytes(blocks: list[bytes], chance: random.Random) -> None:
    if blocks:
        at = chance.randrange(len(blocks))
        block = bytearray(blocks[at])
        is_header = at in _headers(blocks)
        for _ in range(chance.randrange(1, 5)):
            block[chance.randrange(BLOCK)] = chance.choice(
                (0, 32, 47, 48, 128, 255, chance.randrange(256))
            )
        blocks[at] = with_checksum(block) if is_header else bytes(block)


Change = Callable[[list[bytes], random.Random], None]
CHANGES: tuple[Change, ...] = (
    _change_field, _change_field, _change_field, _insert, _insert, _copy, _delete, _swap, _bytes,
)  # fmt: skip


def mutate_bytes(data: bytes, chance: random.Random, max_bytes: int) -> bytes:
    """Return ``data`` with a few bytes changed, taken out, doubled or cut off."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8))):
        at = chance.randrange(len(changed) + 1)
        match chance.randrange(5):
            case 0 if at < len(changed):
                changed[at] = chance.randrange(256)
            case 1 if at < len(changed):
                changed[at] ^= 1 << chance.randrange(8)
            case 2:
                del changed[at : at + chance.choice((1, 4, 64))]
            case 3:
                changed[at:at] = changed[at : at + chance.choice((1, 8, 64))]
            case _ if chance.random() < 0.2:
                del changed[at:]
    return bytes(changed[:max_bytes])
