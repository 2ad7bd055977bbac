"""Starting sandboxes: the zygote's owner, and what a caller holds of a running process."""

import contextlib
import fcntl
import json
import os
import resource
import signal
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, assert_never

import msgspec

from imagekit.base.errors import UserError
from imagekit.base.record import Record
from imagekit.linux import capabilities
from imagekit.linux.features import Features
from imagekit.linux.idmap import is_in_user_namespace
from imagekit.sandbox import plan as plans
from imagekit.sandbox import seccomp_profile
from imagekit.sandbox.cgroups import Cgroup, CgroupHost
from imagekit.sandbox.errors import LauncherGoneError, SandboxError, UnsupportedError, from_report
from imagekit.sandbox.helper import HEADER_BYTES, Helper, receive
from imagekit.sandbox.network_operations import IsolateNetwork
from imagekit.sandbox.operations import Operation, encode
from imagekit.sandbox.process import SandboxProcess
from imagekit.sandbox.spec import (
    NetworkInfo,
    NetworkMode,
    ProcessSpec,
    PublishedPort,
    SandboxSpec,
)

if TYPE_CHECKING:
    from imagekit.sandbox.network import BridgeNetwork

_MAX_STATUS_BYTES: Final = 65536
_MAX_ID_CHARACTERS: Final = 128


class _Connection(Record):
    """How a sandbox is connected: what its child does, and what its caller may know."""

    operations: tuple[Operation, ...] = ()
    info: NetworkInfo | None = None


