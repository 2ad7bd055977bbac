"""Named volumes: directories below ROOT/volumes that outlive containers."""

import contextlib
import errno
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from imagekit.store.errors import host_errors
from imagekit.store.locks import Locks

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Volumes:
    """The volumes of a store. A volume is the directory ROOT/volumes/NAME."""

    def __init__(self, directory: Path, locks: Locks) -> None:
        self._directory = directory
        self._locks = locks

    def path(self, name: str) -> Path:
        """Return where the volume is, or would be."""
        return self._directory / name

    def ensure(self, name: str, fill: Callable[[Path], None]) -> Path:
        """Return the directory of the volume; ``fill`` gets a new one before anybody sees it.

        Of two that make the same volume at once one fills it, and the other waits. What a crash
        leaves half filled has a name beginning with a dot and is removed by the next creation.
        """
        path = self.path(name)
        if path.is_dir():
            return path
        # A few locks for all names: lock files are never removed.
        with self._locks.exclusive(f"volumes {zlib.crc32(name.encode()) % 16}"):
            if path.is_dir():
                return path
            fresh = self._fresh(name)
            with host_errors(f"create volume {name!r}"):
                self._directory.mkdir(mode=0o700, exist_ok=True)
            self.remove(name)
            with host_errors(f"create volume {name!r}"):
                fresh.mkdir()
                fresh.chmod(0o755)
            fill(fresh)
            with host_errors(f"create volume {name!r}"):
                fresh.rename(path)
        return path

    def names(self) -> tuple[str, ...]:
        """Return the names of all volumes, sorted."""
        if not self._directory.is_dir():
            return ()
        return tuple(sorted(p.name for p in self._directory.iterdir() if p.name[0] != "."))

    def remove(self, name: str) -> None:
        """Remove a volume with all that is in it, also a half filled one.

        Does nothing if it is not there.
        """
        from imagekit.store.removal import remove_tree

        for path in (self.path(name), self._fresh(name)):
            if path.exists():
                remove_tree(path)

    def _fresh(self, name: str) -> Path:
        return self._directory / f".new-{name}"


def copy_from_image(
    lowerdirs: Sequence[Path], image_path: str, target: Path, temporary: Path
) -> None:
    """Copy the directory ``image_path`` of an image into the empty directory ``target``.

    Owners, modes, times, links and attributes are kept; ``target`` itself takes those of the
    directory. Nothing is copied where the image has no such directory. The copy is spooled through
    a file without a name in ``temporary``.
    """
    with _opened(lowerdirs, image_path) as source_fd:
        if source_fd is None or not os.listdir(source_fd):
            if source_fd is not None:
                status = os.fstat(source_fd)
                os.chown(target, status.st_uid, status.st_gid)
                target.chmod(status.st_mode & 0o7777)
            return
        import tempfile

        from imagekit.layers.apply import WhiteoutForm, apply_layer
        from imagekit.layers.diff import tree_entries
        from imagekit.layers.write import write_layer

        with (
            host_errors(f"copy {image_path} of the image into a volume"),
            tempfile.TemporaryFile(dir=temporary) as spool,
        ):
            entries = tree_entries(Path(f"/proc/self/fd/{source_fd}"), include_root=True)
            write_layer(entries, spool, nanoseconds=True)
            spool.seek(0)
            apply_layer(spool, target, form=WhiteoutForm.PLAIN)


@contextlib.contextmanager
def _opened(lowerdirs: Sequence[Path], image_path: str) -> Iterator[int | None]:
    """Yield a descriptor of a directory in the merged view of layers; None if there is none."""
    from imagekit.linux.constants import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS
    from imagekit.linux.files import openat2

    with contextlib.ExitStack() as stack:
        if not lowerdirs:
            yield None
            return
        if len(lowerdirs) == 1:
            root_fd = os.open(lowerdirs[0], _OPEN_DIRECTORY)
        else:
            from imagekit.linux.mounts import new_mount, overlay_options

            # Detached: visible through this descriptor only, gone when it is closed.
            root_fd = new_mount("overlay", overlay_options(map(str, lowerdirs)))
        stack.callback(os.close, root_fd)
        try:
            source_fd = openat2(
                root_fd,
                image_path.lstrip("/"),
                _OPEN_DIRECTORY,
                0,
                RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
            )
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            yield None
            return
        stack.callback(os.close, source_fd)
        yield source_fd
