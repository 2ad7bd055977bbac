from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imagekit.base.errors import UserError
from imagekit.containers.model import RunResult
from imagekit.containers.request import PortMapping, RunRequest, VolumeMount
from imagekit.images.errors import ImageNotFoundError
from imagekit.images.process import NoCommandError
from imagekit.sandbox.errors import CommandNotFoundError, NotExecutableError
from imagekit.sandbox.spec import NetworkMode

FakeEngine = Any
Invoke = Any


@pytest.fixture(autouse=True)
def answers(engine: FakeEngine) -> None:
    engine.answers["containers.run"] = RunResult(id="c0ffee", exit_code=0)
    engine.answers["containers.exec"] = 0


def request_of(engine: FakeEngine) -> RunRequest:
    (request,), _ = engine.only_call("containers.run")
    assert isinstance(request, RunRequest)
    return request


def test_options_end_at_the_image(invoke: Invoke, engine: FakeEngine) -> None:
    result = invoke("run", "--rm", "debian", "ls", "-l", "--rm", "-e")

    assert result.exit_code == 0, result.stderr
    assert request_of(engine) == RunRequest(
        image="debian", remove=True, command=("ls", "-l", "--rm", "-e")
    )
    assert result.output == ""


def test_every_flag_reaches_the_request(invoke: Invoke, engine: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("A=0\nC=3\n")
    result = invoke(
        "run", "-d", "-i", "-t", "-e", "A=1", "-e", "B", "--env-file", str(tmp_path / "env"),
        "-v", "/h:/c:ro", "-v", "vol:/v", "--mount", "type=bind,src=/m,dst=/n,ro",
        "--mount", "type=tmpfs,dst=/t,tmpfs-size=1m", "--tmpfs", "/tmp",
        "-w", "/w", "-u", "me:us", "-h", "host", "--entrypoint", "/bin/x", "--name", "web",
        "-p", "8080-8081:80-81", "-m", "64m", "--memory-swap", "-1", "--cpus", "0.5",
        "--pids-limit", "10", "--cap-add", "NET_ADMIN", "--cap-drop", "ALL", "--privileged",
        "--read-only", "--init", "--label", "k=v", "--stop-signal", "INT", "--stop-timeout", "1m",
        "--add-host", "db:10.0.0.1", "--dns", "1.1.1.1", "--security-opt", "seccomp=unconfined",
        "image", "cmd",
        environ={"B": "2"},
    )  # fmt: skip

    assert result.exit_code == 0, result.stderr
    assert request_of(engine) == RunRequest(
        image="image",
        command=("cmd",),
        detach=True,
        name="web",
        env=("A=1", "C=3", "B=2"),
        volumes=(
            VolumeMount(source="/h", target="/c", read_only=True),
            VolumeMount(source="vol", target="/v"),
            VolumeMount(source="/m", target="/n", read_only=True),
        ),
        tmpfs=("/tmp", "/t:size=1048576"),
        workdir="/w",
        user="me:us",
        entrypoint=("/bin/x",),
        hostname="host",
        tty=True,
        interactive=True,
        memory_bytes=64 << 20,
        memory_swap_bytes=-1,
        cpus=0.5,
        pids_limit=10,
        network=NetworkMode.BRIDGE,
        publish=(
            PortMapping(container_port=80, host_port=8080),
            PortMapping(container_port=81, host_port=8081),
        ),
        cap_add=("NET_ADMIN",),
        cap_drop=("ALL",),
        privileged=True,
        read_only=True,
        init=True,
        labels={"k": "v"},
        stop_signal="INT",
        stop_timeout_s=60,
        add_hosts=("db:10.0.0.1",),
        dns=("1.1.1.1",),
        security_opt=("seccomp=unconfined",),
    )


def test_the_containers_exit_code_is_ours(invoke: Invoke, engine: FakeEngine) -> None:
    engine.answers["containers.run"] = RunResult(id="c0ffee", exit_code=137)

    assert invoke("run", "x").exit_code == 137
    assert engine.closed


def test_detached_prints_the_id(invoke: Invoke, engine: FakeEngine) -> None:
    engine.answers["containers.run"] = RunResult(id="c0ffee")

    result = invoke("run", "-d", "x")

    assert (result.exit_code, result.stdout) == (0, "c0ffee\n")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UserError("no"), 125),
        (CommandNotFoundError("no"), 127),
        (NotExecutableError("no"), 126),
        (NoCommandError("no"), 125),
    ],
)
@pytest.mark.parametrize("command", [["run", "x"], ["exec", "x", "y"]])
def test_our_own_failures_have_dockers_codes(
    invoke: Invoke, engine: FakeEngine, error: Exception, code: int, command: list[str]
) -> None:
    engine.answers[f"containers.{command[0]}"] = error

    result = invoke(*command)

    assert result.exit_code == code
    assert result.stderr == "imagekit: error: no\n"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--frobnicate", "x"], "no such option"),
        ([], "missing argument 'IMAGE'"),
        (["-m", "lots", "x"], "'lots' is not a size"),
        (["-v", "relative", "x"], "absolute"),
        (["-p", "x", "y"], "invalid port"),
        (["-p", "80", "--network", "host", "x"], "cannot publish ports"),
        (["--env-file", "/nowhere", "x"], "/nowhere"),
        (["-e", "=x", "y"], "is not KEY=VALUE"),
        (["-it", "x"], "standard input is not one"),
    ],
)
def test_wrong_command_lines_exit_with_125(
    invoke: Invoke, engine: FakeEngine, arguments: list[str], problem: str
) -> None:
    result = invoke("run", *arguments)

    assert result.exit_code == 125
    assert problem.lower() in result.stderr.lower()
    assert [name for name, _, _ in engine.calls if name != "warm_up"] == []


