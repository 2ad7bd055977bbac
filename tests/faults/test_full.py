"""A disk that is full, or broken, from each operation on: one clear error, and nothing half.

The error is raised where the kernel or SQLite would, in whatever thread. What was begun is given
back by the command itself, and once there is space the same command does its work.
"""

import contextlib
import errno
import os
import random
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import Workshop
from tests.faults.lab import Lab, Run, broken_promises, leftovers, outside
from tests.faults.points import NEED_SPACE, Fault
from tests.faults.scenarios import SCENARIOS, Scenario

pytestmark = pytest.mark.root
HOST_ERROR = 3
OWN_FAILURE = 125
REASONS = {
    errno.ENOSPC: ("no space left",),
    errno.EDQUOT: ("no space left", "quota exceeded"),
    errno.EIO: ("input/output error", "disk i/o error"),
}
_STEP_FAILED = "did not complete successfully: exit code: 1"
_STEP_HINT = "hint: There is no space left for the store"
PARTS = [
    pytest.param(scenario, part, id=f"{scenario}-{part}")
    for scenario in SCENARIOS
    for part in range(scenario.parts)
]


@pytest.mark.parametrize(("scenario", "part"), PARTS)
def test_full_from_each_operation_on(workshop: Workshop, scenario: Scenario, part: int) -> None:
    failures = []

    for number, operation in points(workshop, scenario, part, errno.ENOSPC):
        lab = workshop.lab(scenario)
        fault = Fault(at=number, error=errno.ENOSPC, lasting=True)
        run = lab.run(*scenario.arguments, fault=fault, leaves=scenario.leaves)

        wrong = not_given_back(lab) + aftermath(workshop, lab, scenario, run, errno.ENOSPC)
        failures += [f"full at operation {operation}: {what}" for what in wrong]

    assert failures == []


@pytest.mark.parametrize("code", [errno.EIO, errno.EDQUOT], ids=errno.errorcode.get)
@pytest.mark.parametrize("name", ["build", "pull", "import", "commit", "run"])
def test_broken_at_one_operation(workshop: Workshop, name: str, code: int) -> None:
    (scenario,) = (one for one in SCENARIOS if one.name == name)
    failures = []

    for number, operation in points(workshop, scenario, 0, code):
        lab = workshop.lab(scenario)
        fault = Fault(at=number, error=code, lasting=False)
        run = lab.run(*scenario.arguments, fault=fault)

        wrong = aftermath(workshop, lab, scenario, run, code)
        failures += [f"{errno.errorcode[code]} at {operation}: {what}" for what in wrong]

    assert failures == []


def points(
    workshop: Workshop, scenario: Scenario, part: int, code: int
) -> Iterator[tuple[int, str]]:
    """Yield the numbers of some operations, and what they are, that can end with this error."""
    trace = workshop.operations(scenario, code)
    able = [line for line in trace if code == errno.EIO or line.split(" ")[1] in NEED_SPACE]
    for line in able[workshop.today + part * workshop.every :: workshop.every * scenario.parts]:
        yield int(line.split(" ")[0]), line


def aftermath(workshop: Workshop, lab: Lab, scenario: Scenario, run: Run, code: int) -> list[str]:
    """Return what is not as it should be after the error, and after the second try."""
    _, expected = workshop.whole(scenario)
    wrong = [f"goes on: {name}" for name in run.answer.survivors]
    if run.status:
        wrong += unclear(scenario, run, code)
    elif lab.contents() != expected:
        wrong.append("it says that it worked, and has not")
    wrong += broken_promises(lab.root)
    if scenario.before_again:
        lab.run(*scenario.before_again)
    again = lab.run(*scenario.arguments, fault=Fault(), leaves=scenario.leaves)
    if again.status not in {0, *scenario.ends}:
        wrong.append(f"the second try ends with {again.status}: {again.output}")
    wrong += [f"goes on after the second try: {name}" for name in lab.survivors()]
    lab.run("system", "prune", "-f")
    if lab.contents() != expected:
        wrong.append("the second try led to something else")
    wrong += broken_promises(lab.root) + leftovers(lab.root)
    wrong += outside((*run.trace, *again.trace))
    wrong += [f"left beside: {path.name}" for path in lab.directory.glob(".*")]
    lab.remove()
    return wrong


