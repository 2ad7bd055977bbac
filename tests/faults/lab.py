"""Stores to break, commands to break them with, and what must hold afterwards."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path

import msgspec

from imagekit.containers.spec import ContainerSpec
from imagekit.images.local import LocalImages
from imagekit.sandbox.cgroups import Cgroup, CgroupHost
from imagekit.store.layout import Store
from imagekit.store.recovery import REFERENCE_ANNOTATION
from tests.faults.forkserver import Answer, Request
from tests.faults.points import Fault

REPOSITORY = Path(__file__).parents[2]


class ForkServer:
    """The other end of ``tests.faults.forkserver``."""

    def __init__(self, home: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.forkserver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=REPOSITORY,
            env={"PATH": os.defpath, "HOME": str(home)},
        )

    def __call__(self, request: Request) -> Answer:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(msgspec.json.encode(request) + b"\n")
        process.stdin.flush()
        line = process.stdout.readline()
        assert line, "the fork server has ended"
        return msgspec.json.decode(line, type=Answer)

    def close(self) -> None:
        """End it; it has no children then."""
        self._process.communicate()


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A command that has ended: its answer, what it printed, and the operations it came to.

    A line of the trace is "NUMBER KIND PATH", with two paths "NUMBER KIND PATH -> PATH", those
    below the laboratory relative to it; or "- SQL", a change of rows that begins with that.
    """

    answer: Answer
    output: str
    trace: tuple[str, ...]

    @property
    def status(self) -> int:
        return self.answer.status

    @property
    def points(self) -> int:
        """How many operations there were."""
        return sum(not line.startswith("-") for line in self.trace)


class Lab:
    """A directory with one store in it, and a way to run commands there.

    What these print, and their traces, go to the directory ``reports``.
    """

    def __init__(
        self, server: ForkServer, directory: Path, *, registry: str, reports: Path
    ) -> None:
        self._server = server
        self._reports = reports
        self.directory = directory
        self.registry = registry
        self.root = directory / "root"

    def copy(self, directory: Path) -> "Lab":
        """Return another one, whose files are copies of these."""
        subprocess.run(["cp", "-a", self.directory, directory], check=True)
        return Lab(self._server, directory, registry=self.registry, reports=self._reports)

    def run(
        self,
        *arguments: str,
        fault: Fault | None = None,
        kill_after_s: float | None = None,
        leaves: bool = False,
    ) -> Run:
        """Run a command on the store; ``REGISTRY`` in an argument stands for the registry."""
        scratch, trace = self._reports / "output", self._reports / "trace"
        scratch.write_bytes(b"")
        trace.write_bytes(b"")
        if fault is not None:
            below = str(self.directory) if fault.error else "/"
            fault = msgspec.structs.replace(fault, trace=str(trace), below=below)
        answer = self._server(
            Request(
                arguments=(
                    "--root",
                    str(self.root),
                    *(word.replace("REGISTRY", self.registry) for word in arguments),
                ),
                directory=str(self.directory),
                output=str(scratch),
                fault=fault,
                kill_after_s=kill_after_s,
                leaves=leaves,
            )
        )
        lines = trace.read_text(errors="replace").splitlines()
        return Run(
            answer=answer,
            output=scratch.read_text(errors="replace"),
            trace=tuple(line.replace(f"{self.directory}/", "") for line in lines),
        )

    def survivors(self) -> tuple[str, ...]:
        """Wait for the end of all processes that commands left behind; return who goes on."""
        return self._server(Request()).survivors

    def contents(self) -> dict[str, object]:
        """Return what a user finds in the store, without the times at which it came there."""
        with Store.open(self.root) as store:
            images = LocalImages(store)
            found: dict[str, object] = {}
            for tagged in store.images.all():
                image = images.resolve(tagged.name)
                config = msgspec.structs.replace(image.config, created="", history=())
                layers = [str(layer.digest) for layer in image.manifest.layers]
                found[tagged.name] = (config, layers)
            found["containers"] = sorted(row.name for row in store.containers.all())
        for path in sorted(self.directory.glob("*.tar")):
            with tarfile.open(path) as archive:
                found[path.name] = sorted(archive.getnames())
        return found

    def remove(self) -> None:
        """Remove all files."""
        shutil.rmtree(self.directory)


def broken_promises(root: Path) -> list[str]:
    """Return what is wrong with a store whose commands have all ended."""
    with Store.open(root) as store:
        wrong = [f"{issue.code} {issue.subject}: {issue.message}" for issue in store.gc.verify()]
        wrong += [f"left in tmp: {name}" for name in os.listdir(store.paths.temporary)]
        index = msgspec.json.decode((store.paths.content / "index.json").read_bytes())
        listed = [m["annotations"][REFERENCE_ANNOTATION] for m in index["manifests"]]
        named = [image.name for image in store.images.all()]
        if listed != named:
            wrong.append(f"index.json lists {listed} and not {named}")
    with contextlib.closing(_connect(root)) as database:
        leases = database.execute(
            "SELECT reason, value FROM leases LEFT JOIN lease_items"
        ).fetchall()
        wrong += [f"left lease: {row}" for row in leases]
    wrong += [f"left mounted: {line}" for line in mounts_below(root)]
    return wrong


def leftovers(root: Path) -> list[str]:
    """Return what a prune has left in a store although nothing refers to it."""
    with contextlib.closing(_connect(root)) as database:
        known = {
            kind: {str(row[0]) for row in database.execute(f"SELECT id FROM {kind}")}
            for kind in ("snapshots", "containers")
        }
    known["volumes"] = {
        point.name
        for path in root.glob("containers/*/spec.json")
        for point in ContainerSpec.parse(path.read_bytes()).mounts
    }
    return [
        f"left in {kind}: {path.name}"
        for kind, names in known.items()
        for path in (root / kind).glob("*")
        if path.name not in names
    ]


def mounts_below(root: Path) -> list[str]:
    """Return the lines of this process's mounts that mention the store."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if str(root) in line]


def outside(trace: Iterable[str]) -> list[str]:
    """Return what a command made outside its laboratory and left there, by its trace.

    Control groups that cannot be removed: those of killed commands are swept by a later one, once
    they are a minute old. Of state in /run one file is replaced for ever.
    """
    left = []
    for line in trace:
        _, kind, path = line.split(" ", 2)
        if kind == "mkdir" and path.startswith("/sys/fs/cgroup/"):
            Cgroup.sweep(CgroupHost.detect(), min_age_s=0, pattern=Path(path).name)
        elif kind not in ("create", "link") or not path.startswith("/run/"):
            continue
        path = path.rpartition(" -> ")[2]
        if Path(path).is_dir() != path.startswith("/sys/") or not Path(path).exists():
            continue
        if Path(path).name != "network.json":
            left.append(f"left outside: {path}")
    return left


def _connect(root: Path) -> sqlite3.Connection:
    """Open the database as it is; unlike the store, and without making one."""
    return sqlite3.connect(f"file:{root}/imagekit.db?mode=rw", uri=True)
