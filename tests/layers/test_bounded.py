"""What an archive may unpack to. Gigabytes are one MiB that is given again and again."""

import gzip
import io

import pytest

from imagekit.base.streams import copy_stream
from imagekit.layers.bounded import FREE_BYTES, CountingReader, LimitedReader
from imagekit.layers.compression import open_layer
from imagekit.layers.errors import LayerLimitError, LayerRatioError
from imagekit.layers.limits import Limits

MIB = bytes(1 << 20)


class Endless:
    """A stream of zeros of some length, however much of it there is."""

    def __init__(self, size: int) -> None:
        self._left = size

    def read(self, size: int = -1, /) -> bytes:
        given = min(self._left, len(MIB) if size < 0 else size, len(MIB))
        self._left -= given
        return MIB if given == len(MIB) else bytes(given)


def unpack(packed_bytes: int, unpacked_bytes: int, limits: Limits) -> int:
    packed = CountingReader(Endless(packed_bytes))
    while packed.read():
        pass
    reader = LimitedReader(Endless(unpacked_bytes), packed, limits)
    total = 0
    while data := reader.read(len(MIB)):
        total += len(data)
    return total


def test_any_ratio_is_free_at_first() -> None:
    assert unpack(1000, FREE_BYTES, Limits()) == FREE_BYTES


def test_a_ratio_that_only_a_bomb_has() -> None:
    with pytest.raises(LayerRatioError, match="more than 1100 times"):
        unpack(1 << 20, FREE_BYTES + 1, Limits())


def test_zeros_in_gzip_are_no_bomb() -> None:
    size = 6 << 30

    assert unpack(size // 1032, size, Limits()) == size


def test_the_ratio_can_be_without_limit() -> None:
    assert unpack(1, FREE_BYTES + 1, Limits(ratio=0)) == FREE_BYTES + 1


def test_the_size_has_a_limit_of_its_own() -> None:
    with pytest.raises(LayerLimitError, match="more than 5000000 bytes") as caught:
        unpack(5_000_001, 5_000_001, Limits(unpacked_bytes=5_000_000))

    assert type(caught.value) is LayerLimitError
    assert caught.value.hint is not None


def test_a_packed_layer_is_limited() -> None:
    packed = gzip.compress(MIB * 20)

    _, plain = open_layer(io.BytesIO(packed), limits=Limits(unpacked_bytes=10 << 20))
    with pytest.raises(LayerLimitError):
        copy_stream(plain, len)