def test_h_alone_is_help(invoke: Invoke) -> None:
    assert "Usage: imagekit run" in invoke("run", "-h").stdout


def test_a_missing_image_is_fetched_once(invoke: Invoke, engine: FakeEngine) -> None:
    outcomes: Iterator[Exception | RunResult] = iter(
        [ImageNotFoundError("none"), RunResult(id="c0ffee", exit_code=3)]
    )

    def run(request: RunRequest) -> RunResult:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    engine.answers["containers.run"] = run

    result = invoke("run", "--insecure", "debian:12")

    assert result.exit_code == 3
    assert engine.only_call("pull") == (("debian:12",), {"insecure": True})


def test_never_fetches_when_told_so(invoke: Invoke, engine: FakeEngine) -> None:
    engine.answers["containers.run"] = ImageNotFoundError("none")

    result = invoke("run", "--pull", "never", "debian:12")

    assert result.exit_code == 125
    assert [name for name, _, _ in engine.calls] == ["warm_up", "containers.run"]


def test_always_fetches_first(invoke: Invoke, engine: FakeEngine) -> None:
    invoke("run", "--pull", "always", "debian:12")

    assert [name for name, _, _ in engine.calls] == ["warm_up", "pull", "containers.run"]


def test_an_empty_entrypoint_clears_it(invoke: Invoke, engine: FakeEngine) -> None:
    invoke("run", "--entrypoint", "", "x")

    assert request_of(engine).entrypoint == ()


def test_exec_passes_everything_on(invoke: Invoke, engine: FakeEngine) -> None:
    engine.answers["containers.exec"] = 7

    result = invoke("exec", "-d", "-e", "A=1", "-w", "/w", "-u", "me", "web", "ls", "-l")

    assert result.exit_code == 7
    assert engine.only_call("containers.exec") == (
        ("web", ("ls", "-l")),
        {
            "env": ("A=1",),
            "workdir": "/w",
            "user": "me",
            "tty": False,
            "interactive": False,
            "detach": True,
        },
    )
