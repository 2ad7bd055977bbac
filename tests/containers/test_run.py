"""Running containers in the foreground."""

import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from imagekit.base.events import Notice
from imagekit.containers.errors import InvalidRunRequestError, NameConflictError
from imagekit.containers.model import Status
from imagekit.containers.request import VolumeMount
from imagekit.images.errors import ImageNotFoundError
from imagekit.images.process import NoCommandError
from imagekit.sandbox.errors import CommandNotFoundError, NotExecutableError, SandboxError

if TYPE_CHECKING:
    from tests.containers.conftest import World

pytestmark = pytest.mark.root


def test_output_goes_to_the_callers_descriptors(world: "World") -> None:
    result, out, err = world.run("sh", "-c", "echo out; echo err >&2")

    assert (result.exit_code, out, err) == (0, b"out\n", b"err\n")


def test_command_of_the_image_is_the_default(world: "World") -> None:
    assert world.run()[1] == b"the default\n"


def test_entrypoint_replaces_the_command_of_the_image(world: "World") -> None:
    assert world.run("a", "b", entrypoint=("echo", "-"))[1] == b"- a b\n"


def test_empty_entrypoint_without_command_is_an_error(world: "World") -> None:
    with pytest.raises(NoCommandError):
        world.run(entrypoint=())


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_exit_code_is_that_of_the_command(world: "World", code: int) -> None:
    assert world.run("sh", "-c", f"exit {code}")[0].exit_code == code


def test_death_by_signal_is_128_and_the_signal(world: "World") -> None:
    # The shell is process 1, which its own signals do not reach: its child gets them.
    assert world.run("sh", "-c", "sh -c 'kill -SEGV $$'; exit $?")[0].exit_code == 139


@pytest.mark.parametrize("removed", [True, False])
@pytest.mark.parametrize(
    ("command", "error", "code"),
    [
        ("no-such-program", CommandNotFoundError, 127),
        ("/bin/not-executable", NotExecutableError, 126),
        ("/tmp", NotExecutableError, 126),
    ],
)
def test_command_that_cannot_run_has_dockers_code(
    world: "World", *, command: str, error: type[SandboxError], code: int, removed: bool
) -> None:
    with pytest.raises(error) as raised:
        world.run(command, remove=removed)

    assert raised.value.container_exit_code == code
    assert [c.status for c in world.containers.list(all=True)] == (
        [] if removed else [Status.CREATED]
    )


def test_user_that_is_not_in_the_image_leaves_nothing(world: "World") -> None:
    with pytest.raises(SandboxError) as raised:
        world.run("true", user="nobody-here")

    assert raised.value.container_exit_code == 125
    assert world.containers.list(all=True) == ()


def test_environment_workdir_user_and_hostname(world: "World") -> None:
    _, out, _ = world.run(
        "sh",
        "-c",
        "echo $FROM_IMAGE $MORE; pwd; id -u; hostname",
        env=("MORE=more", "FROM_IMAGE=no"),
        workdir="/data",
        user="user",
        hostname="box",
    )

    assert out == b"no more\n/data\n1000\nbox\n"


def test_removed_container_leaves_nothing(world: "World") -> None:
    result, _, _ = world.run("touch", "/file")

    assert world.store.containers.get(result.id) is None
    assert not world.store.containers.directory(result.id).exists()
    assert list(world.store.paths.temporary.iterdir()) == []


def test_kept_container_is_listed_with_how_it_ended(world: "World") -> None:
    world.run("sh", "-c", "exit 3", remove=False, name="kept")

    (summary,) = world.containers.list(all=True)
    assert world.containers.list() == ()
    assert (summary.name, summary.image, summary.status) == ("kept", "busybox:test", Status.EXITED)
    assert summary.state.startswith("Exited (3) ")
    assert summary.exit_code == 3


def test_output_of_a_kept_container_is_logged_too(world: "World") -> None:
    _, out, _ = world.run("sh", "-c", "echo one; printf two", remove=False, name="kept")

    assert out == b"one\ntwo"
    assert world.log("kept") == b"one\ntwo"


def test_name_in_use_is_refused(world: "World") -> None:
    world.run("true", remove=False, name="taken")

    with pytest.raises(NameConflictError):
        world.run("true", name="taken")


def test_unknown_image_has_a_hint(world: "World") -> None:
    from imagekit.containers.request import RunRequest

    with pytest.raises(ImageNotFoundError) as raised:
        world.containers.run(RunRequest(image="busybox:tset"))
    assert raised.value.hint == "Did you mean busybox:test?"


