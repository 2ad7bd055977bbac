"""How much of the disk files take, counted as du(1) counts: whole blocks, hard links once."""

import contextlib
import errno
import os
import stat
from pathlib import Path

BLOCK_BYTES = 512  # the unit of st_blocks, whatever the file system's own is: stat(2)
_PASSED_OVER = (errno.ENAMETOOLONG, errno.ENOENT, errno.EACCES)


class DiskMeter:
    """Adds up bytes on the disk; what has several names counts where it is met first.

    One meter for a whole report makes its parts add up to what ``du -x`` says of the whole.
    """

    def __init__(self) -> None:
        self._linked: set[tuple[int, int]] = set()

    def tree(self, path: Path) -> int:
        """Return the bytes of a file, or of a directory with all below; 0 if it is not there.

        Other file systems are not entered, symbolic links not followed. What lies too deep for a
        path name (PATH_MAX), may not be read, or vanishes meanwhile is left out: the figure is for
        reports.
        """
        try:
            top = os.lstat(path)
        except FileNotFoundError:
            return 0
        total = self.entry(top)
        pending = [str(path)] if stat.S_ISDIR(top.st_mode) else []
        while pending:
            try:
                entries = os.scandir(pending.pop())
            except OSError as error:
                if error.errno in _PASSED_OVER:
                    continue
                raise
            with entries:
                for entry in entries:
                    with contextlib.suppress(FileNotFoundError):
                        status = entry.stat(follow_symlinks=False)
                        if status.st_dev != top.st_dev:
                            continue
                        if stat.S_ISDIR(status.st_mode):
                            pending.append(entry.path)
                        total += self.entry(status)
        return total

    def own(self, path: Path) -> int:
        """Return the bytes of a file, or of a directory without what is in it; 0 if not there."""
        try:
            return self.entry(os.lstat(path))
        except FileNotFoundError:
            return 0

    def entry(self, status: os.stat_result) -> int:
        """Return the bytes of what ``status`` is of, 0 if this meter has met it before."""
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            if (status.st_dev, status.st_ino) in self._linked:
                return 0
            self._linked.add((status.st_dev, status.st_ino))
        return status.st_blocks * BLOCK_BYTES


def disk_usage(path: Path) -> int:
    """Return the bytes that one tree takes on the disk; see ``DiskMeter.tree``."""
    return DiskMeter().tree(path)
