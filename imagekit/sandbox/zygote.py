"""The zygote: a small single-threaded process from which every sandbox is cloned.

It is started once, early, as an interpreter of its own (``python -S -I -E``), because copying a
process costs time in proportion to its memory and is unsound with threads. It imports only base,
linux and sandbox modules and, before serving, forbids itself to import anything more: after the
root has changed, an import would run code of the image with full privilege.

Children are cloned with CLONE_PARENT: they are the caller's own children, who can wait for them.
When the caller ends, by whatever signal, its socket closes and the zygote kills what is left.
"""

import array
import contextlib
import fcntl
import gc
import json
import os
import select
import signal
import socket
import sys
import time
from typing import Final, NoReturn

from imagekit.linux import namespaces, process
from imagekit.linux.constants import CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWUTS, CLONE_PARENT
from imagekit.sandbox import child
from imagekit.sandbox.helper import HEADER_BYTES
from imagekit.sandbox.state import State

_LIBRARY_SIGNALS: Final = (32, 33)
NAMESPACES: Final = CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS
_MAX_FDS: Final = 4
_END_TIMEOUT_S: Final = 2.0
_RETRY_S: Final = 0.002
_NO_FD_ABOVE: Final = (1 << 31) - 1


class Zygote:
    """Answer requests on a stream socket: each makes one child that carries out one plan."""

    def __init__(self, control: socket.socket, spares: int | None) -> None:
        self._control = control
        self._spares_left = spares
        # Children that end with the caller: pidfd to the cgroup directories that go with them.
        self._live: dict[int, list[str]] = {}
        self._spare: tuple[int, socket.socket] | None = None
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)

    def serve(self) -> NoReturn:
        """Serve until the other end is closed."""
        self._keep_spare()
        while True:
            for fd, _ in self._poll.poll():
                if fd != self._control.fileno():
                    self._poll.unregister(fd)
                    del self._live[fd]
                    os.close(fd)
                    continue
                request = _receive(self._control)
                if request is None:
                    self._end()
                self._start(*request)
                self._keep_spare()

    def _start(self, body: bytes, fds: list[int]) -> None:
        """Have a child carry out a plan, and answer with its process id."""
        request = json.loads(body[: body.index(b"\n")])
        plan = body[len(body) - request["plan_bytes"] :]
        try:
            if request["own_namespaces"]:
                pid = self._hand_over(plan, fds)
            else:
                pid = self._clone(plan, fds)
        except OSError as error:
            message = f"cannot make a process: {error.strerror}"
            self._answer({"errno": error.errno, "message": message})
        else:
            if request["ends_with_caller"]:
                pidfd = os.pidfd_open(pid)
                self._live[pidfd] = request["directories"]
                self._poll.register(pidfd, select.POLLIN)
            self._answer({"pid": pid})
        finally:
            for fd in fds:
                os.close(fd)

    def _hand_over(self, plan: bytes, fds: list[int]) -> int:
        """Give a plan to the child that is ready, or to a new one."""
        if self._spare is not None:
            pid, channel = self._spare
            self._spare = None
            with channel, contextlib.suppress(BrokenPipeError, ConnectionResetError):
                _send(channel, plan, fds)
                return pid
        pid, channel = self._make_child()  # none was ready, or somebody had killed it
        with channel:
            _send(channel, plan, fds)
        return pid

    def _keep_spare(self) -> None:
        """Have a child ready for the next request; nothing when none can be made."""
        if self._spare is not None or self._spares_left == 0:
            return
        with contextlib.suppress(OSError):  # the request will meet it again and report it
            self._spare = self._make_child()
            if self._spares_left is not None:
                self._spares_left -= 1

    def _make_child(self) -> tuple[int, socket.socket]:
        """Clone a child in namespaces of its own that waits for its plan."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            pid = namespaces.clone(CLONE_PARENT | signal.SIGCHLD | NAMESPACES)
        except OSError:
            ours.close()
            theirs.close()
            raise
        if pid == 0:
            self._control.close()
            ours.close()
            state = child.prepare()
            request = _receive(theirs)
            if request is None:
                os._exit(0)
            theirs.close()
            _run(*request, state)
        theirs.close()
        return pid, ours

    def _clone(self, plan: bytes, fds: list[int]) -> int:
        """Clone a child in the caller's namespaces for a plan."""
        pid = namespaces.clone(CLONE_PARENT | signal.SIGCHLD)
        if pid == 0:
            self._control.close()
            if self._spare is not None:
                self._spare[1].close()
            _run(plan, fds, None)
        return pid

    def _answer(self, answer: dict[str, object]) -> None:
        _send(self._control, json.dumps(answer).encode(), [])

    def _end(self) -> NoReturn:
        """Kill every sandbox that is left, name the child that was kept ready, and end.

        The caller may have been killed, so what it would have removed is removed here.
        """
        for pidfd in self._live:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        spare = 0
        if self._spare is not None:
            spare, channel = self._spare
            channel.close()
        with contextlib.suppress(OSError):  # the caller may have gone
            self._answer({"spare": spare})
        for pidfd, directories in self._live.items():
            select.select([pidfd], [], [], _END_TIMEOUT_S)
            _remove(directories)
        os._exit(0)


