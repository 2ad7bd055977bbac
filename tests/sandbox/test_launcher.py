import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

import imagekit
from imagekit.base.errors import UserError
from imagekit.sandbox.errors import (
    CommandNotFoundError,
    NotExecutableError,
    SandboxError,
    UnknownUserError,
)
from imagekit.sandbox.helper import Helper
from imagekit.sandbox.launcher import Launcher, _follow
from imagekit.sandbox.spec import (
    DirectoryRoot,
    Limits,
    NetworkMode,
    OverlayRoot,
    ProcessSpec,
    PublishedPort,
    Ulimit,
)

pytestmark = pytest.mark.root


def test_a_program_runs_and_leaves_only_its_own_changes(bench: Any) -> None:
    outcome = bench.shell("echo out; echo err >&2; echo new > /var/file")

    assert (outcome.code, outcome.out, outcome.err) == (0, "out\n", "err\n")
    assert outcome.changes() == ["var", "var/file"]


def test_doing_nothing_leaves_nothing(bench: Any) -> None:
    assert bench.run("true").changes() == []


def test_layers_are_stacked_topmost_first(bench: Any, tmp_path: Path) -> None:
    for name in ("upper", "lower"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "who").write_text(name)

    outcome = bench.run("cat", "/who", root=bench.root(tmp_path / "upper", tmp_path / "lower"))

    assert outcome.out == "upper"


def test_a_hundred_and_fifty_layers(bench: Any, tmp_path: Path) -> None:
    layers = []
    for number in range(150):
        layer = tmp_path / f"a-layer-with-a-long-name-{number}"
        (layer / "seen").mkdir(parents=True)
        (layer / "seen" / str(number)).touch()
        layers.append(layer)

    outcome = bench.shell("ls /seen", root=bench.root(*layers))

    assert len(outcome.out.split()) == 150


def test_a_root_without_layers(bench: Any, busybox: Path) -> None:
    root = OverlayRoot(lowerdirs=(), upperdir=bench.root().upperdir, workdir=bench.root().workdir)
    place = root.upperdir.parent
    root = OverlayRoot(lowerdirs=(), upperdir=place / "fs", workdir=place / "work")
    (place / "fs/sh").write_bytes(busybox.read_bytes())
    (place / "fs/sh").chmod(0o755)

    assert bench.run("/sh", "-c", "exit 4", root=root).code == 4


def test_a_plain_directory_as_root(bench: Any, tmp_path: Path, busybox: Path) -> None:
    (tmp_path / "tree/bin").mkdir(parents=True)
    (tmp_path / "tree/bin/sh").write_bytes(busybox.read_bytes())
    (tmp_path / "tree/bin/sh").chmod(0o755)

    outcome = bench.shell("echo here > /made", root=DirectoryRoot(path=tmp_path / "tree"))

    assert outcome.code == 0
    assert (tmp_path / "tree/made").read_text() == "here\n"


@pytest.mark.parametrize(("script", "code"), [("exit 3", 3), ("kill -9 $$", 0), ("true", 0)])
def test_exit_code(bench: Any, script: str, code: int) -> None:
    # Process 1 of a namespace is immune to signals that it sends to itself.
    assert bench.shell(script).code == code


def test_death_by_signal_is_128_plus_n(bench: Any) -> None:
    spec = bench.spec("sleep", "60")
    process = bench.start(spec, out=1, err=2)

    process.kill()
    result = process.wait(10)

    assert (result.exit_code, result.signal) == (137, 9)


def test_unknown_program_is_127(bench: Any) -> None:
    with pytest.raises(CommandNotFoundError, match="nothere: not found") as caught:
        bench.run("nothere")
    assert caught.value.container_exit_code == 127


def test_unexecutable_program_is_126(bench: Any) -> None:
    with pytest.raises(NotExecutableError, match="Permission denied") as caught:
        bench.run("/etc/passwd")
    assert caught.value.container_exit_code == 126


