"""Detached containers: their supervisor, stop, kill, wait, rm, exec, stats."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imagekit.containers.errors import (
    ContainerNotFoundError,
    ContainerStateError,
    InvalidRunRequestError,
)
from imagekit.containers.files import ContainerFiles
from imagekit.containers.model import ContainerState, Status
from imagekit.sandbox.errors import CommandNotFoundError

if TYPE_CHECKING:
    from tests.containers.conftest import World

pytestmark = pytest.mark.root

OBEDIENT = ("sh", "-c", "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.02; done")
STUBBORN = ("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.02; done")


def until(condition: Callable[[], object], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        threading.Event().wait(0.01)


def state_of(world: "World", key: str) -> ContainerState:
    row = world.store.containers.get(key)
    assert row is not None
    return ContainerFiles(world.store.containers.directory(row.id)).read_state()


def started(world: "World", *command: str, **options: object) -> str:
    identifier = world.start(*command, **options)
    until(lambda: b"up\n" in world.log(identifier))
    return identifier


def test_stop_sends_the_stop_signal(world: "World") -> None:
    started(world, *OBEDIENT, name="box")

    world.containers.stop("box")

    assert world.containers.wait("box") == 3
    assert world.log("box") == b"up\nbye\n"
    assert world.containers.list() == ()


def test_stop_kills_after_its_time(world: "World") -> None:
    started(world, *STUBBORN, name="box")
    before = time.monotonic()

    world.containers.stop("box", 0.2)

    assert time.monotonic() - before < 2
    assert world.containers.wait("box") == 137


def test_stop_of_a_stopped_container_does_nothing(world: "World") -> None:
    world.start("true", name="box")
    world.containers.wait("box")

    assert world.containers.stop("box") == world.containers.stop("box")


def test_stop_signal_of_the_request(world: "World") -> None:
    script = "trap 'exit 4' USR1; echo up; while :; do sleep 0.02; done"
    started(world, "sh", "-c", script, name="box", stop_signal="USR1")

    world.containers.stop("box")

    assert world.containers.wait("box") == 4


def test_kill(world: "World") -> None:
    started(world, *OBEDIENT, name="box")

    world.containers.kill("box", "TERM")

    assert world.containers.wait("box") == 3
    with pytest.raises(ContainerStateError):
        world.containers.kill("box")
    with pytest.raises(InvalidRunRequestError):
        world.containers.kill("box", "SIGNONE")


def test_wait_hears_of_the_end_of_a_container_that_removes_itself(world: "World") -> None:
    identifier = started(world, "sh", "-c", "echo up; sleep 0.3; exit 6", remove=True)

    assert world.containers.wait(identifier) == 6
    until(lambda: not world.store.containers.directory(identifier).exists())
    with pytest.raises(ContainerNotFoundError):
        world.containers.inspect(identifier)
    assert world.store.containers.get(identifier) is None


def test_name_of_a_container_that_removed_itself_is_free(world: "World") -> None:
    identifier = world.start("true", remove=True, name="again")
    until(lambda: not world.store.containers.directory(identifier).exists())

    assert world.run("echo", "x", name="again")[1] == b"x\n"


def test_command_that_cannot_run_is_an_error_of_the_caller(world: "World") -> None:
    with pytest.raises(CommandNotFoundError) as raised:
        world.start("nope", remove=True)

    assert raised.value.container_exit_code == 127
    assert world.containers.list(all=True) == ()


def test_remove_needs_force_while_running(world: "World") -> None:
    identifier = started(world, *STUBBORN, name="box")

    with pytest.raises(ContainerStateError):
        world.containers.remove("box")
    world.containers.remove("box", force=True)

    assert world.containers.list(all=True) == ()
    assert not world.store.containers.directory(identifier).exists()


def test_container_is_found_by_name_id_and_prefix(world: "World") -> None:
    identifier = world.start("true", name="box")

    found = {world.containers.inspect(key)["Id"] for key in ("box", identifier, identifier[:6])}

    assert found == {identifier}
    with pytest.raises(ContainerNotFoundError):
        world.containers.inspect("boxes")


def test_inspect_tells_state_and_settings(world: "World") -> None:
    started(world, *OBEDIENT, name="box", memory_bytes=64 << 20, labels={"b": "2"})

    document = world.containers.inspect("box")

    assert document["Name"] == "/box"
    assert document["State"]["Running"] is True
    assert Path(f"/proc/{document['State']['Pid']}").exists()
    assert document["HostConfig"]["Memory"] == 64 << 20
    assert document["Config"]["Labels"] == {"a": "1", "b": "2"}
    assert document["Config"]["Cmd"] == list(OBEDIENT)


def test_exec_joins_the_container(world: "World") -> None:
    started(world, *OBEDIENT, name="box", env=("KEY=value",))
    world.exec("box", "touch", "/made-by-exec")

    code, out = world.exec(
        "box", "sh", "-c", "ls /made-by-exec; echo $KEY $MORE; pwd; id -u; exit 5",
        env=("MORE=more",), workdir="/data", user="1000",
    )  # fmt: skip

    assert (code, out) == (5, b"/made-by-exec\nvalue more\n/data\n1000\n")


def test_exec_sees_the_processes_and_the_host_name_of_the_container(world: "World") -> None:
    identifier = started(world, *OBEDIENT, name="box")

    _, out = world.exec("box", "sh", "-c", "hostname; ps")

    assert out.startswith(identifier[:12].encode())
    assert b"1 root     sh -c trap" in out


def test_exec_errors(world: "World") -> None:
    started(world, *OBEDIENT, name="box")

    with pytest.raises(CommandNotFoundError) as raised:
        world.exec("box", "nope")
    assert raised.value.container_exit_code == 127
    world.containers.stop("box")
    with pytest.raises(ContainerStateError):
        world.exec("box", "true")


def test_detached_exec_goes_on(world: "World") -> None:
    started(world, *OBEDIENT, name="box")

    assert world.exec("box", "sh", "-c", "sleep 0.1; echo x > /late", detach=True) == (0, b"")

    until(lambda: world.exec("box", "cat", "/late") == (0, b"x\n"))


def test_processes_of_exec_end_with_the_container(world: "World") -> None:
    started(world, *OBEDIENT, name="box")
    world.exec("box", "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done", detach=True)

    world.containers.stop("box")

    assert world.containers.wait("box") == 3


def test_stats_of_a_running_container(world: "World") -> None:
    started(world, *OBEDIENT, name="box", memory_bytes=64 << 20)

    stats = world.containers.stats("box")

    assert stats.pids >= 1
    assert 0 < stats.memory_bytes < 64 << 20
    assert stats.memory_limit_bytes == 64 << 20


def test_start_runs_it_again_with_its_changes(world: "World") -> None:
    world.start("sh", "-c", "echo x >> /count; cat /count", name="box")
    world.containers.wait("box")

    world.containers.start("box")
    world.containers.wait("box")

    assert world.log("box") == b"x\nx\nx\n"


def test_created_container_can_be_started(world: "World") -> None:
    from imagekit.containers.request import RunRequest
    from imagekit.sandbox.spec import NetworkMode

    request = RunRequest(
        image="busybox:test", command=("echo", "hi"), network=NetworkMode.NONE, name="box"
    )
    identifier = world.containers.create(request)
    assert [c.state for c in world.containers.list(all=True)] == ["Created"]

    assert world.containers.start("box") == identifier
    assert world.containers.wait("box") == 0
    assert world.log("box") == b"hi\n"


def test_killed_supervisor_takes_the_container_along_and_is_repaired(world: "World") -> None:
    started(world, *STUBBORN, name="box")
    state = state_of(world, "box")

    os.kill(state.owner.pid, signal.SIGKILL)
    until(lambda: not state.owner.is_alive)

    (summary,) = world.containers.list(all=True)
    assert summary.status is Status.EXITED
    assert summary.exit_code == 137
    assert "was killed" in world.containers.inspect("box")["State"]["Error"]
    assert not state.init.is_alive
    assert not any(Path(directory).exists() for directory in state.cgroups)
    world.containers.start("box")
    assert [c.status for c in world.containers.list()] == [Status.RUNNING]


def test_killed_supervisor_of_a_container_to_be_removed(world: "World") -> None:
    identifier = started(world, *STUBBORN, name="box", remove=True)
    state = state_of(world, "box")

    os.kill(state.owner.pid, signal.SIGKILL)
    until(lambda: not state.owner.is_alive)

    assert world.containers.list(all=True) == ()
    assert not world.store.containers.directory(identifier).exists()


def test_wait_returns_when_the_supervisor_is_killed(world: "World") -> None:
    started(world, *STUBBORN, name="box")
    owner = state_of(world, "box").owner
    codes: list[int] = []
    waiter = threading.Thread(target=lambda: codes.append(world.containers.wait("box")))
    waiter.start()

    os.kill(owner.pid, signal.SIGKILL)
    waiter.join(10)

    assert codes == [137]


@pytest.mark.parametrize("damaged", [("state", "exit"), ("spec",)])
def test_damaged_container_can_still_be_removed(world: "World", damaged: tuple[str, ...]) -> None:
    identifier = world.start("true", name="box")
    world.containers.wait("box")
    files = ContainerFiles(world.store.containers.directory(identifier))
    for name in damaged:
        getattr(files, name).write_bytes(b"\0\0")

    assert [c.status for c in world.containers.list(all=True)] == [Status.DEAD]
    world.containers.remove("box")

    assert world.containers.list(all=True) == ()


def test_supervisor_is_small(world: "World") -> None:
    started(world, *OBEDIENT, name="box")
    owner = state_of(world, "box").owner.pid

    status = Path(f"/proc/{owner}/status").read_text()

    resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    assert int(resident.split()[1]) < 24_000


def test_twenty_detached_at_once(world: "World") -> None:
    identifiers: list[str] = []

    def one(number: int) -> None:
        identifiers.append(world.start("sh", "-c", f"exit {number}", name=f"box{number}"))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [world.containers.wait(f"box{number}") for number in range(20)] == list(range(20))


def test_only_one_of_many_starts_starts_it(world: "World") -> None:
    world.start("sh", "-c", "echo x >> /count; sleep 100", name="box")
    until(lambda: world.exec("box", "cat", "/count")[1] == b"x\n")
    world.containers.kill("box")

    threads = [threading.Thread(target=world.containers.start, args=("box",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    until(lambda: world.exec("box", "cat", "/count")[1] == b"x\nx\n")
    assert len(world.containers.list()) == 1


def test_ended_supervisors_are_collected(world: "World") -> None:
    identifier = world.start("true")
    owner = state_of(world, identifier).owner
    world.containers.wait(identifier)
    until(lambda: not owner.is_alive)

    world.start("true")

    assert not Path(f"/proc/{owner.pid}").exists()
