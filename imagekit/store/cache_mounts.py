"""Cache mounts: directories that RUN --mount=type=cache shares between builds."""

import hashlib
import os
from pathlib import Path

import msgspec

from imagekit.store.errors import host_errors

ID_FILE = "id"


class CacheMount(msgspec.Struct, frozen=True, kw_only=True):
    """A cache mount that is there; ``id`` is None if an earlier release made it.

    ``used`` is in seconds since 1970, as exact as the file system keeps it.
    """

    key: str
    id: str | None
    path: Path
    used: float


class CacheMounts:
    """Directories below ``directory``, named by the digest of their id."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, identifier: str) -> Path:
        """Return the directory of a cache mount, created with mode 0755 if it is new.

        It counts as used now: the modification time of its parent is that of the last use.
        """
        parent = self._directory / hashlib.sha256(identifier.encode()).hexdigest()[:32]
        path = parent / "fs"
        with host_errors(f"create cache mount {identifier!r}"):
            if not path.is_dir():
                parent.mkdir(mode=0o700, exist_ok=True)
                path.mkdir(exist_ok=True)
                path.chmod(0o755)
                (parent / ID_FILE).write_text(identifier, "utf-8")
            os.utime(parent)
        return path

    def all(self) -> list[CacheMount]:
        """Return the cache mounts that there are, the most recently used first."""
        found = []
        with host_errors(f"list {self._directory}"):
            for name in os.listdir(self._directory):
                path = self._directory / name
                try:
                    moment = path.stat().st_mtime
                except FileNotFoundError:
                    continue  # pruned meanwhile
                found.append(
                    CacheMount(
                        key=name,
                        id=_identifier(path),
                        path=path,
                        used=moment,
                    )
                )
        return sorted(found, key=lambda mount: mount.used, reverse=True)


def _identifier(path: Path) -> str | None:
    try:
        return (path / ID_FILE).read_text("utf-8")
    except FileNotFoundError:
        return None
