"""Values that come later."""

import threading

import pytest

from imagekit.base.promise import Promise


def test_every_waiter_gets_the_value() -> None:
    promise: Promise[int] = Promise()
    got: list[int] = []
    waiters = [threading.Thread(target=lambda: got.append(promise.result())) for _ in range(3)]
    for waiter in waiters:
        waiter.start()
    assert not promise.done()

    promise.set_result(7)

    for waiter in waiters:
        waiter.join(10)
    assert got == [7, 7, 7]
    assert promise.done()


def test_an_error_is_raised_for_every_waiter() -> None:
    promise: Promise[int] = Promise()
    promise.set_exception(ValueError("no"))

    promise.wait()
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            promise.result()


def test_none_is_a_value() -> None:
    promise: Promise[None] = Promise()
    promise.set_result(None)

    promise.result()
    assert promise.done()
