"""A container joined to the user's terminal, played by the other end of a pseudo terminal."""

import fcntl
import os
import select
import struct
import termios
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from imagekit.containers.request import RunRequest
from imagekit.containers.stdio import Stdio
from imagekit.sandbox.spec import NetworkMode

if TYPE_CHECKING:
    from tests.containers.conftest import World

pytestmark = pytest.mark.root


class User:
    """The person at the terminal: types, and reads what is shown."""

    def __init__(self) -> None:
        self.controller, self.terminal = os.openpty()
        size = struct.pack("HHHH", 30, 100, 0, 0)
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, size)
        self.shown = b""

    @property
    def stdio(self) -> Stdio:
        return Stdio(stdin=self.terminal, stdout=self.terminal, stderr=self.terminal)

    def type(self, text: str) -> None:
        os.write(self.controller, text.encode())

    def read_until(self, text: bytes) -> None:
        while text not in self.shown:
            ready, _, _ = select.select([self.controller], [], [], 10)
            assert ready, self.shown
            self.shown += os.read(self.controller, 4096)

    def close(self) -> None:
        os.close(self.controller)
        os.close(self.terminal)


@pytest.fixture
def user() -> Iterator[User]:
    person = User()
    yield person
    person.close()


def run(world: "World", user: User, *command: str, key: str | None = None) -> list[int]:
    """Run a command with a terminal on another thread; its exit code comes into the list."""
    codes: list[int] = []

    def attended() -> None:
        if key is not None:
            code = world.containers.exec(key, command, tty=True, interactive=True, stdio=user.stdio)
            codes.append(code)
            return
        request = RunRequest(
            image="busybox:test",
            command=command,
            tty=True,
            interactive=True,
            remove=True,
            network=NetworkMode.NONE,
        )
        code_or_none = world.containers.run(request, user.stdio).exit_code
        assert code_or_none is not None
        codes.append(code_or_none)

    thread = threading.Thread(target=attended)
    thread.start()
    threads.append(thread)
    return codes


threads: list[threading.Thread] = []


def join() -> None:
    while threads:
        threads.pop().join(20)


def test_shell_in_a_terminal(world: "World", user: User) -> None:
    before = termios.tcgetattr(user.terminal)

    codes = run(world, user, "sh")
    user.read_until(b"# ")
    user.type("tty; stty size; exit 7\r")
    user.read_until(b"30 100")
    join()

    assert codes == [7]
    assert b"/dev/pts/0" in user.shown
    assert termios.tcgetattr(user.terminal) == before


def test_interrupt_is_typed_not_sent_to_us(world: "World", user: User) -> None:
    codes = run(
        world, user, "sh", "-c", "trap 'echo got; exit 5' INT; echo up; while :; do sleep 0.1; done"
    )

    user.read_until(b"up")
    user.type("\x03")
    user.read_until(b"got")
    join()

    assert codes == [5]


def test_exec_with_a_terminal(world: "World", user: User) -> None:
    world.start("sleep", "100", name="box")

    codes = run(world, user, "sh", key="box")
    user.read_until(b"# ")
    user.type("test -t 0 && stty size; exit 3\r")
    user.read_until(b"30 100")
    join()

    assert codes == [3]
    world.containers.remove("box", force=True)


def test_output_after_the_end_is_not_lost(world: "World", user: User) -> None:
    codes = run(world, user, "sh", "-c", "seq 1 300; echo last")

    user.read_until(b"last\r\n")
    join()

    assert codes == [0]
