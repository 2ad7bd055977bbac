"""Byte ranges of requests: ``Range`` for pulls and ``Content-Range`` for pushed chunks.

Source: RFC 9110 sections 14.1 to 14.4; distribution-spec 1.1 "Pushing a blob in chunks".
"""

import re
from dataclasses import dataclass

from registry_server import errors
from registry_server.errors import RegistryError

_RANGE = re.compile(r"\s*bytes\s*=\s*([0-9]{0,19})\s*-\s*([0-9]{0,19})\s*\Z", re.IGNORECASE)
_CHUNK = re.compile(r"\s*(?:bytes[\s=])?\s*([0-9]{1,19})-([0-9]{1,19})(?:/(?:[0-9]+|\*))?\s*\Z")


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes from ``start`` up to and including ``last``."""

    start: int
    last: int

    @property
    def length(self) -> int:
        """How many bytes it covers."""
        return self.last - self.start + 1


def parse_range(header: str | None, size: int) -> ByteRange | None:
    """Return the part of ``size`` bytes that is asked for, or None for all of them.

    Another unit or a list of ranges is ignored, as RFC 9110 14.2 allows; an end past the size is
    cut to it.

    Raises:
        RegistryError: RANGE_INVALID with ``Content-Range: bytes */size``, when the range is empty
            or begins after the last byte.

    """
    if header is None:
        return None
    match = _RANGE.match(header)
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if first == "":
        start, end = max(size - int(last), 0), size - 1
    else:
        start, end = int(first), min(int(last) if last else size - 1, size - 1)
        if last and int(last) < start:
            end = -1
    if start > end:
        raise RegistryError(errors.RANGE_INVALID, headers=(("Content-Range", f"bytes */{size}"),))
    return ByteRange(start, end)


def parse_chunk(header: str | None) -> ByteRange | None:
    """Return the place of a pushed chunk, or None for a streamed upload that names none.

    Raises:
        RegistryError: UPLOAD_OUT_OF_ORDER for a header that is no range.

    """
    if header is None:
        return None
    match = _CHUNK.match(header)
    if match is None:
        raise RegistryError(errors.UPLOAD_OUT_OF_ORDER, {"content-range": header[:100]})
    chunk = ByteRange(int(match[1]), int(match[2]))
    # "0-0" with no bytes at all is how some clients announce an empty blob, so an end before the
    # start is left to the length check.
    if chunk.last < chunk.start - 1:
        raise RegistryError(errors.UPLOAD_OUT_OF_ORDER, {"content-range": header[:100]})
    return chunk