def test_directory_as_program_is_126(bench: Any) -> None:
    with pytest.raises(NotExecutableError):
        bench.run("/etc")


def test_missing_interpreter_is_named(bench: Any, tmp_path: Path) -> None:
    (tmp_path / "layer").mkdir()
    (tmp_path / "layer/script").write_text("#!/no/such/interpreter\n")
    (tmp_path / "layer/script").chmod(0o755)

    with pytest.raises(CommandNotFoundError, match="its interpreter is not in the image"):
        bench.run("/script", root=bench.root(tmp_path / "layer"))


def test_empty_command_is_refused(bench: Any) -> None:
    with pytest.raises(CommandNotFoundError, match="no command"):
        bench.run()


def test_environment_is_exactly_what_was_asked_for(bench: Any) -> None:
    outcome = bench.run("env", env=("A=1", "B=x=y", "PATH=/bin"))

    assert sorted(outcome.out.splitlines()) == ["A=1", "B=x=y", "HOME=/root", "PATH=/bin"]


def test_user_by_name_gets_groups_and_home(bench: Any) -> None:
    outcome = bench.shell("id; echo $HOME", user="bob")

    assert outcome.out == "uid=1000(bob) gid=1000(bob) groups=50(staff),1000(bob)\n/home/bob\n"


def test_unknown_user_is_refused(bench: Any) -> None:
    with pytest.raises(UnknownUserError, match="no user 'eve'"):
        bench.run("true", user="eve")


def test_working_directory_is_made_for_the_user(bench: Any) -> None:
    outcome = bench.shell("pwd; stat -c '%u %a' .", user="bob", cwd="/home/bob/a/b")

    assert outcome.out == "/home/bob/a/b\n1000 755\n"


def test_working_directory_behind_a_link(bench: Any, tmp_path: Path) -> None:
    (tmp_path / "layer").mkdir()
    (tmp_path / "layer/link").symlink_to("/var")

    outcome = bench.run("pwd", cwd="/link/deep", root=bench.root(tmp_path / "layer"))

    assert outcome.out == "/var/deep\n"


def test_large_environment_and_arguments(bench: Any) -> None:
    value = "x" * 120_000

    outcome = bench.shell("echo ${#A} ${#1}", env=(f"A={value}",))

    assert outcome.out == "120000 0\n"


def test_ids_signals_and_session_are_clean(bench: Any, probe: Any) -> None:
    seen = probe(
        """
fields = dict(l.split(":", 1) for l in open("/proc/self/status") if ":" in l)
os.umask(old := os.umask(0))
print(json.dumps({
    "ignored": int(fields["SigIgn"], 16), "blocked": int(fields["SigBlk"], 16),
    "session": os.getsid(0), "pid": os.getpid(), "umask": old,
    "fds": sorted(int(n) for n in os.listdir("/proc/self/fd")),
}))
"""
    )

    python_ignores = 1 << 12 | 1 << 24  # SIGPIPE and SIGXFSZ, by the probing interpreter itself
    assert seen["ignored"] & ~python_ignores == 0
    assert seen["blocked"] == 0
    assert (seen["session"], seen["pid"], seen["umask"]) == (1, 1, 0o022)
    assert seen["fds"] == [0, 1, 2, 3]  # 3 is the listing itself


def test_ulimits(bench: Any) -> None:
    outcome = bench.shell(
        "ulimit -n; ulimit -c", ulimits=(Ulimit(name="nofile", soft=99, hard=99),)
    )

    assert outcome.out.split()[0] == "99"


def test_many_threads_share_a_launcher(bench: Any) -> None:
    codes: list[int] = []

    def work(number: int) -> None:
        codes.append(bench.shell(f"exit {number}").code)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(codes) == list(range(8))


def test_stop_escalates_to_kill(bench: Any) -> None:
    process = bench.start(bench.spec("sleep", "60"), out=1, err=2)

    result = process.stop(timeout_s=0.05)  # sleep as process 1 ignores SIGTERM

    assert result.exit_code == 137


