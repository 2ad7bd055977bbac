"""Twenty commands at once on one store: builds, pulls, prunes."""

import contextlib
import json
import subprocess
from pathlib import Path

import pytest

from imagekit.store.layout import Store
from tests.cli.program import Program
from tests.store.test_disk import du

BUILDS, PULLS, PRUNES = 12, 4, 4


@pytest.mark.root
def test_builds_pulls_and_prunes_beside_each_other(
    imagekit: Program, base: str, tmp_path: Path
) -> None:
    # A container of it, so that prune --all leaves the base its name.
    assert imagekit("run", "--network", "none", base, "true").returncode == 0
    contexts = []
    for number in range(BUILDS):
        context = tmp_path / f"context-{number}"
        context.mkdir()
        # Some builds have a step in common and some have all; the last one is of its own.
        (context / "Dockerfile").write_text(
            f"FROM {base}\n"
            "RUN --mount=type=cache,target=/cache echo shared > /shared && echo > /cache/it\n"
            f"COPY Dockerfile /etc/\nRUN echo {number // 2} > /made && cat /shared\n"
        )
        contexts.append(context)
    with imagekit.start("registry", "serve", "--listen", "127.0.0.1:0") as registry:
        assert registry.stderr is not None
        address = registry.stderr.readline().strip().rpartition("/")[2].split()[-1]
        remote = f"{address}/base:1"
        pushed = imagekit("push", base, remote)
        assert pushed.returncode == 0, pushed.stderr
        commands: list[tuple[str, ...]] = [
            ("build", "-t", f"app:{number}", str(context))
            for number, context in enumerate(contexts)
        ]
        # Those that take away come between those that make.
        for number in range(PULLS):
            commands.insert(4 * number + 1, ("pull", remote))
        for number in range(PRUNES):
            commands.insert(5 * number + 2, ("system", "prune", "-af"))

        with contextlib.ExitStack() as stack:
            running = [stack.enter_context(imagekit.start(*command)) for command in commands]
            results = [
                (process.communicate(timeout=110), process.returncode) for process in running
            ]

    failed = [
        (command, code, errors)
        for command, ((_, errors), code) in zip(commands, results, strict=True)
        if code
    ]
    assert failed == []
    checked = imagekit("system", "fsck")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    told = json.loads(imagekit("system", "df", "--json").stdout)
    store = tmp_path / "store"
    # The log of the open database is 40 kB of a store of some 5 MB.
    assert sum(row["size_bytes"] for row in told) == pytest.approx(du(store), rel=0.02)

    again = imagekit("build", "-t", "app:again", str(contexts[0]))
    assert again.returncode == 0, again.stderr
    assert _rm_everything(imagekit) == 0
    with Store.open(store) as opened:
        assert opened.gc.verify() == []
        assert list(opened.blobs.all()) == []
        assert opened.snapshots.all() == []


def _rm_everything(imagekit: Program) -> int:
    """Take every root away, prune, and return the exit code."""
    imagekit("rm", "-f", *imagekit("ps", "-aq").stdout.split())
    pruned: subprocess.CompletedProcess[str] = imagekit("system", "prune", "-af")
    return pruned.returncode
