"""What the owner of a container writes down: that it runs, and how it ended.

The owner is the process that waits for the container's own: the command itself for an attached
container, a supervisor for a detached one. Imports no store and no image: the supervisor uses it.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imagekit.base.clock import Clock, SystemClock, rfc3339
from imagekit.containers.files import ContainerFiles
from imagekit.containers.model import ContainerState, PortBinding, Status
from imagekit.containers.processes import ProcessIdentity

if TYPE_CHECKING:
    from imagekit.sandbox.process import SandboxProcess
    from imagekit.sandbox.spec import ExitResult


class Keeper:
    """Keeps the state of one container while its process runs."""

    def __init__(self, files: ContainerFiles, clock: Clock) -> None:
        self.files = files
        self.clock = clock

    def started(self, process: "SandboxProcess") -> ContainerState:
        """Write down that the container runs, owned by this process."""
        network = process.network
        state = ContainerState(
            status=Status.RUNNING,
            init=ProcessIdentity.of(process.pid),
            owner=ProcessIdentity.of(os.getpid()),
            started=rfc3339(self.clock.now()),
            cgroups=tuple(map(str, process.cgroup.directories)) if process.cgroup else (),
        )
        if network is not None:
            state = state._replace(
                address=network.address,
                gateway=network.gateway,
                prefix_length=network.prefix_length,
                bridge=network.bridge,
                ports=tuple(
                    PortBinding(
                        container_port=port.container_port,
                        protocol=port.protocol,
                        host_ip=port.host_address,
                        host_port=actual,
                    )
                    for port, actual in network.ports
                ),
            )
        self.files.write_state(state)
        return state

    def ended(
        self, state: ContainerState, result: "ExitResult", *, removed: bool, error: str = ""
    ) -> None:
        """Write down how the container ended; only for those who wait if it is to be removed."""
        final = state._replace(
            status=Status.EXITED,
            finished=rfc3339(self.clock.now()),
            exit_code=result.exit_code,
            oom_killed=result.oom_killed,
            error=error,
            cpu_s=result.usage.cpu_s,
            peak_memory_bytes=result.usage.peak_memory_bytes,
        )
        if removed:
            self.files.announce(final)
        else:
            self.files.write_final_state(final)

    def failed(self, message: str, exit_code: int) -> None:
        """Write down that the container could not be started."""
        now = rfc3339(self.clock.now())
        state = self.files.read_state()
        self.files.write_final_state(
            state._replace(status=Status.CREATED, finished=now, exit_code=exit_code, error=message)
        )


def remove_container(root: Path, identifier: str, volumes: Sequence[Path]) -> None:
    """Remove a container of the store at ``root``, and its volumes without a name.

    Only the part of the store that is needed is imported. Should this fail or be killed, the next
    command removes what is left.
    """
    from imagekit.store.containers import Containers
    from imagekit.store.locks import Locks
    from imagekit.store.metadata import Database
    from imagekit.store.owner import Owner
    from imagekit.store.paths import StorePaths
    from imagekit.store.removal import Trash

    paths = StorePaths(root)
    trash = Trash(paths.temporary, Owner.current())
    database = Database(paths.database, Locks(paths.locks))
    for path in volumes:
        trash.remove(path)
    try:
        Containers(database, paths.containers, trash, SystemClock()).remove(identifier)
    finally:
        database.close()
