"""What the benchmarks share: a Debian base, a context, timed commands, a table of ratios."""

import contextlib
import dataclasses
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence

PROJECT = pathlib.Path(__file__).resolve().parent.parent.parent
BASE = PROJECT / "build-output" / "debian-bookworm.tar"
IMAGEKIT = (str(pathlib.Path(sys.executable).with_name("imagekit")),)
"""The program that pip installs, as users start it."""


def debian_base() -> pathlib.Path:
    """Return a tar of a minimal Debian, made once from Debian's packages."""
    if not BASE.exists():
        BASE.parent.mkdir(exist_ok=True)
        part = BASE.with_name("debian-bookworm.part.tar")
        run(["mmdebstrap", "--quiet", "--variant=minbase", "bookworm", str(part)])
        part.rename(BASE)
    return BASE


def environment() -> dict[str, str]:
    """Return the environment of every command; compiled modules may be kept, as installed ones."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def run(command: Sequence[str]) -> float:
    """Run a command to its end and return the seconds it took; its output is kept for errors."""
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, env=environment(), check=False)
    took = time.perf_counter() - started
    if done.returncode != 0:
        sys.stderr.buffer.write(done.stdout[-4000:] + done.stderr[-4000:])
        raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}")
    return took


def peak_memory(command: Sequence[str]) -> float:
    """Return the peak resident memory of a command in MB, children included (largest process)."""
    done = subprocess.run(
        [sys.executable, "-c", _WAITER, *command],
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
    )
    return int(done.stdout.strip().splitlines()[-1]) / 1024


_WAITER = """
import os, resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
assert code == 0, code
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@dataclasses.dataclass
class Table:
    """Rows of medians: ours, the peer's, and their ratio beside the aim."""

    rows: list[tuple[str, float, float, float]] = dataclasses.field(default_factory=list)

    def measure(
        self,
        title: str,
        ours: Callable[[], float],
        peer: Callable[[], float],
        *,
        aim: float,
        rounds: int,
    ) -> None:
        """Time both, interleaved, and keep the medians."""
        mine, theirs = [], []
        for _ in range(rounds):
            mine.append(ours())
            theirs.append(peer())
        row = (title, statistics.median(mine), statistics.median(theirs), aim)
        self.rows.append(row)
        print(_line(*row), flush=True)

    def print_all(self) -> None:
        """Print the whole table once more."""
        print(f"\n{'':44}{'imagekit':>10}{'peer':>10}{'ratio':>8}{'aim':>7}")
        for row in self.rows:
            print(_line(*row))


def _line(title: str, mine: float, theirs: float, aim: float) -> str:
    ratio = mine / theirs
    mark = "" if ratio <= aim else "  missed"
    return f"{title:44}{mine:9.3f}s{theirs:9.3f}s{ratio:8.2f}{aim:7.2f}{mark}"


def make_context(path: pathlib.Path, *, files: int = 2000, large_mb: int = 100) -> None:
    """Make a build context: many small files, one large one that does not compress, 4 RUN steps."""
    source = path / "src"
    for number in range(files):
        directory = source / f"d{number % 50:02}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"f{number}.txt").write_text(f"file {number}\n" * (number % 40 + 1))
    with (path / "large.bin").open("wb") as file:
        for _ in range(large_mb):
            file.write(os.urandom(1 << 20))
    (path / "Dockerfile").write_text(
        "FROM localhost/bench/debian:12\n"
        "ENV A=1\n"
        "RUN echo one > /one\n"
        "COPY src /srv/src\n"
        "RUN find /srv/src -type f | wc -l > /two\n"
        "COPY large.bin /srv/large.bin\n"
        "RUN head -c 1000000 /srv/large.bin | sha256sum > /three\n"
        "RUN useradd worker && mkdir -p /data && cp -r /srv/src/d01 /data\n"
        'CMD ["cat", "/two"]\n'
    )


@contextlib.contextmanager
def registry(storage: pathlib.Path) -> Iterator[str]:
    """Run the bundled registry server in a process of its own and yield its host."""
    storage.mkdir(parents=True, exist_ok=True)
    log = storage.with_name(f"{storage.name}.log")
    command = [*IMAGEKIT, "registry", "serve", "--listen", "127.0.0.1:0", "--storage", str(storage)]
    with log.open("w") as file:
        process = subprocess.Popen(command, stderr=file, env=environment())
    try:
        for _ in range(200):
            text = log.read_text()
            if text.endswith("\n") and "listening on " in text:
                break
            time.sleep(0.05)
        yield log.read_text().split("listening on ")[1].split()[0].removeprefix("http://")
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def docker_daemon(work: pathlib.Path) -> Iterator[tuple[str, ...] | None]:
    """Run a docker daemon of our own and yield how to call docker; None where it is not installed.

    Its socket and its data are below ``work``; it makes no bridge and no rule of the firewall.
    """
    if shutil.which("dockerd") is None or not pathlib.Path("/usr/bin/docker").exists():
        yield None
        return
    work.mkdir()
    host = f"unix://{work}/docker.sock"
    command = ["dockerd", "--host", host, "--data-root", str(work / "data")]
    command += ["--exec-root", str(work / "exec"), "--pidfile", str(work / "pid")]
    command += ["--bridge", "none", "--iptables=false", "--ip6tables=false"]
    docker = ("/usr/bin/docker", "--host", host)
    with (work / "log").open("w") as log:
        daemon = subprocess.Popen(command, stdout=log, stderr=log, env=environment())
    try:
        for _ in range(200):
            ready = subprocess.run([*docker, "version"], capture_output=True, check=False)
            if ready.returncode == 0:
                break
            time.sleep(0.1)
        yield docker
    finally:
        daemon.terminate()
        daemon.wait(60)


def need(*programs: str) -> None:
    """End with a clear word if a peer is not installed."""
    for program in programs:
        if shutil.which(program) is None:
            raise SystemExit(f"{program} is not installed: nothing to compare with")
