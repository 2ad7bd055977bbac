"""Starting the zygote; apart from the launcher, so that it can be done before anything else.

Its interpreter takes as long to start as everything that a caller imports meanwhile, so a program
that is going to run something starts it first.
"""

import contextlib
import json
import os
import socket
import sys
from typing import Final

import imagekit

HEADER_BYTES: Final = 4
"""The length in front of every message of the zygote's stream."""

CONTROL_FD: Final = 3
"""Where the zygote finds its end."""

_BOOT: Final = (
    "import sys; sys.path.insert(0, {path!r}); "
    "from imagekit.sandbox.zygote import main; main({fd}, {spares})"
)


class Helper:
    """The zygote's process, and our end of the stream to it."""

    def __init__(self, *, pid: int, control: socket.socket) -> None:
        self.pid = pid
        self.control = control

    @classmethod
    def start(cls, *, starts: int | None = None) -> "Helper":
        """Start one, and return without waiting until it is ready.

        It keeps a child ready for the next request, and none after ``starts`` sandboxes: making and
        ending one that nobody needs takes as long as the tidying up after a short program.

        It inherits neither the environment nor, once it runs, any other descriptor.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        package_parent = os.path.dirname(os.path.dirname(os.path.realpath(imagekit.__file__)))
        with theirs:
            pid = os.posix_spawn(
                sys.executable,
                [
                    sys.executable,
                    *("-S", "-I", "-E", "-X", "utf8"),
                    "-c",
                    _BOOT.format(path=package_parent, fd=CONTROL_FD, spares=starts),
                ],
                {},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, theirs.fileno(), CONTROL_FD),
                    *(
                        (os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0)
                        for number in range(CONTROL_FD)
                    ),
                ],
                setsid=True,  # a Ctrl-C in the terminal is for the caller alone
            )
        return cls(pid=pid, control=ours)

    def end(self) -> None:
        """End it, with everything that runs in its sandboxes unless that was detached."""
        with self.control as control, contextlib.suppress(OSError):
            control.shutdown(socket.SHUT_WR)
            # The zygote names the child that it kept ready, which is ours to wait for.
            # The answer to a request that was interrupted may stand before it.
            spare = None
            while spare is None:
                length = int.from_bytes(receive(control, HEADER_BYTES), "little")
                spare = json.loads(receive(control, length)).get("spare")
            if spare:
                os.waitpid(spare, 0)
        os.waitpid(self.pid, 0)


def receive(control: socket.socket, length: int) -> bytes:
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