def test_init_hands_signals_on_and_reports_the_code(bench: Any) -> None:
    process = bench.start(bench.spec("sleep", "60", init=True), out=1, err=2)

    result = process.stop(timeout_s=10)

    assert result.exit_code == 143


def test_init_reaps_orphans_and_passes_the_code_through(bench: Any) -> None:
    outcome = bench.shell(
        "(sleep 0.01 &) ; sleep 0.1; cat /proc/*/stat | grep -c ' Z '; exit 5", init=True
    )

    assert (outcome.code, outcome.out) == (5, "0\n")


def test_wait_can_time_out_and_be_repeated(bench: Any) -> None:
    process = bench.start(bench.spec("sleep", "0.2"), out=1, err=2)

    with pytest.raises(TimeoutError):
        process.wait(0.01)
    assert process.poll() is None
    assert process.wait().exit_code == 0
    assert process.wait().exit_code == 0


def test_threads_may_wait_for_one_process(bench: Any) -> None:
    process = bench.start(bench.spec("sleep", "60"), out=1, err=2)
    others = set(os.listdir("/proc/self/fd"))
    waiters = [threading.Thread(target=process.wait, daemon=True) for _ in range(4)]
    for waiter in waiters:
        waiter.start()

    # Each waits on a descriptor of its own: nobody's is closed by the one who reaps.
    deadline = time.monotonic() + 10
    while len(own := set(os.listdir("/proc/self/fd")) - others) < len(waiters):
        assert time.monotonic() < deadline, own
        time.sleep(0.001)

    process.kill()
    for waiter in waiters:
        waiter.join(10)
    assert not any(waiter.is_alive() for waiter in waiters)
    assert process.wait().exit_code == 137


def test_exec_joins_the_sandbox(bench: Any, launcher: Launcher, tmp_path: Path) -> None:
    spec = bench.spec("sleep", "60", hostname="inside", network=NetworkMode.NONE)
    process = bench.start(spec, out=1, err=2)
    with (tmp_path / "out").open("w+b") as out:
        more = launcher.exec(
            process.pid,
            ProcessSpec(
                argv=("sh", "-c", "hostname; id -u; ls /sys/class/net; echo x > /var/y; exit 9"),
                user="bob:root",
            ),
            stdin=0,
            stdout=out.fileno(),
            stderr=out.fileno(),
            sandbox=spec,
        )
        result = more.wait(10)
        out.seek(0)
        lines = out.read().decode().splitlines()
    process.kill()
    process.wait()

    assert result.exit_code == 9
    assert lines[:3] == ["inside", "1000", "lo"]
    assert "Permission denied" in lines[3]


def test_exec_has_the_same_privileges(bench: Any, launcher: Launcher, tmp_path: Path) -> None:
    spec = bench.spec("sleep", "60")
    process = bench.start(spec, out=1, err=2)
    with (tmp_path / "out").open("w+b") as out:
        argv = ("grep", "-E", "^(Cap|Seccomp:|NoNew)", "/proc/self/status", "/proc/1/status")
        more = launcher.exec(
            process.pid,
            ProcessSpec(argv=argv),
            stdin=0,
            stdout=out.fileno(),
            stderr=2,
            sandbox=spec,
        )
        assert more.wait(10).exit_code == 0
        out.seek(0)
        lines = [line.split(":", 1) for line in out.read().decode().splitlines()]
    process.kill()
    process.wait()

    own = [value for name, value in lines if name == "/proc/self/status"]
    first = [value for name, value in lines if name == "/proc/1/status"]
    assert own == first
    assert own


def test_exec_into_an_ended_process_is_refused(bench: Any, launcher: Launcher) -> None:
    spec = bench.spec("true")
    process = bench.start(spec, out=1, err=2)
    process.wait()

    with pytest.raises(SandboxError):
        launcher.exec(
            process.pid, ProcessSpec(argv=("true",)), stdin=0, stdout=1, stderr=2, sandbox=spec
        )