@pytest.mark.parametrize(
    "options",
    [
        {"name": "no spaces"},
        {"publish": ("x",)},
        {"security_opt": ("apparmor=x",)},
        {"add_hosts": ("nothing",)},
        {"stop_signal": "SIGNOT"},
        {"tmpfs": ("relative",)},
        {"tmpfs": ("/t:size=x",)},
        {"volumes": (VolumeMount(source="../x", target="/x"),)},
    ],
)
def test_senseless_request_leaves_nothing(world: "World", options: dict[str, object]) -> None:
    with pytest.raises(InvalidRunRequestError):
        world.run("true", **options)

    assert world.containers.list(all=True) == ()


def test_memory_limit_ends_in_137_and_a_notice(world: "World") -> None:
    # tmpfs is charged to the container.
    result, _, _ = world.run(
        "dd", "if=/dev/zero", "of=/dev/shm/x", "bs=1M", "count=60", memory_bytes=32 << 20
    )

    assert (result.exit_code, result.oom_killed) == (137, True)
    assert any(
        isinstance(event, Notice) and "out of memory (limit 32 MiB)" in event.message
        for event in world.events
    )


def test_process_limit_is_kept(world: "World") -> None:
    script = "for i in $(seq 1 30); do sleep 5 & done; echo started"

    _, out, err = world.run("sh", "-c", script, pids_limit=8)

    assert b"fork" in err
    assert b"started" not in out or b"Resource" in err


def test_read_only_root_refuses_writes_but_not_to_a_tmpfs(world: "World") -> None:
    _, out, err = world.run(
        "sh", "-c", "touch /x; touch /scratch/x && echo ok", read_only=True, tmpfs=("/scratch",)
    )

    assert b"Read-only" in err
    assert out == b"ok\n"


def test_dropped_capability_is_gone(world: "World") -> None:
    world_readable = "chown 1000 /data/seed"

    assert world.run("sh", "-c", f"{world_readable}", cap_drop=("CAP_CHOWN",))[0].exit_code
    assert world.run("sh", "-c", f"{world_readable}")[0].exit_code == 0


def test_no_new_privileges(world: "World") -> None:
    _, out, _ = world.run(
        "grep", "NoNewPrivs", "/proc/self/status", security_opt=("no-new-privileges",)
    )

    assert out.split() == [b"NoNewPrivs:", b"1"]


def test_added_hosts_are_known(world: "World") -> None:
    _, out, _ = world.run("grep", "10.1.2.3", "/etc/hosts", add_hosts=("db:10.1.2.3",))

    assert out.split() == [b"10.1.2.3", b"db"]


def test_input_is_handed_on_only_when_interactive(world: "World") -> None:
    read, write = os.pipe()
    try:
        os.write(write, b"typed\n")
        os.close(write)
        before = os.dup(0)
        os.dup2(read, 0)
        try:
            assert world.run("cat")[1] == b""
            assert world.run("cat", interactive=True)[1] == b"typed\n"
        finally:
            os.dup2(before, 0)
            os.close(before)
    finally:
        os.close(read)


def test_signals_are_passed_on(world: "World") -> None:
    script = "trap 'echo got; exit 9' TERM; touch /mark/ready; while :; do sleep 0.05; done"
    mark = world.store.root / "mark"
    mark.mkdir(exist_ok=True)

    def terminate() -> None:
        while not (mark / "ready").exists():
            threading.Event().wait(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    sender = threading.Thread(target=terminate)
    sender.start()
    result, out, _ = world.run(
        "sh", "-c", script, volumes=(VolumeMount(source=str(mark), target="/mark"),)
    )
    sender.join()

    assert (result.exit_code, out) == (9, b"got\n")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("removed", [True, False])
def test_twenty_at_once(world: "World", *, removed: bool) -> None:
    outputs: dict[int, bytes] = {}

    def one(number: int) -> None:
        outputs[number] = world.run("echo", str(number), remove=removed)[1]

    threads = [threading.Thread(target=one, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert outputs == {number: f"{number}\n".encode() for number in range(20)}
    assert len(world.containers.list(all=True)) == (0 if removed else 20)


def test_no_descriptor_stays_open(world: "World") -> None:
    world.run("true")
    world.run("true", remove=False)
    before = len(list(Path("/proc/self/fd").iterdir()))

    world.run("true")
    world.run("true", remove=False)
    with pytest.raises(CommandNotFoundError):
        world.run("nope", remove=False)

    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("place", ["add", "run_attached"])
def test_an_interrupt_before_the_start_leaves_nothing(
    world: "World", monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    if place == "add":
        add = world.store.containers.add

        def interrupted(**values: Any) -> None:
            add(**values)
            raise KeyboardInterrupt

        monkeypatch.setattr(world.store.containers, "add", interrupted)
    else:

        def refuse(*values: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(world.containers._lifecycle, "run_attached", refuse)

    with pytest.raises(KeyboardInterrupt):
        world.run("true", remove=True)

    assert world.containers.list(all=True) == ()