class Launcher:
    """Start processes in sandboxes, through a small helper process that is made at the first need.

    ``helper`` is one that was started early; it is the launcher's from now on. May be used from
    several threads. Sandboxes that are still running when the launcher is closed,
    or when its process ends in whatever way, are killed, unless they were started ``detached``.
    """

    def __init__(
        self, *, network_dir: Path = Path("/run/imagekit"), helper: Helper | None = None
    ) -> None:
        self._network_dir = network_dir
        self._bridge: BridgeNetwork | None = None
        self._lock = threading.Lock()
        self._helper = helper
        self._cgroup_host: CgroupHost | None = None
        self._is_able = False

    def warm_up(self) -> None:
        """Start the helper now, so that its start-up passes while the caller does other work."""
        with self._lock:
            self._connect()

    def start(
        self,
        spec: SandboxSpec,
        *,
        stdin: int,
        stdout: int,
        stderr: int,
        detached: bool = False,
    ) -> SandboxProcess:
        """Make a sandbox and return its first process once it runs the program.

        The descriptors stay the caller's. With ``process.tty`` they are not used: the result's
        ``terminal_fd`` is the other end of the new terminal.

        Raises:
            SandboxError: an operation failed; CommandNotFoundError and NotExecutableError when the
                program itself could not be executed.
            UserError: the specification is wrong.

        """
        started = time.monotonic()
        if not _is_id(spec.id):
            raise UserError(f"sandbox id {spec.id!r} is not made of letters, digits, '-', '_', '.'")
        self._require_sandbox()
        with contextlib.ExitStack() as undo:
            cgroup = Cgroup.create(spec.id, spec.limits, self._host(), all_devices=spec.privileged)
            undo.callback(cgroup.remove)
            cleanup = undo.enter_context(contextlib.ExitStack())
            network = self._connect_network(spec, cleanup)
            surroundings = self._surroundings(cgroup, network)
            mask = plans.granted_mask(spec, surroundings)
            surroundings = msgspec.structs.replace(surroundings, filter=_filter(spec, mask))
            operations = plans.plan(spec, surroundings)
            process = self._launch(
                operations,
                own_namespaces=True,
                stdio=(stdin, stdout, stderr),
                detached=detached,
                cgroup=cgroup,
                started=started,
                network=network.info,
                cleanup=cleanup,
            )
            undo.pop_all()
        return process

    def _require_sandbox(self) -> None:
        """Fail with the reason, before anything is touched, where no sandbox can be made."""
        if self._is_able:
            return
        sandbox = Features.probe().sandbox
        if not sandbox.works:
            raise UnsupportedError(
                f"cannot make a sandbox: {sandbox.reason}",
                operation="probe",
                hint=sandbox.hint or None,
            )
        self._is_able = True

    def _connect_network(self, spec: SandboxSpec, cleanup: contextlib.ExitStack) -> _Connection:
        """Prepare the host's side of the network; what is to be undone goes onto ``cleanup``."""
        if spec.publish and spec.network is not NetworkMode.BRIDGE:
            raise UserError(
                f"ports cannot be published with network {spec.network}",
                hint="Use the bridge network.",
            )
        match spec.network:
            case NetworkMode.HOST:
                return _Connection()
            case NetworkMode.NONE:
                return _Connection(operations=(IsolateNetwork(),))
            case NetworkMode.BRIDGE:
                bridge = self._bridge_network()
                allocation = bridge.allocate()
                cleanup.callback(bridge.release, allocation)
                ports = tuple(
                    (port, _publish(port, allocation.address, cleanup)) for port in spec.publish
                )
                info = NetworkInfo(
                    address=allocation.address,
                    gateway=allocation.gateway,
                    prefix_length=allocation.prefix_length,
                    bridge=bridge.name,
                    ports=ports,
                )
                return _Connection(operations=(allocation.operation(),), info=info)
            case _:
                assert_never(spec.network)

    def _bridge_network(self) -> "BridgeNetwork":
        """Return the bridge as this launcher uses it; its modules are loaded only when needed."""
        from imagekit.sandbox.network import BridgeNetwork

        with self._lock:
            if self._bridge is None:
                self._bridge = BridgeNetwork(self._network_dir)
            return self._bridge

    def _launch(
        self,
        operations: tuple[Operation, ...],
        *,
        own_namespaces: bool,
        stdio: tuple[int, int, int],
        detached: bool,
        cgroup: Cgroup | None,
        started: float,
        network: NetworkInfo | None = None,
        cleanup: contextlib.ExitStack | None = None,
    ) -> SandboxProcess:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            with theirs:
                plan = json.dumps([encode(operation) for operation in operations]).encode()
                request: dict[str, object] = {
                    "own_namespaces": own_namespaces,
                    "ends_with_caller": not detached,
                    "directories": list(map(str, cgroup.directories)) if cgroup else [],
                    "plan_bytes": len(plan),
                }
                answer = self._ask(request, plan, [*stdio, theirs.fileno()])
            if "pid" not in answer:
                raise from_report(answer)
            pid, terminal_fd = _follow(
                ours, int(answer["pid"] or 0), cgroup, enters=not own_namespaces
            )
        return SandboxProcess(
            pid=pid,
            pidfd=os.pidfd_open(pid),
            terminal_fd=terminal_fd,
            cgroup=cgroup,
            started=started,
            network=network,
            cleanup=cleanup,
        )

    def _ask(
        self, request: dict[str, object], plan: bytes, fds: list[int]
    ) -> dict[str, str | int | None]:
        """Send a line that says what is wanted, and the plan, which the helper only passes on."""
        body = json.dumps(request).encode() + b"\n" + plan
        with self._lock:
            control = self._connect()
            try:
                socket.send_fds(control, [len(body).to_bytes(HEADER_BYTES, "little")], fds)
                control.sendall(body)
                length = int.from_bytes(receive(control, HEADER_BYTES), "little")
                answer: dict[str, str | int | None] = json.loads(receive(control, length))
            except OSError as error:
                self._disconnect()
                raise LauncherGoneError("the sandbox helper has ended unexpectedly") from error
            except BaseException:  # an interrupt between request and answer: out of step for ever
                self._disconnect()
                raise
        return answer

    def _connect(self) -> socket.socket:
        """Return the connection to the helper, starting it when there is none; lock held."""
        if self._helper is None:
            self._helper = Helper.start()
        return self._helper.control

    def _disconnect(self) -> None:
        helper, self._helper = self._helper, None
        if helper is not None:
            helper.end()

    def close(self) -> None:
        """Kill what still runs and end the helper; safe to repeat."""
        with self._lock:
            self._disconnect()
        if self._bridge is not None:
            self._bridge.close()
        if self._cgroup_host is not None:
            Cgroup.sweep(self._cgroup_host)

    def exec(
        self,
        pid: int,
        process: ProcessSpec,
        *,
        stdin: int,
        stdout: int,
        stderr: int,
        sandbox: SandboxSpec,
        detached: bool = False,
    ) -> SandboxProcess:
        """Run a further process in the sandbox whose first process is ``pid``.

        ``sandbox`` is the specification it was started with: the new process gets the same
        cgroups, capabilities and filter. It need not have been started by this launcher.

        Raises:
            SandboxError: the sandbox has ended, or the program could not be executed.

        """
        started = time.monotonic()
        surroundings = plans.Surroundings(
            capabilities=capabilities.effective(),
            cgroup_directories=CgroupHost.directories_of(pid),
            nofile=resource.getrlimit(resource.RLIMIT_NOFILE),
        )
        mask = plans.capability_mask(sandbox, surroundings.capabilities) & _bounding_set(pid)
        surroundings = msgspec.structs.replace(surroundings, filter=_filter(sandbox, mask))
        return self._launch(
            plans.plan_exec(pid, process, surroundings, mask=mask),
            own_namespaces=False,
            stdio=(stdin, stdout, stderr),
            detached=detached,
            cgroup=None,
            started=started,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _host(self) -> CgroupHost:
        if self._cgroup_host is None:
            self._cgroup_host = CgroupHost.detect()
        return self._cgroup_host

    @staticmethod
    def _surroundings(cgroup: Cgroup, network: _Connection) -> plans.Surroundings:
        return plans.Surroundings(
            capabilities=capabilities.effective(),
            cgroup_directories=tuple(map(str, cgroup.directories)),
            hierarchies=cgroup.hierarchies,
            cgroup_links=cgroup.links,
            unified_cgroups=cgroup.is_unified,
            host_resolv_conf=_host_resolv_conf(),
            address=network.info.address if network.info is not None else None,
            network=network.operations,
            cpu_count=os.cpu_count() or 1,
            in_user_namespace=is_in_user_namespace(),
            devices_limited=cgroup.limits_devices,
            nofile=resource.getrlimit(resource.RLIMIT_NOFILE),
        )


def _is_id(text: str) -> bool:
    bare = text.replace("-", "").replace("_", "").replace(".", "")
    return (
        text.isascii() and bare.isalnum() and text[0].isalnum() and len(text) <= _MAX_ID_CHARACTERS
    )


def _follow(
    status: socket.socket, pid: int, cgroup: Cgroup | None, *, enters: bool
) -> tuple[int, int]:
    """Put the child into its cgroup and read what it says until it executes the program.

    Returns its process id and the caller's end of its terminal, or -1. A child that ``enters`` a
    running sandbox does so for a second one, which goes on in its place; what the second says may
    come before the first has named it.

    Raises:
        SandboxError: the child failed; it has been waited for.

    """
    terminal_fd = -1
    try:
        if cgroup is not None and cgroup.directories:
            # When the child has failed already, its report says why.
            with contextlib.suppress(ProcessLookupError, BrokenPipeError, ConnectionResetError):
                cgroup.attach(pid)
                status.send(b"1")
        while True:
            data, fds = _next_report(status)
            if not data:
                return pid, terminal_fd
            report = json.loads(data)
            match report["kind"]:
                case "terminal":
                    terminal_fd = fds[0]
                    fcntl.fcntl(terminal_fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
                case "pid":
                    # In this order: an interrupt while waiting must not lose the second.
                    first, pid, enters = pid, report["pid"], False
                    os.waitpid(first, 0)
                case _:
                    raise from_report(report)
    except BaseException:  # an interrupt, too, must not leave a child that nobody knows of
        if terminal_fd >= 0:
            os.close(terminal_fd)
        if enters:
            os.waitpid(pid, 0)  # not killed: it ends at once, and must name the second before
            pid = _second_child(status)
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        raise


def _second_child(status: socket.socket) -> int:
    """Return the process that the first one has named before its end; 0 when it made none."""
    status.settimeout(0)
    with contextlib.suppress(BlockingIOError, ConnectionResetError):
        while data := status.recv(_MAX_STATUS_BYTES):
            report = json.loads(data)
            if report["kind"] == "pid":
                return int(report["pid"])
    return 0


def _next_report(status: socket.socket) -> tuple[bytes, list[int]]:
    """Return the child's next message, empty at the end, and the descriptors with it.

    A child that ended before it read our word resets the connection: the error is told once, in
    front of what the child had said.

    Source: unix(7).
    """
    try:
        data, fds, _, _ = socket.recv_fds(status, _MAX_STATUS_BYTES, 1)
    except ConnectionResetError:
        data, fds, _, _ = socket.recv_fds(status, _MAX_STATUS_BYTES, 1)
    return data, fds


def _bounding_set(pid: int) -> int:
    """Return the most that a process may ever have, so that a later one gets no more.

    Source: proc_pid_status(5).
    """
    try:
        text = Path(f"/proc/{pid}/status").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError) as error:
        raise SandboxError(f"process {pid} has ended", operation="exec") from error
    line = next(line for line in text.splitlines() if line.startswith("CapBnd:"))
    return int(line.split()[1], 16)


def _filter(spec: SandboxSpec, mask: int) -> bytes:
    """Return the system call filter of a sandbox; empty for none."""
    if spec.privileged or not spec.seccomp:
        return b""
    return seccomp_profile.program(os.uname().machine, mask)


def _publish(port: PublishedPort, address: str, cleanup: contextlib.ExitStack) -> int:
    """Start handing connections on and return the host's port."""
    if port.protocol != "tcp":
        raise UnsupportedError(f"cannot publish {port.protocol} ports, only tcp")
    from imagekit.sandbox.port_proxy import PortProxy

    proxy = PortProxy(
        host_address=port.host_address,
        host_port=port.host_port,
        target=(address, port.container_port),
    )
    cleanup.callback(proxy.close)
    return proxy.port


def _host_resolv_conf() -> str:
    """Return the host's resolver configuration, the real one where systemd shows a stub."""
    try:
        text = Path("/etc/resolv.conf").read_text(errors="replace")
        if "nameserver 127.0.0.53" in text:
            real = Path("/run/systemd/resolve/resolv.conf")
            if real.exists():
                return real.read_text(errors="replace")
    except FileNotFoundError:
        return ""
    return text
