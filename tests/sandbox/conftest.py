"""A small image made of busybox, a launcher, and a way to run something and look at everything."""

import dataclasses
import itertools
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from imagekit.sandbox.launcher import Launcher
from imagekit.sandbox.process import SandboxProcess
from imagekit.sandbox.spec import ExitResult, OverlayRoot, ProcessSpec, SandboxSpec

_PROCESS_FIELDS = {field.name for field in msgspec.structs.fields(ProcessSpec)}
_NUMBERS = itertools.count()

PASSWD = "root:x:0:0:root:/root:/bin/sh\nbob:x:1000:1000::/home/bob:/bin/sh\n"
GROUP = "root:x:0:\nbob:x:1000:\nstaff:x:50:bob\n"
COMMANDS = [
    "sh",
    "true",
    "false",
    "cat",
    "echo",
    "env",
    "grep",
    "head",
    "hostname",
    "id",
    "ip",
    "ln",
    "ls",
    "mkdir",
    "mount",
    "mv",
    "nc",
    "pwd",
    "readlink",
    "rm",
    "sleep",
    "stat",
    "stty",
    "tail",
    "touch",
    "tty",
    "httpd",
]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run left behind."""

    result: ExitResult
    out: str
    err: str
    upper: Path

    @property
    def code(self) -> int:
        return self.result.exit_code

    def changes(self) -> list[str]:
        """The paths in the upper directory, sorted."""
        return sorted(str(path.relative_to(self.upper)) for path in self.upper.rglob("*"))


class Bench:
    """Run programs in fresh sandboxes of one image."""

    def __init__(self, directory: Path, image: Path, launcher: Launcher) -> None:
        self.directory = directory
        self.image = image
        self.launcher = launcher

    def root(self, *layers: Path) -> OverlayRoot:
        place = self.directory / f"snapshot{next(_NUMBERS)}"
        (place / "fs").mkdir(parents=True)
        (place / "work").mkdir()
        return OverlayRoot(
            lowerdirs=(*layers, self.image), upperdir=place / "fs", workdir=place / "work"
        )

    def spec(self, *argv: str, **fields: Any) -> SandboxSpec:
        process = {name: fields.pop(name) for name in _PROCESS_FIELDS & fields.keys()}
        fields.setdefault("root", self.root())
        name = f"test{os.getpid()}-{next(_NUMBERS)}"
        return SandboxSpec(id=name, process=ProcessSpec(argv=argv, **process), **fields)

    def start(self, spec: SandboxSpec, *, out: int, err: int) -> SandboxProcess:
        null = os.open(os.devnull, os.O_RDONLY)
        try:
            return self.launcher.start(spec, stdin=null, stdout=out, stderr=err)
        finally:
            os.close(null)

    def run(self, *argv: str, **fields: Any) -> Outcome:
        spec = self.spec(*argv, **fields)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            process = self.start(spec, out=out.fileno(), err=err.fileno())
            result = process.wait(60)
            out.seek(0)
            err.seek(0)
            upper = spec.root.upperdir if isinstance(spec.root, OverlayRoot) else spec.root.path
            return Outcome(
                result=result, out=out.read().decode(), err=err.read().decode(), upper=upper
            )

    def shell(self, script: str, **fields: Any) -> Outcome:
        return self.run("sh", "-c", script, **fields)


@pytest.fixture(scope="session")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    with Launcher() as made:
        yield made


def build_image(directory: Path, busybox: Path) -> Path:
    for name in ("bin", "etc", "root", "tmp", "home/bob", "var"):
        (directory / name).mkdir(parents=True)
    (directory / "tmp").chmod(0o1777)
    shutil.copy(busybox, directory / "bin/busybox")
    for name in COMMANDS:
        os.link(directory / "bin/busybox", directory / "bin" / name)
    (directory / "etc/passwd").write_text(PASSWD)
    (directory / "etc/group").write_text(GROUP)
    return directory


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory, busybox: Path) -> Path:
    return build_image(tmp_path_factory.mktemp("image"), busybox)


@pytest.fixture
def bench(tmp_path: Path, image: Path, launcher: Launcher) -> Bench:
    return Bench(tmp_path, image, launcher)


@pytest.fixture
def hostile(tmp_path: Path, busybox: Path, launcher: Launcher) -> Bench:
    """A bench whose image the test may spoil first."""
    return Bench(tmp_path, build_image(tmp_path / "image", busybox), launcher)


class Probe:
    """Run Python inside, with the host's own root as the image, and get JSON back."""

    def __init__(self, bench: Bench, memory: Path) -> None:
        self._bench = bench
        self._memory = memory

    def __call__(self, code: str, **fields: Any) -> Any:
        place = self._memory / f"probe{next(_NUMBERS)}"
        (place / "fs").mkdir(parents=True)
        (place / "work").mkdir()
        root = OverlayRoot(lowerdirs=(Path("/"),), upperdir=place / "fs", workdir=place / "work")
        outcome = self._bench.run(
            sys.executable, "-S", "-I", "-c", f"import json, os, sys\n{code}", root=root, **fields
        )
        assert outcome.code == 0, outcome.err
        return json.loads(outcome.out)


@pytest.fixture
def probe(bench: Bench) -> Iterator[Probe]:
    memory = Path(tempfile.mkdtemp(dir="/dev/shm"))
    yield Probe(bench, memory)
    shutil.rmtree(memory)


def cgroups_of(identifier: str) -> list[str]:
    """Return the cgroups of a sandbox. Those of others come and go meanwhile."""
    wanted = f"/imagekit-{identifier}"
    return [path for path, _, _ in os.walk("/sys/fs/cgroup") if path.endswith(wanted)]


@pytest.fixture(name="cgroups_of")
def cgroups_of_fixture() -> Callable[[str], list[str]]:
    return cgroups_of
