"""Entries to a deterministic tar stream.

The bytes depend on the entries alone: numeric owners and no names, no access or change times,
ustar where a value fits and one PAX header, with its records in a fixed order, where it does not.
"""

import os
from collections.abc import Iterable

from imagekit.base.streams import Writable
from imagekit.layers import tarformat
from imagekit.layers.entry import Entry, EntryType
from imagekit.layers.errors import LayerContentError

FLUSH_BYTES = 1 << 20
_SECOND_NS = 1_000_000_000
_BLOCK = tarformat.BLOCK_BYTES


def write_layer(
    entries: Iterable[Entry],
    output: Writable,
    *,
    clamp_mtime: int | None = None,
    nanoseconds: bool = False,
) -> None:
    """Write ``entries`` as one tar archive, in the order they come.

    ``clamp_mtime`` (seconds since the epoch) is the latest time written. Times are cut to whole
    seconds, as docker and BuildKit do, unless ``nanoseconds``. ``output`` gets pieces of about
    1 MiB; it is not closed.

    Raises:
        LayerError: an entry's content cannot be read or does not have the announced size.

    """
    writer = LayerWriter(output, clamp_mtime=clamp_mtime, nanoseconds=nanoseconds)
    for entry in entries:
        writer.add(entry)
    writer.finish()


class LayerWriter:
    """A tar archive in the making, for those who have their entries one at a time."""

    def __init__(
        self, output: Writable, *, clamp_mtime: int | None = None, nanoseconds: bool = False
    ) -> None:
        self._output = output
        self._clamp_ns = None if clamp_mtime is None else clamp_mtime * _SECOND_NS
        self._nanoseconds = nanoseconds
        self._pieces: list[bytes] = []
        self._pending_bytes = 0

    def add(self, entry: Entry) -> None:
        """Append one entry with its content."""
        header = self._header(entry)
        self._pieces.append(header)
        self._pending_bytes += len(header)
        if entry.size:
            self._add_content(entry)
        if self._pending_bytes >= FLUSH_BYTES:
            self._flush()

    def finish(self) -> None:
        """Append the end-of-archive blocks and hand everything to the output."""
        self._pieces.append(tarformat.END_OF_ARCHIVE)
        self._flush()

    def _add_content(self, entry: Entry) -> None:
        if entry.type is not EntryType.REGULAR or entry.content is None:
            raise ValueError(f"{entry.path}: only a regular file has a size, and then content")
        written = 0
        for chunk in entry.content.chunks(entry.size):
            written += len(chunk)
            self._pieces.append(chunk)
            self._pending_bytes += len(chunk)
            if self._pending_bytes >= FLUSH_BYTES:
                self._flush()
        if written != entry.size:
            raise LayerContentError(f"{entry.path} changed its size while it was read")
        padding = -entry.size % _BLOCK
        if padding:
            self._pieces.append(bytes(padding))
            self._pending_bytes += padding

    def _flush(self) -> None:
        pieces = self._pieces
        self._output.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        self._pieces = []
        self._pending_bytes = 0

    def _header(self, entry: Entry) -> bytes:
        name = os.fsencode(entry.path)
        if entry.type is EntryType.DIRECTORY:
            name = b"./" if name == b"." else name + b"/"
        time_ns = entry.mtime_ns
        if self._clamp_ns is not None and time_ns > self._clamp_ns:
            time_ns = self._clamp_ns
        mtime, fraction = divmod(time_ns, _SECOND_NS)
        if not self._nanoseconds:
            fraction = 0
        if (
            fraction == 0
            and len(name) <= tarformat.NAME_BYTES
            and name.isascii()
            and not entry.link
            and not entry.xattrs
            and entry.uid <= tarformat.MAX_OCTAL_7
            and entry.gid <= tarformat.MAX_OCTAL_7
            and entry.size <= tarformat.MAX_OCTAL_11
            and 0 <= mtime <= tarformat.MAX_OCTAL_11
        ):
            return tarformat.encode_header(
                name, b"", entry.mode, entry.uid, entry.gid, entry.size, mtime, entry.type.value,
                b"", entry.device,
            )  # fmt: skip
        return _large_header(entry, name, mtime * _SECOND_NS + fraction)


def _large_header(entry: Entry, name: bytes, time_ns: int) -> bytes:
    """Return the blocks for what may need a prefix or a PAX header."""
    link = os.fsencode(entry.link)
    mtime, fraction = divmod(time_ns, _SECOND_NS)
    records: list[tuple[bytes, bytes]] = []
    parts = tarformat.split_name(name)
    if parts is None or not (name.isascii() or (parts[0] == b"" and not _is_utf8(name))):
        records.append((b"path", name))
        parts = parts or (b"", name[: tarformat.NAME_BYTES])
    if len(link) > tarformat.NAME_BYTES or not (link.isascii() or not _is_utf8(link)):
        records.append((b"linkpath", link))
        link = link[: tarformat.NAME_BYTES]
    uid, gid, size = entry.uid, entry.gid, entry.size
    if uid > tarformat.MAX_OCTAL_7:
        records.append((b"uid", b"%d" % uid))
        uid = 0
    if gid > tarformat.MAX_OCTAL_7:
        records.append((b"gid", b"%d" % gid))
        gid = 0
    if size > tarformat.MAX_OCTAL_11:
        records.append((b"size", b"%d" % size))
        size = 0
    if fraction or not 0 <= mtime <= tarformat.MAX_OCTAL_11:
        records.append((b"mtime", tarformat.format_pax_time(time_ns)))
        mtime = min(max(mtime, 0), tarformat.MAX_OCTAL_11)
    for key, value in entry.xattrs:
        records.append((b"SCHILY.xattr." + os.fsencode(key), value))

    header = tarformat.encode_header(
        parts[1], parts[0], entry.mode, uid, gid, size, mtime, entry.type.value, link, entry.device
    )
    if not records:
        return header
    if any(not _is_utf8(value) for key, value in records if key in (b"path", b"linkpath")):
        # POSIX: without it bsdtar takes names in extended headers for UTF-8.
        records.append((b"hdrcharset", b"BINARY"))
    records.sort()
    return tarformat.encode_pax(name, records) + header


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