def main(control_fd: int, spares: int | None) -> NoReturn:
    """Serve requests on a stream socket until its other end is closed.

    A child is kept ready for each of the next ``spares`` requests, None being all.
    """
    _settle(control_fd)
    control = socket.socket(fileno=control_fd)
    gc.collect()
    gc.freeze()
    gc.disable()
    Zygote(control, spares).serve()


def _remove(directories: list[str]) -> None:
    """Remove cgroup directories as soon as their last process is gone."""
    for directory in reversed(directories):
        for _ in range(int(_END_TIMEOUT_S / _RETRY_S)):
            try:
                os.rmdir(directory)
            except FileNotFoundError:
                break
            except OSError:  # EBUSY: the kernel is still at it
                time.sleep(_RETRY_S)
            else:
                break


def _run(plan: bytes, fds: list[int], state: State | None) -> NoReturn:
    stdin, stdout, stderr, status = fds
    child.run(json.loads(plan), stdio=(stdin, stdout, stderr), status_fd=status, state=state)


def _settle(control_fd: int) -> None:
    """Take on the state in which children are to be born."""
    fcntl.fcntl(control_fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    os.closerange(control_fd + 1, _NO_FD_ABOVE)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    for internal in _LIBRARY_SIGNALS:
        process.reset_signal(internal)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    process.set_name("imagekit-zygote")
    process.set_command_line("imagekit-zygote")
    process.set_dumpable(dumpable=False)
    os.umask(0o022)
    os.chdir("/")
    sys.path[:] = []
    sys.meta_path[:] = []
    sys.path_hooks[:] = []
    sys.path_importer_cache.clear()


def _receive(control: socket.socket) -> tuple[bytes, list[int]] | None:
    """Return the next request and its descriptors, or None at the end."""
    size = array.array("i").itemsize
    header, ancillary, _, _ = control.recvmsg(
        HEADER_BYTES, socket.CMSG_SPACE(_MAX_FDS * size), socket.MSG_CMSG_CLOEXEC
    )
    if not header:
        return None
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % size])
    while len(header) < HEADER_BYTES:
        header += control.recv(HEADER_BYTES - len(header))
    length = int.from_bytes(header, "little")
    body = bytearray()
    while len(body) < length:
        chunk = control.recv(length - len(body))
        if not chunk:
            return None
        body += chunk
    return bytes(body), fds.tolist()


def _send(channel: socket.socket, data: bytes, fds: list[int]) -> None:
    """Send a message; the other end may have gone, which is an error and no signal here."""
    header = len(data).to_bytes(HEADER_BYTES, "little")
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    channel.sendmsg([header], rights, socket.MSG_NOSIGNAL)
    channel.sendall(data, socket.MSG_NOSIGNAL)