def unclear(scenario: Scenario, run: Run, code: int) -> list[str]:
    """Return what is wrong with how a command told the error."""
    wrong = []
    if scenario.name == "build" and _STEP_FAILED in run.output:
        # The command in a RUN step met the full disk by itself: its exit code, and why.
        return [] if run.status == 1 and _STEP_HINT in run.output else [f"unclear: {run.output}"]
    if scenario.name == "run" and run.output == "sh: write error: No space left on device\n":
        return [] if run.status == 1 else [f"exit code {run.status} of the container's own error"]
    own = OWN_FAILURE if scenario.name.startswith("run") else HOST_ERROR
    if run.status != own:
        wrong.append(f"exit code {run.status}: {run.output}")
    lines = run.output.splitlines()
    errors = [number for number, line in enumerate(lines) if line.startswith("imagekit: error: ")]
    # With several arguments each has its own.
    if not errors or (len(errors) > 1 and scenario.name != "rmi"):
        wrong.append(f"{len(errors)} errors: {run.output}")
    hints = [line for line in lines if line.startswith("hint: ")]
    if len(hints) != len(errors):
        wrong.append(f"{len(hints)} hints: {run.output}")
    told = any(reason in run.output.lower() for reason in REASONS[code])
    if "Traceback" in run.output or not told:
        wrong.append(f"unclear: {run.output}")
    return wrong


def not_given_back(lab: Lab) -> list[str]:
    """Return what a command that failed has left lying, before any other looks at the store."""
    wrong = []
    with contextlib.suppress(FileNotFoundError):
        wrong += [f"left in tmp: {name}" for name in os.listdir(lab.root / "tmp")]
    with contextlib.suppress(sqlite3.OperationalError):  # there is no database yet
        wrong += [one for one in leftovers(lab.root) if "volumes" not in one]
    return wrong


class Disk:
    """A small file system with a laboratory on it, and a file that takes the rest of the space."""

    def __init__(self, directory: Path, template: Lab) -> None:
        self.directory = directory
        self._ballast = directory / "ballast"
        self.lab = template.copy(directory / "lab")

    def fill(self, *, leave: int) -> None:
        """Take all space but so many bytes."""
        status = os.statvfs(self.directory)
        with self._ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_frsize - leave)

    def empty(self) -> None:
        """Give the space back."""
        self._ballast.unlink()

    def used(self) -> int:
        """Return the bytes that the store takes."""
        status = os.statvfs(self.directory)
        return (status.f_blocks - status.f_bfree) * status.f_frsize


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "small"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", mount], check=True)
    yield mount
    subprocess.run(["umount", mount], check=True)


SMALL = [
    one
    for one in SCENARIOS
    if one.name in ("build", "pull", "load", "import", "commit", "run", "tag", "prune-all")
]


@pytest.mark.parametrize("scenario", SMALL, ids=str)
def test_real_disk_with_little_left(
    workshop: Workshop, scenario: Scenario, small: Path, dice: random.Random
) -> None:
    failures = []

    for turn in range(32 // workshop.every):
        # From nothing at all to nearly enough, and more often little.
        leave = int(2 ** dice.uniform(12, 22)) if turn else 0
        disk = Disk(small, workshop.lab(scenario))
        before = disk.used()
        disk.fill(leave=leave)
        run = disk.lab.run(*scenario.arguments, leaves=scenario.leaves)
        disk.empty()

        grown = disk.used() - before
        wrong = not_given_back(disk.lab)
        if run.status:
            # Whole blobs and layers stay: the next try goes on from there. The rest is given back.
            pruned = disk.lab.run("system", "prune", "-f")
            wrong += [] if pruned.status == 0 else [pruned.output]
            if disk.used() - before > 512 << 10:
                wrong.append(f"{grown} bytes were not given back")
        wrong += aftermath(workshop, disk.lab, scenario, run, errno.ENOSPC)
        failures += [f"with {leave} bytes left: {what}" for what in wrong]

    assert failures == []


def test_container_that_fills_the_disk_hears_of_it(workshop: Workshop, small: Path) -> None:
    """It is the container's own error, which the command passes on; the store is not hurt."""
    (scenario,) = (one for one in SCENARIOS if one.name == "run")
    disk = Disk(small, workshop.lab(scenario))
    before = disk.used()

    run = disk.lab.run(
        *("run", "--rm", "--network", "none", "app:1"),
        *("sh", "-c", "/bin/dd if=/dev/zero of=/big bs=65536 || exit 7"),
    )

    assert run.status == 7
    assert "No space left on device" in run.output
    assert "imagekit: error" not in run.output
    assert disk.used() - before < 512 << 10
    assert broken_promises(disk.lab.root) == []


def test_step_of_a_build_that_fills_the_disk(workshop: Workshop, small: Path) -> None:
    (scenario,) = (one for one in SCENARIOS if one.name == "build")
    disk = Disk(small, workshop.lab(scenario))
    (disk.lab.directory / "big").write_text(
        "FROM busybox:test\nRUN echo 1 > /one\nRUN dd if=/dev/zero of=/big bs=65536\n"
    )

    run = disk.lab.run("build", "-f", "big", "-t", "big:1", "context")
    left = not_given_back(disk.lab)
    again = disk.lab.run("build", "-f", "new", "-t", "app:1", "context")

    assert run.status == 1
    assert "No space left on device" in run.output
    assert "Traceback" not in run.output
    assert left == []
    assert again.status == 0, again.output
    assert broken_promises(disk.lab.root) == []
    shutil.rmtree(disk.lab.directory)
