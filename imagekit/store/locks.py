"""Locks between processes: flock(2), which the kernel drops when the holder dies."""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from imagekit.store.errors import host_errors


class Locks:
    """Named locks as files below ``directory``; also between the threads of one process.

    Not reentrant: a thread that takes a name twice waits for itself.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @contextlib.contextmanager
    def exclusive(self, name: str) -> Iterator[None]:
        """Hold the lock ``name`` alone, waiting for as long as it takes."""
        with self._held(name, fcntl.LOCK_EX):
            yield

    @contextlib.contextmanager
    def shared(self, name: str) -> Iterator[None]:
        """Hold the lock ``name`` together with others that want it shared."""
        with self._held(name, fcntl.LOCK_SH):
            yield

    @contextlib.contextmanager
    def _held(self, name: str, operation: int) -> Iterator[None]:
        key = hashlib.sha256(name.encode()).hexdigest()[:32]
        with host_errors(f"lock {name!r}"):
            fd = os.open(self._directory / key, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            with host_errors(f"lock {name!r}"):
                fcntl.flock(fd, operation)
            yield
        finally:
            os.close(fd)