def read_terminal(fd: int) -> bytes:
    """Read until the other end has closed, which is EIO."""
    text = b""
    while True:
        try:
            text += os.read(fd, 4096)
        except OSError:
            return text


def test_terminal(bench: Any) -> None:
    spec = bench.spec(
        "sh",
        "-c",
        "tty; stty size; stat -c %t /dev/console; read x; echo got $x",
        tty=True,
        tty_size=(33, 101),
    )
    process = bench.start(spec, out=1, err=2)

    os.write(process.terminal_fd, b"word\n")
    text = read_terminal(process.terminal_fd)
    process.resize(10, 20)
    result = process.wait()
    process.close()

    assert result.exit_code == 0
    assert b"/dev/pts/0\r\n33 101\r\n88\r\n" in text.replace(
        b"word\r\n", b"", 1
    )  # without the echo
    assert b"got word" in text


def test_terminal_of_a_further_process(bench: Any, launcher: Launcher) -> None:
    spec = bench.spec("sleep", "60")
    process = bench.start(spec, out=1, err=2)
    more = launcher.exec(
        process.pid,
        ProcessSpec(argv=("sh", "-c", "tty; stty size"), tty=True, tty_size=(7, 70)),
        stdin=0,
        stdout=1,
        stderr=2,
        sandbox=spec,
    )
    text = read_terminal(more.terminal_fd)
    more.wait(10)
    more.close()
    process.kill()
    process.wait()

    assert text == b"/dev/pts/0\r\n7 70\r\n"


@pytest.mark.parametrize("name", ["", "../x", "a/b", "-a", "a\n"])
def test_an_id_is_never_a_path(bench: Any, name: str) -> None:
    spec = msgspec.structs.replace(bench.spec("true"), id=name)

    with pytest.raises(UserError, match="sandbox id"):
        bench.start(spec, out=1, err=2)


def test_publishing_needs_a_bridge(bench: Any) -> None:
    with pytest.raises(UserError, match="cannot be published"):
        bench.run("true", publish=(PublishedPort(container_port=80),))


def test_a_failed_start_leaves_no_cgroup(bench: Any, cgroups_of: Any) -> None:
    spec = bench.spec("nothere", limits=Limits(pids=10))

    with pytest.raises(CommandNotFoundError):
        bench.start(spec, out=1, err=2)

    assert not cgroups_of(spec.id)


def test_death_of_the_caller_ends_its_sandboxes(
    bench: Any, image: Path, tmp_path: Path, cgroups_of: Any
) -> None:
    root = bench.root()
    script = f"""
import os, sys, time
sys.path.insert(0, {str(Path(imagekit.__file__).parent.parent)!r})
from pathlib import Path
from imagekit.sandbox.launcher import Launcher
from imagekit.sandbox.spec import *
root = OverlayRoot(lowerdirs=(Path({str(image)!r}),), upperdir=Path({str(root.upperdir)!r}),
                   workdir=Path({str(root.workdir)!r}))
launcher = Launcher()
process = launcher.start(
    SandboxSpec(id="orphan{os.getpid()}", root=root, process=ProcessSpec(argv=("sleep", "300"))),
    stdin=0, stdout=1, stderr=2)
print(process.pid, flush=True)
time.sleep(300)
"""
    caller = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert caller.stdout is not None
    inside = os.pidfd_open(int(caller.stdout.readline()))
    caller.kill()
    caller.wait()
    caller.stdout.close()

    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and not _has_ended(inside):
        time.sleep(0.01)

    assert _has_ended(inside)
    os.close(inside)
    while (left := cgroups_of(f"orphan{os.getpid()}")) and (time.monotonic() < deadline):
        time.sleep(0.01)
    assert not left


