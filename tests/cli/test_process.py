"""The program as a process: real engine, real signals, real exit codes."""

import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.cli.program import Program


@pytest.mark.root
def test_build_and_run(imagekit: Program, base: str) -> None:
    dockerfile = f'FROM {base}\nRUN echo made > /made\nCMD ["cat", "/made"]\n'

    built = imagekit("build", "-t", "app:1", "-", stdin=dockerfile)
    again = imagekit("build", "-t", "app:1", "-", stdin=dockerfile)
    ran = imagekit("run", "--rm", "--network", "none", "app:1")

    assert built.returncode == 0, built.stderr
    assert again.stderr.count("CACHED") == 2
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "made\n", "")


@pytest.mark.root
@pytest.mark.parametrize("command", ["build -q .", "run --rm --network none base:1 true"])
def test_what_needs_no_registry_imports_none(
    imagekit: Program, base: str, tmp_path: Path, command: str
) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {base}\nRUN true\n")
    imagekit("build", ".")
    heavy = ("requests", "cryptography", "tqdm", "aiohttp", "imagekit.registry.client", "ssl")
    program = (
        "import sys\n"
        "from imagekit.cli import main as entry\n"
        "entry.leave = sys.exit\n"
        "try:\n"
        "    entry.main()\n"
        "finally:\n"
        f"    sys.stderr.write(repr([name for name in {heavy!r} if name in sys.modules]))\n"
    )
    imagekit.command = (sys.executable, "-c", program, *imagekit.command[3:])

    result = imagekit(*command.split())

    assert (result.returncode, result.stderr) == (0, "[]")


@pytest.mark.root
def test_exit_codes_and_standard_input(imagekit: Program, base: str) -> None:
    def run(*args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return imagekit("run", "--rm", "--network", "none", *args, stdin=stdin)

    assert run(base, "sh", "-c", "exit 42").returncode == 42
    assert run(base, "sh", "-c", "sh -c 'kill -9 $$'; exit $?").returncode == 137
    assert run(base, "nothing-of-this-name").returncode == 127
    assert run(base, "/bin").returncode == 126
    assert run("--pull", "never", "absent:1").returncode == 125
    assert run("-i", base, "cat", stdin="passed on\n").stdout == "passed on\n"
    assert run(base, "cat", stdin="kept away\n").stdout == ""


@pytest.mark.root
def test_signals_reach_the_container(imagekit: Program, base: str) -> None:
    script = "trap 'exit 7' TERM; echo ready; while true; do sleep 0.1; done"
    # not --rm: with a log, what we read shows that the program is attending to the container
    with imagekit.start("run", "--network", "none", base, "sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)

        assert process.wait(60) == 7


@pytest.mark.root
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_build_ends_its_step(
    imagekit: Program, base: str, number: signal.Signals, code: int, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {base}\nRUN echo ready; sleep 300\n")
    with imagekit.start("build", "--progress", "plain", ".") as process:
        assert process.stderr is not None
        while "ready" not in (line := process.stderr.readline()) or "RUN" in line:
            assert line, "the build ended early"
        began = time.monotonic()
        process.send_signal(number)
        rest = process.stderr.read()

        assert process.wait(60) == code
    assert time.monotonic() - began < 60
    assert "Traceback" not in rest


@pytest.mark.root
def test_a_reader_that_goes_away_is_no_error(imagekit: Program, base: str) -> None:
    command = " ".join(f"'{word}'" for word in imagekit.command)
    result = subprocess.run(
        ["/bin/sh", "-c", f"{command} inspect {base} | true"],
        capture_output=True,
        text=True,
        env=imagekit.environ,
        cwd=imagekit.directory,
        check=False,
    )

    assert result.stderr == ""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("words", ["version", "images", "--help", "nosuch"])
def test_closed_standard_streams_change_no_exit_code(
    imagekit: Program, closed: str, words: str
) -> None:
    expected = imagekit(words)

    imagekit.command = ("sh", "-c", f'exec "$@" {closed}', "sh", *imagekit.command)
    result = imagekit(words)

    assert result.returncode == expected.returncode
    assert result.stdout == ("" if ">&-" in closed.replace("2>&-", "") else expected.stdout)
    assert result.stderr == ("" if "2>&-" in closed else expected.stderr)


@pytest.mark.root
def test_output_to_a_closed_stream_reaches_no_file_of_imagekits(
    imagekit: Program, base: str
) -> None:
    imagekit.command = ("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *imagekit.command)

    result = imagekit("run", "--rm", "--network", "none", base, "sh", "-c", "echo a; echo b >&2")

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_an_error_that_cannot_be_told_keeps_its_exit_code(imagekit: Program) -> None:
    imagekit.command = ("sh", "-c", 'exec "$@" 2>/dev/full', "sh", *imagekit.command)

    assert imagekit("inspect", "nosuch").returncode == 2
    assert imagekit("run", "--pull", "never", "nosuch").returncode == 125
    assert imagekit("run", "--nosuch").returncode == 125


@pytest.mark.parametrize(
    ("words", "code"), [(("inspect", "\udcff"), 2), (("exec", "\udcff", "true"), 125)]
)
def test_words_that_are_no_utf8_are_the_users_mistake(
    imagekit: Program, words: tuple[str, ...], code: int
) -> None:
    result = imagekit(*words)

    assert result.returncode == code
    assert result.stderr == "imagekit: error: an argument or a variable is not UTF-8 text\n"


def test_an_interrupt_while_modules_load_shows_no_traceback(imagekit: Program) -> None:
    program = (
        "import signal, sys\n"
        "from imagekit.cli import main as entry\n"
        "class Interrupt:\n"
        "    def find_spec(self, *rest):\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "entry.main()\n"
    )
    imagekit.command = (sys.executable, "-c", program)

    result = imagekit("images")

    assert (result.returncode, result.stderr) == (130, "imagekit: interrupted\n")


def test_a_group_alone_shows_its_help(imagekit: Program) -> None:
    result = imagekit("system")

    assert result.returncode == 2
    assert "Usage: imagekit system [OPTIONS] COMMAND" in result.stdout + result.stderr
    assert "error:" not in result.stderr


def test_the_registry_serves_until_terminated(imagekit: Program) -> None:
    with imagekit.start("registry", "serve", "--listen", "127.0.0.1:0") as process:
        assert process.stderr is not None
        address = process.stderr.readline().strip().removeprefix("listening on ")
        url = address if "://" in address else f"http://{address}"
        with urllib.request.urlopen(f"{url}/v2/", timeout=10) as response:
            assert response.status == 200
        process.terminate()

        assert process.wait(30) == 0
