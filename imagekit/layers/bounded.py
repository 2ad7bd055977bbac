"""A layer's plain bytes, as long as they stay within limits."""

from imagekit.base.streams import Readable
from imagekit.layers.errors import LayerLimitError, LayerRatioError
from imagekit.layers.limits import Limits

FREE_BYTES = 4 << 30
"""What any layer may unpack to, however small it is packed: zeros are honest content too."""


class CountingReader:
    """Pass a stream through and count it."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self.count = 0

    def read(self, size: int = -1, /) -> bytes:
        """Read from the source; what is returned has been counted."""
        data = self._source.read(size)
        self.count += len(data)
        return data


class LimitedReader:
    """The plain bytes of ``packed``, as long as they stay within ``limits``."""

    def __init__(self, plain: Readable, packed: CountingReader, limits: Limits) -> None:
        self._plain = plain
        self._packed = packed
        self._limits = limits
        self._unpacked = 0

    def read(self, size: int = -1, /) -> bytes:
        """Read from the plain stream.

        Raises:
            LayerLimitError: when there are more bytes than a layer may have.
            LayerRatioError: when there are more than so few packed bytes may unpack to.

        """
        data = self._plain.read(size)
        self._unpacked += len(data)
        limits = self._limits
        if self._unpacked > limits.unpacked_bytes:
            raise LayerLimitError(f"the stream unpacks to more than {limits.unpacked_bytes} bytes")
        if (
            limits.ratio
            and self._unpacked > FREE_BYTES
            and self._unpacked > limits.ratio * self._packed.count
        ):
            raise LayerRatioError(
                f"{self._packed.count} packed bytes unpack to more than {limits.ratio} times as"
                " many, like a bomb"
            )
        return data