def test_a_killed_spare_child_is_replaced(bench: Any) -> None:
    with Launcher() as launcher:
        bench.launcher = launcher
        assert bench.run("true").code == 0
        time.sleep(0.05)
        for entry in Path("/proc/self/task").iterdir():
            for pid in (entry / "children").read_text().split():
                numbers = Path(f"/proc/{pid}/status").read_text().split("NSpid:")[1]
                if len(numbers.splitlines()[0].split()) == 2:  # in a process namespace of its own
                    os.kill(int(pid), 9)
                    os.waitid(os.P_PID, int(pid), os.WEXITED | os.WNOWAIT)

        assert bench.shell("exit 3").code == 3


@pytest.mark.parametrize("first_is_late", [True, False])
def test_an_exec_that_fails_leaves_no_child_whichever_report_comes_first(
    first_is_late: bool,
) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    named_read, named_write = os.pipe()
    second = os.fork()
    if second == 0:
        if not first_is_late:
            os.read(named_read, 1)
        theirs.send(b'{"kind": "error", "code": "sandbox", "operation": "x", "errno": 2, '
                    b'"message": "no such command", "hint": null}')  # fmt: skip
        os._exit(125)
    first = os.fork()
    if first == 0:
        if first_is_late:
            time.sleep(0.2)
        theirs.send(json.dumps({"kind": "pid", "pid": second}).encode())
        os.write(named_write, b"1")
        os._exit(0)
    theirs.close()

    with ours, pytest.raises(SandboxError, match="no such command"):
        _follow(ours, first, None, enters=True)

    for pid in (first, second):
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    os.close(named_read)
    os.close(named_write)


def test_an_exec_whose_first_process_fails_leaves_no_child() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    first = os.fork()
    if first == 0:
        theirs.send(b'{"kind": "error", "code": "sandbox", "operation": "x", "errno": 3, '
                    b'"message": "it has ended", "hint": null}')  # fmt: skip
        os._exit(125)
    theirs.close()

    with ours, pytest.raises(SandboxError, match="it has ended"):
        _follow(ours, first, None, enters=True)

    with pytest.raises(ChildProcessError):
        os.waitpid(first, os.WNOHANG)


def _has_ended(pidfd: int) -> bool:
    import select

    return bool(select.select([pidfd], [], [], 0)[0])


def test_the_helper_imports_little() -> None:
    code = "from imagekit.sandbox import zygote; import sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=Path(imagekit.__file__).parent.parent,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()

    rooms = {name.split(".")[1] for name in loaded if name.startswith("imagekit.")}
    assert rooms <= {"base", "linux", "sandbox"}
    assert not {"dataclasses", "inspect", "subprocess", "msgspec", "ipaddress"} & set(loaded)


def test_in_a_plain_chroot_the_reason_is_said(tmp_path: Path) -> None:
    """The kernel changes the propagation of a root only where that is a mount point."""
    code = (
        "import os, sys\n"
        "from imagekit.base.errors import ImagekitError\n"
        "from imagekit.sandbox.root_operations import PrivateMounts\n"
        "from imagekit.sandbox.state import State\n"
        "os.chroot(sys.argv[1])\n"
        "try:\n"
        "    PrivateMounts().apply(State())\n"
        "except ImagekitError as error:\n"
        "    print(error.message, error.hint, sep='|')\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, tmp_path],
        cwd=Path(imagekit.__file__).parent.parent,
        check=True,
        capture_output=True,
        text=True,
    ).stdout

    assert "chroot" in told.split("|")[0]
    assert told.split("|")[1].startswith("Bind-mount")


def test_a_helper_for_one_start_keeps_no_child_ready_after_it(bench: Any) -> None:
    before = _children_in_namespaces()
    with Launcher(helper=Helper.start(starts=1)) as launcher:
        bench.launcher = launcher
        assert bench.run("true").code == 0
        assert _children_in_namespaces() == before
        assert bench.shell("exit 3").code == 3


def _children_in_namespaces() -> int:
    count = 0
    for entry in Path("/proc/self/task").iterdir():
        for pid in (entry / "children").read_text().split():
            numbers = Path(f"/proc/{pid}/status").read_text().split("NSpid:")[1].splitlines()[0]
            count += len(numbers.split()) == 2
    return count
