"""kill -9 of a building process at any moment: the store stays whole, nothing is left behind."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imagekit.store.layout import Store

if TYPE_CHECKING:
    from tests.build.conftest import Cli, World

pytestmark = pytest.mark.root
IMAGE = "busybox:test"
MOMENTS = 30
TEXT = f"""FROM {IMAGE} AS tools
ARG nonce
COPY src /src
RUN cat /src/* > /all; echo $nonce
FROM {IMAGE}
ARG nonce
RUN head -c 3000000 /dev/urandom > /random; echo $nonce
COPY --from=tools /all /all
RUN --mount=type=cache,target=/c sleep 0.05; echo $nonce > /c/n; echo x > /x
COPY src /copy
WORKDIR /w/{{nonce}}
RUN echo done > done
"""


def mounts(root: Path) -> list[str]:
    return [
        line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(root) in line
    ]


def cgroups(pids: set[int]) -> list[str]:
    names = tuple(f"imagekit-build-{pid}-" for pid in pids)
    return [
        folder
        for _, folders, _ in os.walk("/sys/fs/cgroup")
        for folder in folders
        if folder.startswith(names)
    ]


def processes_of(session: int) -> list[int]:
    """The living processes of a session: whatever the build started."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] not in "ZX":
            found.append(int(entry.name))
    return found


def eventually_empty(what: object, *args: object) -> list[object]:
    """Ask until there is nothing, for two seconds at most; the kernel ends namespaces late."""
    left: list[object] = []
    for _ in range(200):
        left = list(what(*args))  # type: ignore[operator] # a function
        if not left:
            break
        time.sleep(0.01)
    return left


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_asked_to_end(fresh: "World", cli: "Cli", number: signal.Signals, code: int) -> None:
    fresh.write("Dockerfile", f"FROM {IMAGE}\nRUN echo kept > /k\nRUN echo sleeping; sleep 60\n")
    root = fresh.store.paths.root
    build = subprocess.Popen(
        cli.command("--root", root, "build", fresh.context),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=cli.environment(),
        start_new_session=True,
    )
    assert build.stderr is not None
    for line in build.stderr:
        if line.rstrip().endswith(" sleeping"):
            break
    asked = time.monotonic()
    build.send_signal(number)
    rest = build.stderr.read()

    assert build.wait(10) == code
    build.stderr.close()
    assert time.monotonic() - asked < 5
    assert "Traceback" not in rest
    assert eventually_empty(processes_of, build.pid) == []
    assert eventually_empty(cgroups, {build.pid}) == []
    with Store.open(root) as store:
        assert store.gc.verify() == []
    fresh.build(f"FROM {IMAGE}\nRUN echo kept > /k\n")
    assert fresh.outcomes == ["cached"]


def test_killed_at_random_moments(fresh: "World", cli: "Cli") -> None:
    for number in range(50):
        fresh.write(f"src/{number}", str(number) * 100)
    fresh.write("Dockerfile", TEXT.replace("{nonce}", "$nonce"))
    root = fresh.store.paths.root
    fresh.engine.close()
    pids = set()
    random_moments = random.Random(7)

    def start(nonce: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            cli.command(
                "--root", root, "build", "--build-arg", f"nonce={nonce}", "-t", "k:1", fresh.context
            ),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=cli.environment(),
            start_new_session=True,
        )

    started = time.monotonic()
    assert start("first").wait(60) == 0
    whole_s = time.monotonic() - started

    killed = 0
    for number in range(MOMENTS):
        build = start(f"n{number}")
        pids.add(build.pid)
        time.sleep(random_moments.uniform(0.15, 1.05) * whole_s)
        os.kill(build.pid, signal.SIGKILL)
        killed += build.wait() == -signal.SIGKILL

        assert eventually_empty(processes_of, build.pid) == []
        with Store.open(root) as store:
            assert store.gc.verify() == []
            if number % 5 == 0:
                store.gc.prune()
                assert store.gc.verify() == []

    assert killed > MOMENTS // 2
    assert start("last").wait(60) == 0
    with Store.open(root) as store:
        assert store.gc.verify() == []
        assert list(store.leases.dead()) == []
    assert mounts(root) == []
    assert eventually_empty(cgroups, pids) == []
