"""Containers of a store: the face of this room."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from imagekit.base.clock import Clock, SystemClock
from imagekit.base.events import EventSink, ignore_events
from imagekit.containers.errors import ContainerStateError
from imagekit.containers.model import (
    ContainerStats,
    ContainerSummary,
    RunResult,
    Status,
)
from imagekit.containers.records import Container, Records
from imagekit.containers.request import RunRequest
from imagekit.containers.stdio import STANDARD, Stdio
from imagekit.containers.volumes import Volumes
from imagekit.images.local import LocalImage, LocalImages
from imagekit.oci.image_config import ContainerConfig
from imagekit.store.layout import Store

if TYPE_CHECKING:
    from imagekit.containers.create import Creator
    from imagekit.containers.lifecycle import Lifecycle
    from imagekit.containers.logs import LogRecord
    from imagekit.layers.limits import Limits
    from imagekit.sandbox.launcher import Launcher

ConfigEdit = Callable[[ContainerConfig], ContainerConfig]


class Containers:
    """Runs containers, and everything docker has a command for on them.

    A ``key`` is an id, a name, or the unique start of an id. ``launcher`` gives the one launcher
    that is to be used; it is asked for when the first sandbox is needed. ``editor`` turns
    instructions such as ``CMD ["x"]`` into an edit of a config, for ``commit``; this room knows no
    Dockerfiles. Methods may be called from several threads.
    """

    def __init__(
        self,
        store: Store,
        images: LocalImages,
        launcher: "Callable[[], Launcher]",
        events: EventSink = ignore_events,
        clock: Clock | None = None,
        *,
        editor: Callable[[tuple[str, ...]], ConfigEdit] | None = None,
        limits: "Callable[[], Limits] | None" = None,
    ) -> None:
        self._limits = limits
        self._editor = editor
        clock = clock or SystemClock()
        self._store = store
        self._images = images
        self._launcher = launcher
        self._clock = clock
        self._volumes = Volumes(store.root / "volumes", store.locks)
        self._records = Records(store, self._volumes, clock)
        self._events = events
        self._made_creator: Creator | None = None
        self._made_lifecycle: Lifecycle | None = None

    @property
    def _creator(self) -> "Creator":
        if self._made_creator is None:
            # Late, here and below: ps, logs and inspect must not pay for what starts containers.
            from imagekit.containers.create import Creator

            self._made_creator = Creator(
                self._store,
                self._images,
                self._volumes,
                self._records.all,
                clock=self._clock,
                events=self._events,
                limits=self._limits,
            )
        return self._made_creator

    @property
    def _lifecycle(self) -> "Lifecycle":
        if self._made_lifecycle is None:
            from imagekit.containers.lifecycle import Lifecycle

            self._made_lifecycle = Lifecycle(
                self._store,
                self._records,
                self._launcher,
                clock=self._clock,
                events=self._events,
            )
        return self._made_lifecycle

    def create(self, request: RunRequest) -> str:
        """Make a container without starting it and return its id."""
        return self._creator.create(request).spec.id

    def run(self, request: RunRequest, stdio: Stdio = STANDARD) -> RunResult:
        """Make a container and run it, in the foreground unless ``request.detach``.

        In the foreground this process's signals are passed on to the container (when called on the
        main thread), and the result has the exit code as docker gives it.

        Raises:
            ImageNotFoundError: if the image is not in the store.
            NameConflictError: if the name is in use.
            SandboxError: if the process could not be started; ``container_exit_code`` is 125, 126
                or 127. With ``request.remove`` nothing is left of the container.

        """
        if not request.detach:
            self._lifecycle.warm_up()
        created = self._creator.create(request)
        if request.detach:
            return self._lifecycle.run_detached(created)
        try:
            return self._lifecycle.run_attached(created, stdio)
        except (KeyboardInterrupt, SystemExit):
            if request.remove:  # it came before the signals were taken for the container
                self._store.containers.remove(created.spec.id)
            raise

    def start(self, key: str) -> str:
        """Start a container that was made or has ended, detached; return its id.

        Does nothing if it runs.
        """
        found = self._records.get(key)
        with found.files.locked():  # two processes must not mount the same changes at once
            container = self._records.get(found.id)
            if not container.is_running:
                self._lifecycle.run_detached(self._creator.again(container))
        return found.id

    def exec(
        self,
        key: str,
        argv: tuple[str, ...],
        *,
        env: tuple[str, ...] = (),
        workdir: str | None = None,
        user: str | None = None,
        tty: bool = False,
        interactive: bool = False,
        detach: bool = False,
        stdio: Stdio = STANDARD,
    ) -> int:
        """Run a further process in a running container and return its exit code (0 if detached).

        Raises:
            ContainerStateError: if the container does not run.
            SandboxError: if the process could not be started; see ``container_exit_code``.

        """
        from imagekit.containers.exec import exec_order, exec_process, run_attached

        container = self._records.running(key)
        process = exec_process(container.spec, argv, env=env, workdir=workdir, user=user, tty=tty)
        if detach:
            self._lifecycle.supervise(exec_order(container, process))
            return 0
        return run_attached(self._launcher(), container, process, stdio, interactive=interactive)

    def list(self, *, all: bool = False) -> tuple[ContainerSummary, ...]:  # noqa: A002 (docker's word)
        """Return the running containers, or all of them, newest first."""
        now = self._clock.now()
        return tuple(
            _summary(container, now)
            for container in self._records.all()
            if all or container.is_running
        )

    def stop(self, key: str, timeout_s: float | None = None) -> str:
        """Ask a container to end, and kill it when it has not; return its id.

        The default time is the container's own. Does nothing if it does not run.
        """
        container = self._records.reachable(self._records.get(key))
        self._lifecycle.stop(container, timeout_s)
        return container.id

    def kill(self, key: str, signal: str = "SIGKILL") -> str:
        """Send a signal to a container's first process and return the container's id.

        Raises:
            ContainerStateError: if the container does not run.

        """
        from imagekit.containers.signals import signal_number

        number = signal_number(signal)
        container = self._records.running(key)
        self._lifecycle.kill(container, number)
        return container.id

    def wait(self, key: str) -> int:
        """Wait until a container does not run any more and return its exit code."""
        return self._lifecycle.wait(self._records.reachable(self._records.get(key)))

    def remove(self, key: str, *, force: bool = False, volumes: bool = False) -> str:
        """Remove a container, and with ``volumes`` its volumes without a name; return its id.

        Raises:
            ContainerStateError: if it runs, unless ``force`` kills it.

        """
        found = self._records.get(key)
        with found.files.locked():
            container = self._records.reachable(self._records.get(found.id))
            if container.is_running:
                if not force:
                    raise ContainerStateError(
                        f"container {container.row.name} is running",
                        hint="Stop it first, or use --force.",
                    )
                self._lifecycle.kill(container, 9)
            elif container.spec_or_none is None and container.state.status is Status.CREATED:
                _ = container.spec  # raises: somebody is still making it
            self._records.remove(container, volumes=volumes)
        return found.id

    def remove_stopped(self) -> tuple[str, ...]:
        """Remove every container that has ended and return their ids."""
        ended = [c for c in self._records.all() if c.state.status in (Status.EXITED, Status.DEAD)]
        for container in ended:
            self._records.remove(container, volumes=True)
        return tuple(container.id for container in ended)

    def logs(
        self,
        key: str,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: datetime | None = None,
        timestamps: bool = False,
    ) -> "Iterator[LogRecord]":
        """Yield what a container has written; with ``follow`` until it ends.

        ``tail`` is the number of last lines to begin with, ``since`` the earliest time.
        ``timestamps`` puts the time before each line of ``data``.
        """
        from imagekit.containers.follow import read_log

        container = self._records.get(key)
        return read_log(container, follow=follow, tail=tail, since=since, timestamps=timestamps)

    def commit(
        self,
        key: str,
        name: str | None = None,
        *,
        changes: tuple[str, ...] = (),
        edit: ConfigEdit | None = None,
        author: str = "",
        message: str = "",
        pause: bool = True,
    ) -> LocalImage:
        """Make an image of a container and its changes, and return it.

        The image runs what the container ran, with its environment; then ``changes`` (Dockerfile
        instructions) and ``edit`` are applied, in this order. A running container is frozen
        meanwhile, unless ``pause`` is False.

        Raises:
            ValueError: for ``changes`` when these containers were made without ``editor``.
            UnsupportedError: if this machine cannot freeze processes.

        """
        from imagekit.containers.commit import commit_container

        edits = [edit] if edit is not None else []
        if changes:
            if self._editor is None:
                raise ValueError("no editor was given that understands changes")
            edits.insert(0, self._editor(changes))
        container = self._records.get(key)
        image = self._images.load(container.spec.image.descriptor)
        return commit_container(
            self._store,
            container,
            image,
            self._creator.lowerdirs(image),
            name=name,
            edits=edits,
            author=author,
            message=message,
            pause=pause,
            clock=self._clock,
        )

    def inspect(self, key: str) -> dict[str, Any]:
        """Return what ``docker inspect`` shows about a container."""
        from imagekit.containers.inspect import inspection

        container = self._records.get(key)
        return inspection(container.spec, container.state, container.files)

    def stats(self, key: str) -> ContainerStats:
        """Return what a running container uses now.

        Raises:
            ContainerStateError: if the container does not run.

        """
        from imagekit.containers.cgroups import cgroup_of

        container = self._records.running(key)
        cgroup = cgroup_of(container.state.init.pid, container.spec.short_id)
        usage = cgroup.usage()
        return ContainerStats(
            id=container.id,
            name=container.row.name,
            cpu_s=usage.cpu_s,
            memory_bytes=cgroup.memory_bytes(),
            peak_memory_bytes=usage.peak_memory_bytes,
            memory_limit_bytes=container.spec.request.memory_bytes,
            pids=cgroup.process_count(),
            read_bytes=usage.read_bytes,
            written_bytes=usage.written_bytes,
        )

    def image_ids(self) -> dict[str, str]:
        """Return the image id of every container by its id, for those who remove images."""
        return {
            container.id: container.spec_or_none.image.id
            for container in self._records.all()
            if container.spec_or_none is not None
        }

    def repair(self) -> None:
        """Set right what killed processes left; every other method does so for what it touches."""
        self._records.all()


def _summary(container: Container, now: datetime) -> ContainerSummary:
    spec, state = container.spec_or_none, container.state
    ended = state.status is Status.EXITED
    return ContainerSummary(
        id=container.id,
        name=container.row.name,
        image=container.row.image.partition("@sha256:")[0],
        image_id=spec.image.id if spec else "",
        command=" ".join(spec.process.argv) if spec else "",
        created=container.row.created,
        status=state.status,
        state=state.describe(now),
        exit_code=state.exit_code if ended else None,
        ports=state.ports if container.is_running else (),
        labels=dict(spec.labels) if spec else {},
    )
