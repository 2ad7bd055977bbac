"""The directories of a store.

ROOT/                          0711
├── imagekit.db                SQLite in WAL mode (and -wal, -shm)
├── reserve                    space that a prune of a full disk gives up; no content
├── content/                   0700; an OCI image layout that other tools can read
│   ├── oci-layout
│   ├── index.json             the tagged images; derived from the database
│   └── blobs/sha256/HEX       born by temp + fsync + rename only
├── snapshots/ID/              0700
│   ├── fs/                    0755; a layer directory in overlayfs' own form
│   └── work/                  overlayfs' workdir, of no use once the snapshot is committed
├── containers/ID/             0700; the containers room's files
├── cache-mounts/KEY/          0700; KEY is the first 32 hex digits of the id's sha256, and its
│   ├── fs/                    0755     modification time is that of the last use
│   └── id                     as the Dockerfile names it
├── locks/KEY                  flock(2) files, never removed: removing one would race
└── tmp/OWNER.NAME             OWNER is a process; swept once that process has ended
"""

from pathlib import Path

import msgspec


class StorePaths(msgspec.Struct, frozen=True):
    """Typed names in the tree below ``root``; nothing is created here."""

    root: Path

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.root / "imagekit.db"

    @property
    def reserve(self) -> Path:
        """The file that is given up when the disk is full."""
        return self.root / "reserve"

    @property
    def content(self) -> Path:
        """The OCI image layout."""
        return self.root / "content"

    @property
    def snapshots(self) -> Path:
        """The parent of all snapshot directories."""
        return self.root / "snapshots"

    @property
    def containers(self) -> Path:
        """The parent of all container directories."""
        return self.root / "containers"

    @property
    def cache_mounts(self) -> Path:
        """The parent of all cache mounts."""
        return self.root / "cache-mounts"

    @property
    def locks(self) -> Path:
        """The lock files."""
        return self.root / "locks"

    @property
    def temporary(self) -> Path:
        """Files on their way in and directories on their way out."""
        return self.root / "tmp"

    @property
    def private_directories(self) -> tuple[Path, ...]:
        """Every directory that a store has from the beginning, below ``root``."""
        return (
            self.content,
            self.content / "blobs",
            self.content / "blobs" / "sha256",
            self.snapshots,
            self.containers,
            self.cache_mounts,
            self.locks,
            self.temporary,
        )
