"""The zygote: a small single-threaded process from which every sandbox is cloned.

It is started once, early, as an interpreter of its own (``python -S -I -E``), because copying a
process costs time in proportion to its memory and is unsound with threads. It imports only base,
linux and sandbox modules and, before serving, forbids itself to import anything more: after the
root has changed, an import would run code of the image with full privilege.

Children are cloned with CLONE_PARENT: they are the caller's own children, who can wait for them.
When the caller ends, by whatever signal, its socket closes and the zygote kills what is left.
"""

import array
import fcntl
import gc
import json
import os
import select
import signal
import socket
import sys
from typing import Final, NoReturn

from imagekit.linux import namespaces, process
from imagekit.linux.constants import CLONE_PARENT
from imagekit.sandbox import child

HEADER_BYTES: Final = 4
_MAX_FDS: Final = 4


def main(control_fd: int) -> NoReturn:
    """Serve requests on a stream socket until its other end is closed."""
    _settle(control_fd)
    control = socket.socket(fileno=control_fd)
    live: dict[int, int] = {}  # pidfd -> pid
    poll = select.poll()
    poll.register(control_fd, select.POLLIN)
    gc.collect()
    gc.freeze()
    gc.disable()
    while True:
        for fd, _ in poll.poll():
            if fd == control_fd:
                request = _receive(control)
                if request is None:
                    _end(live)
                pidfd = _start(control, *request)
                if pidfd >= 0:
                    live[pidfd] = fd
                    poll.register(pidfd, select.POLLIN)
            else:
                poll.unregister(fd)
                os.close(fd)
                del live[fd]


def _settle(control_fd: int) -> None:
    """Take on the state in which children are to be born."""
    fcntl.fcntl(control_fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    os.setsid()
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
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


def _start(control: socket.socket, body: bytes, fds: list[int]) -> int:
    """Clone a child for a request, answer with its process id, and return a pidfd of it or -1."""
    stdin, stdout, stderr, status = fds
    request = json.loads(body)
    try:
        pid = namespaces.clone(CLONE_PARENT | signal.SIGCHLD | request["flags"])
    except OSError as error:
        message = f"cannot create namespaces: {error.strerror}"
        _answer(control, {"errno": error.errno, "message": message}, fds)
        return -1
    if pid == 0:
        control.close()
        child.run(request["plan"], stdio=(stdin, stdout, stderr), status_fd=status)
    pidfd = os.pidfd_open(pid) if request["ends_with_caller"] else -1
    _answer(control, {"pid": pid}, fds)
    return pidfd


def _answer(control: socket.socket, answer: dict[str, object], fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
    data = json.dumps(answer).encode()
    control.sendall(len(data).to_bytes(HEADER_BYTES, "little") + data)


def _end(live: dict[int, int]) -> NoReturn:
    """Kill every sandbox that is left, and end."""
    for pidfd in live:
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        except ProcessLookupError:
            continue
    os._exit(0)
