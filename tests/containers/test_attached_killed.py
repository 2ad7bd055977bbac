"""A command that is killed while its container runs in the foreground."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import imagekit
from imagekit.containers.model import Status

if TYPE_CHECKING:
    from tests.containers.conftest import World

pytestmark = pytest.mark.root

PROGRAM = """
import sys
from pathlib import Path
from imagekit.containers.containers import Containers
from imagekit.containers.request import RunRequest
from imagekit.images.local import LocalImages
from imagekit.sandbox.launcher import Launcher
from imagekit.sandbox.spec import NetworkMode
from imagekit.store.layout import Store

with Store.open(Path(sys.argv[1])) as store, Launcher() as launcher:
    request = RunRequest(
        image="busybox:test", command=("sh", "-c", "echo up; exec sleep 1000"), name="box",
        network=NetworkMode.NONE, remove=sys.argv[2] == "remove",
    )
    result = Containers(store, LocalImages(store), lambda: launcher).run(request)
    sys.exit(result.exit_code)
"""


def start(world: "World", mode: str) -> "subprocess.Popen[bytes]":
    package_parent = str(Path(imagekit.__file__).parent.parent)
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(world.store.root), mode],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": package_parent},
    )
    assert program.stdout is not None
    assert program.stdout.readline() == b"up\n"
    # The container may speak before the command has written down that it runs.
    until(world.containers.list)
    return program


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        threading.Event().wait(0.01)


@pytest.mark.parametrize("mode", ["keep", "remove"])
def test_container_ends_and_is_set_right(world: "World", mode: str) -> None:
    program = start(world, mode)
    init = world.containers.inspect("box")["State"]["Pid"]

    program.kill()
    program.wait()
    until(lambda: not Path(f"/proc/{init}").exists())

    summaries = world.containers.list(all=True)
    assert [(c.status, c.exit_code) for c in summaries] == (
        [(Status.EXITED, 137)] if mode == "keep" else []
    )
    assert program.stdout is not None
    program.stdout.close()


def test_other_commands_reach_a_container_in_the_foreground(world: "World") -> None:
    program = start(world, "remove")

    assert world.exec("box", "echo", "in")[1] == b"in\n"
    world.containers.stop("box", 0.1)

    assert program.wait(10) == 137
    assert world.containers.list(all=True) == ()
    assert program.stdout is not None
    program.stdout.close()


def test_signal_to_the_command_goes_to_the_container(world: "World") -> None:
    program = start(world, "remove")

    # sleep is process 1, which only a SIGKILL from outside can end without its consent.
    os.kill(program.pid, signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        program.wait(0.3)
    world.containers.kill("box")

    assert program.wait(10) == 137
    assert program.stdout is not None
    program.stdout.close()
