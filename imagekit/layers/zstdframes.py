"""Where the frames of a zstd stream end.

python-zstandard's streaming reader takes a stream cut off inside a frame for a finished one, and
its object interface cannot bound its output. So the reader is given its input through a watch
that follows the frame and block headers and knows whether the stream may end where it did.

Source: RFC 8878, section 3.1 "Frames".
"""

from imagekit.base.streams import Readable
from imagekit.layers.errors import LayerCompressionError, LayerTruncatedError

_FRAME_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = b"\x2a\x4d\x18"
_DICTIONARY_ID_BYTES = (0, 1, 2, 4)
_CONTENT_SIZE_BYTES = (0, 2, 4, 8)
_RLE_BLOCK = 1


class FrameWatch:
    """Pass a zstd stream through and follow its structure."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._skip = 0
        self._held = b""
        self._in_frame = False
        self._has_checksum = False

    def read(self, size: int = -1, /) -> bytes:
        """Read from the source.

        Raises:
            LayerTruncatedError: at the end, when it is inside a frame.

        """
        data = self._source.read(size)
        if data:
            self._follow(data)
        elif size != 0 and (self._skip or self._held or self._in_frame):
            raise LayerTruncatedError("the zstd stream ends in the middle")
        return data

    def _follow(self, data: bytes) -> None:
        at = 0
        if self._held:
            data = self._held + data
            self._held = b""
        while True:
            if self._skip > len(data) - at:
                self._skip -= len(data) - at
                return
            at += self._skip
            self._skip = 0
            used = self._block(data, at) if self._in_frame else self._frame(data, at)
            if used == 0:
                self._held = data[at:]
                return
            at += used

    def _frame(self, data: bytes, at: int) -> int:
        """Take a frame header; return its length, or 0 when more input is needed."""
        head = data[at : at + 8]
        if len(head) < 5:
            return 0
        if head[1:4] == _SKIPPABLE and head[0] & 0xF0 == 0x50:
            if len(head) < 8:
                return 0
            self._skip = int.from_bytes(head[4:8], "little")
            return 8
        if head[:4] != _FRAME_MAGIC:
            raise LayerCompressionError("the zstd stream is corrupt: unknown frame")
        descriptor = head[4]
        single_segment = descriptor & 0x20
        size_bytes = _CONTENT_SIZE_BYTES[descriptor >> 6]
        if single_segment and size_bytes == 0:
            size_bytes = 1
        self._has_checksum = bool(descriptor & 0x04)
        self._in_frame = True
        self._skip = (
            (0 if single_segment else 1) + _DICTIONARY_ID_BYTES[descriptor & 3] + size_bytes
        )
        return 5

    def _block(self, data: bytes, at: int) -> int:
        """Take a block header; return its length, or 0 when more input is needed."""
        if len(data) - at < 3:
            return 0
        header = int.from_bytes(data[at : at + 3], "little")
        size = 1 if (header >> 1) & 3 == _RLE_BLOCK else header >> 3
        self._skip = size
        if header & 1:
            self._in_frame = False
            self._skip += 4 if self._has_checksum else 0
        return 3
