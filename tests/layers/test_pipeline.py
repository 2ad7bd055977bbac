"""Reading and writing in a second thread changes nothing but the time."""

import io
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.layers.pipeline import AHEAD_BYTES, DIRECT_BYTES, ReadAhead

LARGE = bytes(range(256)) * ((4 * DIRECT_BYTES + 1000) // 256)


class Failing:
    """Gives ``good`` bytes, then fails."""

    def __init__(self, good: int) -> None:
        self._left = good

    def read(self, size: int = -1, /) -> bytes:
        if self._left <= 0:
            raise ValueError("broken")
        size = min(size, self._left)
        self._left -= size
        return bytes(size)


class Counting(io.BytesIO):
    """Remembers in which threads it was read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.threads: set[int] = set()

    def read(self, size: int | None = -1, /) -> bytes:
        self.threads.add(threading.get_ident())
        return super().read(size)


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "layer-reader"}


@given(sizes=st.lists(st.sampled_from([1, 512, 1000, AHEAD_BYTES, 3 * AHEAD_BYTES]), min_size=1))
def test_what_is_read_ahead_is_what_is_there(sizes: list[int]) -> None:
    with ReadAhead(io.BytesIO(LARGE)) as ahead:
        got = [ahead.read(DIRECT_BYTES) for _ in range(5)]
        for size in sizes:
            piece = ahead.read(size)
            assert len(piece) <= size
            got.append(piece)
        got.append(ahead.read())
        assert ahead.read() == ahead.read(5) == b""
    assert b"".join(got) == LARGE


def test_small_streams_cost_no_thread() -> None:
    source = Counting(b"small")
    with ReadAhead(source) as ahead:
        assert ahead.read() == b"small"
    assert source.threads == {threading.get_ident()}


def test_large_streams_are_read_by_another_thread() -> None:
    source = Counting(LARGE)
    with ReadAhead(source) as ahead:
        assert ahead.read() == LARGE
    assert len(source.threads) == 2
    assert not threads()


@pytest.mark.parametrize("good", [0, 10, 3 * DIRECT_BYTES])
def test_errors_come_where_they_would_have_come(good: int) -> None:
    got = 0
    with ReadAhead(Failing(good)) as ahead:
        while got < good:
            got += len(ahead.read(1000))
        with pytest.raises(ValueError, match="broken"):
            ahead.read(1000)
        with pytest.raises(ValueError, match="broken"):
            ahead.read(1000)
    assert got == good
    assert not threads()


def test_leaving_in_the_middle_ends_the_thread() -> None:
    with ReadAhead(Failing(1 << 40)) as ahead:
        for _ in range(10):
            ahead.read(DIRECT_BYTES)
    assert not threads()
