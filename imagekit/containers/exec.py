"""A further process in a running container."""

from typing import TYPE_CHECKING

from msgspec.structs import replace

from imagekit.containers.attached import attend, channels
from imagekit.containers.records import Container
from imagekit.containers.signals import forwarded
from imagekit.containers.spec import ContainerSpec, sandbox_spec
from imagekit.containers.stdio import Stdio
from imagekit.containers.terminal import window_size
from imagekit.images.process import merged_environment
from imagekit.sandbox.launcher import Launcher
from imagekit.sandbox.spec import ProcessSpec, SandboxSpec

if TYPE_CHECKING:
    from imagekit.containers.supervisor import ExecOrder


def exec_process(
    spec: ContainerSpec,
    argv: tuple[str, ...],
    *,
    env: tuple[str, ...],
    workdir: str | None,
    user: str | None,
    tty: bool,
) -> ProcessSpec:
    """Return the process: the container's own with another command, and what was asked for."""
    terminal = ("TERM=xterm",) if tty else ()
    return ProcessSpec(
        argv=argv,
        env=merged_environment(merged_environment(terminal, spec.process.env), env),
        cwd=workdir or spec.process.cwd,
        user=spec.process.user if user is None else user,
        tty=tty,
        no_new_privileges=spec.process.no_new_privileges,
    )


def run_attached(
    launcher: Launcher,
    container: Container,
    process: ProcessSpec,
    stdio: Stdio,
    *,
    interactive: bool,
) -> int:
    """Run the process joined to the caller and return its exit code."""
    if process.tty:
        process = replace(process, tty_size=window_size(stdio.stdin))
    with forwarded() as signals:
        with channels(stdio, interactive=interactive, tty=process.tty, recorded=False) as ends:
            running = launcher.exec(
                container.state.init.pid,
                process,
                stdin=ends.stdin,
                stdout=ends.stdout,
                stderr=ends.stderr,
                sandbox=_sandbox(container),
            )
        signals.connect(running.signal)
        try:
            return attend(running, stdio, (), interactive=interactive).exit_code
        finally:
            running.close()


def exec_order(container: Container, process: ProcessSpec) -> "ExecOrder":
    """Return what a supervisor is told to run the process detached."""
    from imagekit.containers.supervisor import ExecOrder

    return ExecOrder(
        init_pid=container.state.init.pid, process=process, sandbox=_sandbox(container)
    )


def _sandbox(container: Container) -> SandboxSpec:
    """Return what the container was started with, but for its layers, which exec does not need."""
    return sandbox_spec(container.spec, directory=container.files.directory, lowerdirs=())
