"""Starting, stopping and waiting for containers."""

import os
import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from imagekit.base.clock import Clock, rfc3339
from imagekit.base.errors import ImagekitError
from imagekit.base.events import EventSink, Notice
from imagekit.containers.errors import StuckContainerError
from imagekit.containers.keeper import Keeper
from imagekit.containers.model import ContainerState, RunResult, Status
from imagekit.containers.processes import ProcessIdentity
from imagekit.containers.records import Container, Records
from imagekit.containers.spec import ContainerSpec, sandbox_spec
from imagekit.containers.stdio import Stdio

if TYPE_CHECKING:
    from imagekit.containers.attached import Pipes
    from imagekit.containers.create import Created
    from imagekit.containers.logs import LogWriter
    from imagekit.containers.supervisor import Order
    from imagekit.sandbox.launcher import Launcher
    from imagekit.sandbox.process import SandboxProcess
    from imagekit.sandbox.spec import ExitResult
    from imagekit.store.layout import Store

_SETTLE_S: Final = 0.002
_END_TIMEOUT_S: Final = 10.0
_OWN_ERROR: Final = 125


class Lifecycle:
    """Brings containers to life and to their end."""

    def __init__(
        self,
        store: "Store",
        records: Records,
        launcher: "Callable[[], Launcher]",
        *,
        clock: Clock,
        events: EventSink,
    ) -> None:
        self._store = store
        self._records = records
        self._launcher = launcher
        self._clock = clock
        self._events = events
        self._supervisors: set[int] = set()
        self._lock = threading.Lock()

    def warm_up(self) -> None:
        """Let the sandbox's helper start while other work is done."""
        self._launcher().warm_up()

    def run_attached(self, created: "Created", stdio: Stdio) -> RunResult:
        """Run a container in the foreground until its process ends.

        With ``remove`` the output goes straight to the caller's descriptors; otherwise it passes
        through this process, to be logged too.
        """
        from imagekit.containers.signals import forwarded

        keeper = Keeper(created.files, self._clock)
        with forwarded() as signals:
            process, pipes = self._start_attached(created, keeper, stdio)
            signals.connect(process.signal)
            result = self._attend(created, keeper, process, pipes, stdio)
        if result.oom_killed:
            self._events(Notice(message=_out_of_memory(created.spec)))
        return RunResult(
            id=created.spec.id, exit_code=result.exit_code, oom_killed=result.oom_killed
        )

    def _start_attached(
        self, created: "Created", keeper: Keeper, stdio: Stdio
    ) -> "tuple[SandboxProcess, Pipes]":
        from imagekit.containers.attached import channels

        spec, request = created.spec, created.spec.request
        sandbox = sandbox_spec(spec, directory=created.files.directory, lowerdirs=created.lowerdirs)
        if request.tty:
            from imagekit.containers.terminal import window_size

            process_spec = replace(sandbox.process, tty_size=window_size(stdio.stdin))
            sandbox = replace(sandbox, process=process_spec)
        try:
            with channels(
                stdio,
                interactive=request.interactive,
                tty=request.tty,
                recorded=not request.remove,
            ) as ends:
                process = self._launcher().start(
                    sandbox, stdin=ends.stdin, stdout=ends.stdout, stderr=ends.stderr
                )
                return process, ends.pipes
        except ImagekitError as error:
            self._failed(created, keeper, error)
            raise

    def _attend(
        self,
        created: "Created",
        keeper: Keeper,
        process: "SandboxProcess",
        pipes: "Pipes",
        stdio: Stdio,
    ) -> "ExitResult":
        """Stay with the process until it ends, and write down how it did."""
        from imagekit.containers.attached import attend

        request = created.spec.request
        state, log = ContainerState(), None
        try:
            state = keeper.started(process)
            log = None if request.remove else self._log(created)
            return attend(process, stdio, pipes, interactive=request.interactive, log=log)
        except BaseException:
            process.kill()
            raise
        finally:
            process.close()
            trouble = ""
            if log is not None:
                log.close()
                trouble = log.trouble
            keeper.ended(state, process.wait(), removed=request.remove, error=trouble)
            if request.remove:
                self._records.remove(self._container(created), volumes=True)

    def run_detached(self, created: "Created") -> RunResult:
        """Run a container under a supervisor and return once its process has started."""
        from imagekit.containers.supervisor import RunOrder

        spec = created.spec
        order = RunOrder(
            id=spec.id,
            directory=created.files.directory,
            sandbox=sandbox_spec(
                spec, directory=created.files.directory, lowerdirs=created.lowerdirs
            ),
            root=self._store.root,
            remove=spec.request.remove,
            volumes=tuple(spec.anonymous_volumes),
        )
        try:
            self.supervise(order)
        except ImagekitError as error:
            self._failed(created, Keeper(created.files, self._clock), error)
            raise
        return RunResult(id=spec.id)

    def supervise(self, order: "Order") -> None:
        """Give an order to a new supervisor, and collect those of before that have ended."""
        # Late: an attached run needs neither pickle nor the supervisor's modules.
        from imagekit.containers.detached import reap, spawn

        with self._lock:
            reap(self._supervisors)
        pid = spawn(order)
        with self._lock:
            self._supervisors.add(pid)

    def stop(self, container: Container, timeout_s: float | None) -> None:
        """Send the container's stop signal, and SIGKILL when it still runs after the time.

        A time below 0 is for ever, as with docker.
        """
        from imagekit.containers.signals import signal_number

        spec, init = container.spec, container.state.init
        if not container.is_running:
            return
        init.send_signal(signal_number(spec.stop_signal))
        wait_s = spec.request.stop_timeout_s if timeout_s is None else timeout_s
        if not init.wait(wait_s if wait_s >= 0 else None):
            # The kernel ends every process of the container together with its first.
            self._kill(container)
        self._settle(container)

    def kill(self, container: Container, number: int) -> None:
        """Send a signal to the container's first process; wait for its end after SIGKILL."""
        if number == signal.SIGKILL:
            self._kill(container)
            self._settle(container)
        else:
            container.state.init.send_signal(number)

    def _kill(self, container: Container) -> None:
        """Kill the container's first process, and wait.

        It cannot end before each of its processes has been waited for, of which those of ``exec``
        have a parent outside: pid_namespaces(7).
        """
        init = container.state.init
        init.send_signal(signal.SIGKILL)
        if not init.wait(_END_TIMEOUT_S):
            raise StuckContainerError(
                f"container {container.spec.name} was killed {_END_TIMEOUT_S:.0f} s ago and has "
                f"not ended: a process in it is stuck, or its parent does not wait for it",
                hint="Look for `imagekit exec` processes that are stopped, and end them.",
            )

    def wait(self, container: Container) -> int:
        """Return the exit code of the container, once its process has ended."""
        if not container.is_running:
            return container.state.exit_code
        # Opened now: the container may remove itself before we look.
        with container.files.exit.open("rb") as final:
            container.state.init.wait()
            owner_has_ended = False
            while not (raw := final.read()):
                if owner_has_ended:
                    return self._records.get(container.id).state.exit_code
                owner_has_ended = not container.state.owner.is_alive
                self._clock.sleep(_SETTLE_S)
        return ContainerState.parse(raw).exit_code

    def _settle(self, container: Container) -> None:
        """Wait until the owner has written down the end, which it does as soon as it can."""
        while container.files.read_state().status is Status.RUNNING:
            if not container.state.owner.is_alive:
                self._records.all()  # repairs what the owner left
                return
            self._clock.sleep(_SETTLE_S)

    def _failed(self, created: "Created", keeper: Keeper, error: ImagekitError) -> None:
        if created.spec.request.remove:
            self._records.remove(self._container(created), volumes=True)
        else:
            code = getattr(error, "container_exit_code", _OWN_ERROR)
            keeper.failed(error.message, code)

    def _container(self, created: "Created") -> Container:
        return Container(
            row=created.row,
            files=created.files,
            state=ContainerState(owner=ProcessIdentity.of(os.getpid())),
            spec_or_none=created.spec,
        )

    def _log(self, created: "Created") -> "LogWriter":
        from imagekit.containers.logs import LogWriter

        return LogWriter(created.files.log, timestamp=lambda: rfc3339(self._clock.now()))


def _out_of_memory(spec: ContainerSpec) -> str:
    limit = spec.request.memory_bytes
    bound = "" if limit is None else f" (limit {limit >> 20} MiB)"
    return f"container {spec.name} was killed: out of memory{bound}"
