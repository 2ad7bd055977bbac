"""The containers of a store, found, read and set right.

A container is a row (its name, what it keeps alive) and a directory (what it is, what is true of
it). Whoever reads one repairs what a killed owner left: a state that still says running, or a
container that was to be removed.
"""

import msgspec

from imagekit.base.clock import Clock, rfc3339
from imagekit.base.errors import CorruptionError
from imagekit.containers.errors import ContainerNotFoundError, ContainerStateError
from imagekit.containers.files import ContainerFiles
from imagekit.containers.model import ContainerState, Status
from imagekit.containers.spec import ContainerSpec
from imagekit.containers.volumes import Volumes
from imagekit.store.containers import ContainerRow
from imagekit.store.layout import Store

_KILLED = 137


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """A container as it was when it was read."""

    row: ContainerRow
    files: ContainerFiles
    state: ContainerState
    spec_or_none: ContainerSpec | None

    @property
    def id(self) -> str:
        """Its 64 hex digits."""
        return self.row.id

    @property
    def spec(self) -> ContainerSpec:
        """What it is.

        Raises:
            ContainerStateError: if that is not known (yet, or any more).

        """
        if self.spec_or_none is None:
            what = "is being created" if self.state.status is Status.CREATED else "is damaged"
            raise ContainerStateError(
                f"container {self.row.name} {what}",
                hint=f"Wait, or remove it: imagekit rm {self.row.name}",
            )
        return self.spec_or_none

    @property
    def is_running(self) -> bool:
        """Whether its process ran when it was read."""
        return self.state.status is Status.RUNNING


class Records:
    """Reads, repairs and removes containers."""

    def __init__(self, store: Store, volumes: Volumes, clock: Clock) -> None:
        self._store = store
        self._volumes = volumes
        self._clock = clock

    def get(self, key: str) -> Container:
        """Return the container with this id, name, or unique start of an id.

        Raises:
            ContainerNotFoundError: if there is none.
            AmbiguousIdError: if several ids begin so.

        """
        row = self._store.containers.get(key)
        container = None if row is None else self._load(row)
        if container is None:
            raise ContainerNotFoundError(
                f"no container {key!r}", hint="See imagekit ps --all for those there are."
            )
        return container

    def running(self, key: str) -> Container:
        """Return a container that runs.

        Raises:
            ContainerNotFoundError: if there is none.
            ContainerStateError: if it does not run.

        """
        container = self.get(key)
        if not container.is_running:
            raise ContainerStateError(
                f"container {container.row.name} is not running",
                hint=f"It is {container.state.status.value}; see imagekit logs {key}.",
            )
        return self.reachable(container)

    @staticmethod
    def reachable(container: Container) -> Container:
        """Return a container whose process, if it runs, can be signalled from here.

        Raises:
            ContainerStateError: if it runs in another pid namespace.

        """
        if container.is_running and not container.state.init.is_here:
            raise ContainerStateError(
                f"container {container.row.name} runs in another pid namespace",
                hint="Use it from where it was started.",
            )
        return container

    def all(self) -> tuple[Container, ...]:
        """Return all containers, newest first."""
        loaded = map(self._load, self._store.containers.all())
        return tuple(container for container in loaded if container is not None)

    def remove(self, container: Container, *, volumes: bool) -> None:
        """Remove row and directory, and with ``volumes`` those without a name; idempotent."""
        # The volumes first: whoever is killed in between leaves a container that can be removed.
        if volumes and container.spec_or_none is not None:
            for point in container.spec.mounts:
                if point.anonymous:
                    self._volumes.remove(point.name)
        self._store.containers.remove(container.id)

    def _load(self, row: ContainerRow) -> Container | None:
        """Return the container as it is after repair; None if that removed it."""
        files = ContainerFiles(self._store.containers.directory(row.id))
        try:
            spec = ContainerSpec.parse(files.spec.read_bytes())
        except FileNotFoundError:
            return self._load_incomplete(row, files)
        except CorruptionError as error:  # a power cut; it can be listed, and removed
            state = ContainerState(status=Status.DEAD, error=error.message)
            return Container(row=row, files=files, state=state, spec_or_none=None)
        state = files.read_state()
        if state.status is Status.RUNNING and not state.owner.is_alive:
            state = files.read_state()  # it may have written the end just before its own
            if state.status is Status.RUNNING:
                state = self._repair(files, state)
        container = Container(row=row, files=files, state=state, spec_or_none=spec)
        if spec.request.remove and state.status is not Status.RUNNING:
            keeper = (
                state.owner if state.owner.pid else ContainerState.parse(row.state.encode()).owner
            )
            if not keeper.is_alive:
                self._remove_cgroup(container.id)
                self.remove(container, volumes=True)
                return None
        return container

    def _load_incomplete(self, row: ContainerRow, files: ContainerFiles) -> Container | None:
        if not files.directory.exists():  # the removal was killed half-way
            self._store.containers.remove(row.id)
            return None
        created = ContainerState.parse(row.state.encode())
        if not created.owner.is_alive:  # it was killed before anybody heard of the container
            for name in files.noted_volumes():
                self._volumes.remove(name)
            self._store.containers.remove(row.id)
            return None
        state = ContainerState(status=Status.CREATED, owner=created.owner)
        return Container(row=row, files=files, state=state, spec_or_none=None)

    @staticmethod
    def _remove_cgroup(identifier: str) -> None:
        """Remove the cgroup that a killed owner made and did not come to write down."""
        from imagekit.containers.cgroups import remove_unnoted

        remove_unnoted(identifier[:12])

    def _repair(self, files: ContainerFiles, state: ContainerState) -> ContainerState:
        """End what a killed owner left running, and write down that it has ended."""
        from imagekit.containers.cgroups import remove_leftovers

        if state.init.send_signal(9):
            state.init.wait(10)
        remove_leftovers(state.cgroups)
        repaired = state._replace(
            status=Status.EXITED,
            finished=rfc3339(self._clock.now()),
            exit_code=_KILLED,
            error="the process that watched over the container was killed",
        )
        files.write_final_state(repaired)
        return repaired
