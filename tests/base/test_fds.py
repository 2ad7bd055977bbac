"""Descriptors with one owner."""

import os
from pathlib import Path

import pytest

from imagekit.base.fds import OwnedFd


def is_open(fd: int) -> bool:
    return Path(f"/proc/self/fd/{fd}").is_symlink()


def new_fd() -> int:
    return os.memfd_create("test")


def test_a_block_closes_it() -> None:
    with OwnedFd(new_fd()) as owned:
        number = owned.fileno()
        assert is_open(number)

    assert not is_open(number)
    with pytest.raises(ValueError, match="closed"):
        owned.fileno()


def test_an_exception_closes_it() -> None:
    number = new_fd()

    with pytest.raises(KeyError), OwnedFd(number):
        raise KeyError

    assert not is_open(number)


def test_closing_twice_closes_no_foreign_descriptor() -> None:
    owned = OwnedFd(new_fd())
    number = owned.fileno()
    owned.close()
    reused = new_fd()
    assert reused == number

    owned.close()

    assert is_open(reused)
    os.close(reused)


def test_what_was_detached_stays_open() -> None:
    with OwnedFd(new_fd()) as owned:
        number = owned.detach()

    assert is_open(number)
    os.close(number)
    with pytest.raises(ValueError, match="closed"):
        owned.detach()


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not a file descriptor: -1"):
        OwnedFd(-1)
