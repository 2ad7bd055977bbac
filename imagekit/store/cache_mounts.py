"""Cache mounts: directories that RUN --mount=type=cache shares between builds."""

import hashlib
import os
from pathlib import Path

from imagekit.store.errors import host_errors
from imagekit.store.snapshots import disk_usage


class CacheMounts:
    """Directories below ``directory``, named by the digest of their id."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, identifier: str) -> Path:
        """Return the directory of a cache mount, created with mode 0755 if it is new."""
        parent = self._directory / hashlib.sha256(identifier.encode()).hexdigest()[:32]
        path = parent / "fs"
        if not path.is_dir():
            with host_errors(f"create cache mount {identifier!r}"):
                parent.mkdir(mode=0o700, exist_ok=True)
                path.mkdir(exist_ok=True)
                path.chmod(0o755)
        return path

    def all(self) -> list[Path]:
        """Return the directories that hold a cache mount each."""
        with host_errors(f"list {self._directory}"):
            return [self._directory / name for name in sorted(os.listdir(self._directory))]

    def sizes(self) -> list[int]:
        """Return the bytes that each takes on the disk."""
        return list(map(disk_usage, self.all()))
