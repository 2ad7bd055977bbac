"""The directory of one container.

    ROOT/containers/ID/
    ├── spec.json     what it is; written once
    ├── state.json    what is true of it now; replaced by its owner
    ├── exit          empty until its process has ended, then the final state; never replaced.
    │                 Its space is allocated beforehand: an end can be written on a full disk
    ├── log, log.1    what it wrote
    ├── volumes/      the names of volumes made for it, until spec.json has them
    ├── fs/           overlayfs' upperdir: its changes
    └── work/         overlayfs' workdir

``state.json`` is not flushed: after a power cut no container runs, whatever it says. ``exit`` is
there for those who wait: opened beforehand, it can still be read when the container is removed.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from imagekit.base.atomic import write_file
from imagekit.base.errors import CorruptionError
from imagekit.base.fds import OwnedFd
from imagekit.containers.model import ContainerState, Status
from imagekit.linux.files import reserve
from imagekit.store.errors import StorageFullError, host_errors

_EXIT_BYTES = 4096


class ContainerFiles:
    """Typed names below ``directory``, and the reading and writing of the state."""

    __slots__ = ("directory",)

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def spec(self) -> Path:
        """The container's specification."""
        return self.directory / "spec.json"

    @property
    def state(self) -> Path:
        """The present state."""
        return self.directory / "state.json"

    @property
    def exit(self) -> Path:
        """The final state, once there is one."""
        return self.directory / "exit"

    @property
    def log(self) -> Path:
        """What the container wrote."""
        return self.directory / "log"

    @property
    def upperdir(self) -> Path:
        """The container's changes to its image."""
        return self.directory / "fs"

    @property
    def workdir(self) -> Path:
        """Overlayfs' own directory."""
        return self.directory / "work"

    def create(self, spec: bytes) -> None:
        """Fill the directory with all that a container has before it first runs.

        The specification comes last and at once: where it is, all is there.
        """
        with host_errors(f"create container {self.directory.name}"):
            self.upperdir.mkdir()
            self.upperdir.chmod(0o755)  # whatever the umask says: it is the mode of / inside
            self.workdir.mkdir(mode=0o700)
            self._make_exit()
            write_file(self.spec, spec, durable=False)

    def note_volume(self, name: str) -> None:
        """Write down that a volume is about to be made for this container alone."""
        with host_errors(f"create container {self.directory.name}"):
            (self.directory / "volumes").mkdir(mode=0o700, exist_ok=True)
            (self.directory / "volumes" / name).touch(mode=0o600)

    def noted_volumes(self) -> tuple[str, ...]:
        """Return the names that ``note_volume`` wrote down."""
        with contextlib.suppress(FileNotFoundError):
            return tuple(os.listdir(self.directory / "volumes"))
        return ()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the container alone for the block; a container whose files are gone is nobody's.

        The lock is on the directory itself, so that it goes with it.

        Source: flock(2).
        """
        try:
            directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            yield
            return
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            yield
        finally:
            os.close(directory)

    def forget_end(self) -> None:
        """Make the directory that of a container that has never run, but for its changes and log.

        Those who wait for the end before still hold the old ``exit``.
        """
        self.exit.unlink(missing_ok=True)
        self.state.unlink(missing_ok=True)
        with host_errors(f"start container {self.directory.name}"):
            self._make_exit()

    def _make_exit(self) -> None:
        fd = os.open(self.exit, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with OwnedFd(fd):
            reserve(fd, _EXIT_BYTES)

    def read_state(self) -> ContainerState:
        """Return the state as it was last written; "created" before that, "dead" if unreadable."""
        try:
            final = self.exit.read_bytes()
        except FileNotFoundError:
            final = b""
        try:
            return ContainerState.parse(final or self.state.read_bytes())
        except FileNotFoundError:
            return ContainerState(status=Status.CREATED if self.exit.exists() else Status.DEAD)
        except CorruptionError as error:
            return ContainerState(status=Status.DEAD, error=error.message)

    def write_state(self, state: ContainerState) -> None:
        """Replace the state, atomically for readers."""
        with host_errors(f"write the state of container {self.directory.name}"):
            write_file(self.state, state.to_json(), mode=0o600, durable=False)

    def write_final_state(self, state: ContainerState) -> None:
        """Write the state a container ends in, and tell those who wait for it.

        On a full disk the old state stays beside it, and counts no more.
        """
        self.announce(state)
        with contextlib.suppress(StorageFullError):
            self.write_state(state)

    def announce(self, state: ContainerState) -> None:
        """Tell those who wait how the container ended; enough for one that is to be removed."""
        with host_errors(f"write the state of container {self.directory.name}"):
            # Not truncated: that would give the allocated space away.
            fd = os.open(self.exit, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with OwnedFd(fd):
                os.write(fd, state.to_json())
