"""Starting sandboxes: the zygote's owner, and what a caller holds of a running process."""

import contextlib
import fcntl
import json
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import imagekit
from imagekit.linux import capabilities
from imagekit.sandbox import plan as plans
from imagekit.sandbox.cgroups import Cgroup, CgroupHost
from imagekit.sandbox.errors import LauncherGoneError, from_report
from imagekit.sandbox.operations import Operation, encode
from imagekit.sandbox.process import SandboxProcess
from imagekit.sandbox.spec import SandboxSpec
from imagekit.sandbox.zygote import HEADER_BYTES

_MAX_STATUS_BYTES: Final = 65536
_BOOT: Final = (
    "import sys; sys.path.insert(0, {path!r}); from imagekit.sandbox.zygote import main; main({fd})"
)


class Launcher:
    """Start processes in sandboxes, through a small helper process that is made at the first need.

    May be used from several threads. Sandboxes that are still running when the launcher is closed,
    or when its process ends in whatever way, are killed, unless they were started ``detached``.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._zygote: subprocess.Popen[bytes] | None = None
        self._cgroup_host: CgroupHost | None = None

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
        with contextlib.ExitStack() as undo:
            cgroup = Cgroup.create(spec.id, spec.limits, self._host(), all_devices=spec.privileged)
            undo.callback(cgroup.remove)
            surroundings = self._surroundings(cgroup)
            operations = plans.plan(spec, surroundings)
            process = self._launch(
                operations,
                flags=plans.NAMESPACES,
                stdio=(stdin, stdout, stderr),
                detached=detached,
                cgroup=cgroup,
                started=started,
            )
            undo.pop_all()
        return process

    def _launch(
        self,
        operations: tuple[Operation, ...],
        *,
        flags: int,
        stdio: tuple[int, int, int],
        detached: bool,
        cgroup: Cgroup | None,
        started: float,
    ) -> SandboxProcess:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            with theirs:
                request = {
                    "flags": flags,
                    "ends_with_caller": not detached,
                    "plan": [encode(operation) for operation in operations],
                }
                answer = self._ask(request, [*stdio, theirs.fileno()])
            if "pid" not in answer:
                raise from_report(answer)
            return self._follow(ours, int(answer["pid"] or 0), cgroup, started)

    def _follow(
        self, status: socket.socket, pid: int, cgroup: Cgroup | None, started: float
    ) -> SandboxProcess:
        """Read what the child says until it executes the program or fails."""
        terminal_fd = -1
        while True:
            data, fds, _, _ = socket.recv_fds(status, _MAX_STATUS_BYTES, 1)
            if not data:
                break
            report = json.loads(data)
            match report["kind"]:
                case "terminal":
                    terminal_fd = fds[0]
                    fcntl.fcntl(terminal_fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
                case "pid":  # the first process was a helper that has let another go on
                    os.waitpid(pid, 0)
                    pid = report["pid"]
                case _:
                    os.waitpid(pid, 0)
                    if terminal_fd >= 0:
                        os.close(terminal_fd)
                    raise from_report(report)
        return SandboxProcess(
            pid=pid,
            pidfd=os.pidfd_open(pid),
            terminal_fd=terminal_fd,
            cgroup=cgroup,
            started=started,
        )

    def _ask(self, request: dict[str, object], fds: list[int]) -> dict[str, str | int | None]:
        body = json.dumps(request).encode()
        with self._lock:
            control = self._connect()
            try:
                socket.send_fds(control, [len(body).to_bytes(HEADER_BYTES, "little")], fds)
                control.sendall(body)
                length = int.from_bytes(_receive(control, HEADER_BYTES), "little")
                answer: dict[str, str | int | None] = json.loads(_receive(control, length))
            except OSError as error:
                self._disconnect()
                raise LauncherGoneError("the sandbox helper has ended unexpectedly") from error
        return answer

    def _connect(self) -> socket.socket:
        """Return the connection to the helper, starting it when there is none; lock held."""
        if self._control is not None:
            return self._control
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        package_parent = str(Path(imagekit.__file__).resolve().parent.parent)
        with theirs:
            self._zygote = subprocess.Popen(
                [
                    sys.executable,
                    *("-S", "-I", "-E", "-X", "utf8"),
                    "-c",
                    _BOOT.format(path=package_parent, fd=theirs.fileno()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env={},
            )
        self._control = ours
        return ours

    def _disconnect(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._zygote is not None:
            self._zygote.wait()
        self._control = self._zygote = None

    def close(self) -> None:
        """Kill what still runs and end the helper; safe to repeat."""
        with self._lock:
            self._disconnect()

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

    def _surroundings(self, cgroup: Cgroup) -> plans.Surroundings:
        return plans.Surroundings(
            capabilities=capabilities.effective(),
            cgroup_directories=tuple(map(str, cgroup.directories)),
            hierarchies=cgroup.hierarchies,
            cgroup_links=cgroup.links,
            unified_cgroups=cgroup.is_unified,
            host_resolv_conf=_host_resolv_conf(),
            cpu_count=os.cpu_count() or 1,
            nofile=resource.getrlimit(resource.RLIMIT_NOFILE),
        )


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


def _receive(control: socket.socket, length: int) -> bytes:
    """Return exactly ``length`` bytes.

    Raises:
        ConnectionError: the other side closed before.

    """
    data = b""
    while len(data) < length:
        chunk = control.recv(length - len(data))
        if not chunk:
            raise ConnectionError("closed")
        data += chunk
    return data
