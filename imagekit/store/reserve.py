"""A piece of the disk that is kept so that a full disk can still be tidied.

SQLite cannot even read without room for its log's index, and deleting rows writes to the log before
anything gets smaller. So a store holds back a file that a prune gives up for as long as it needs
it. Commands that fill the disk never touch it.
"""

import contextlib
import os
from pathlib import Path

RESERVE_BYTES = 4 << 20
PLENTY_BYTES = 16 * RESERVE_BYTES
"""A smaller or fuller file system needs its space more than a reserve."""


class Reserve:
    """The file ``path``. Safe to use from several processes: it is there or it is not."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._was_spent = False

    def make(self) -> None:
        """Allocate it, if it is not there and there is plenty of space; else do nothing."""
        if not self._path.exists() and self._available() >= PLENTY_BYTES:
            self._allocate()

    def spend_if_full(self) -> None:
        """Give it up if less than its size is free."""
        if self._available() < RESERVE_BYTES:
            self.spend()

    def spend(self) -> bool:
        """Give it up and tell whether there was one."""
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        self._was_spent = True
        return True

    def restore(self) -> None:
        """Allocate it again if this process gave it up, as far as the disk allows."""
        if self._was_spent:
            self._was_spent = not self._allocate()

    def _available(self) -> int:
        try:
            status = os.statvfs(self._path.parent)
        except FileNotFoundError:
            return 0
        return status.f_bavail * status.f_frsize

    def _allocate(self) -> bool:
        """Make the file; a disk without the space for it has none to lose, so that is no error."""
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        try:
            os.posix_fallocate(fd, 0, RESERVE_BYTES)
        except OSError:
            # A part of it would be taken for the whole.
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()
            return False
        finally:
            os.close(fd)
        return True
