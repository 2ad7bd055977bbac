"""``imagekit system`` on a real store."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.program import Program
from tests.store.test_disk import du


def told_bytes(imagekit: Program) -> int:
    rows = json.loads(imagekit("system", "df", "--json").stdout)
    total: int = sum(row["size_bytes"] for row in rows)
    return total


@pytest.mark.root
def test_df_is_what_du_says(imagekit: Program, base: str, tmp_path: Path) -> None:
    dockerfile = (
        f"FROM {base}\n"
        # Enough for the log of the open database (40 kB) to be less than 1 %.
        "RUN --mount=type=cache,target=/cache dd if=/dev/zero of=/cache/wheel bs=1M count=8\n"
        "RUN echo made > /made\n"
    )
    assert imagekit("build", "-t", "app:1", "-", stdin=dockerfile).returncode == 0
    assert imagekit("build", "-", stdin=dockerfile + "RUN echo cached > /it\n").returncode == 0
    ran = imagekit("run", "--network", "none", "app:1", "sh", "-c", "echo changed > /changed")
    assert ran.returncode == 0, ran.stderr
    running = imagekit(
        "run", "-d", "--network", "none", "--name", "sleeper", "app:1", "sleep", "60"
    )
    assert running.returncode == 0, running.stderr
    store = tmp_path / "store"

    while_running = told_bytes(imagekit)
    assert while_running == pytest.approx(du(store), rel=0.01)

    imagekit("rm", "-f", "sleeper")
    assert told_bytes(imagekit) == pytest.approx(du(store), rel=0.01)

    document = json.loads(imagekit("system", "df", "-v", "--json").stdout)
    assert document["total_bytes"] == pytest.approx(du(store), rel=0.01)
    assert {image["name"].rpartition("/")[2] for image in document["images"]} == {base, "app:1"}
    assert len(document["containers"]) == 1
    assert [mount["id"] for mount in document["cache_mounts"]] == ["/cache"]
    assert len(document["cache_records"]) == 3

    lines = imagekit("system", "df", "-v").stdout.splitlines()
    words = [line.split() for line in lines if line]
    assert words[0] == ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
    assert [line[0] for line in words if line[0].isupper()] == [
        "TYPE", "IMAGE", "CONTAINER", "CACHE", "CACHE",
    ]  # fmt: skip
    assert any("RUN echo made > /made" in line for line in lines)


@pytest.fixture
def small_store(imagekit: Program, tmp_path: Path) -> Iterator[Path]:
    """The store on a file system of 96 MiB of its own."""
    store = Path(imagekit.command[-1])
    store.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", store], check=True)
    yield store
    subprocess.run(["umount", "--lazy", store], check=True)


@pytest.mark.root
def test_a_store_on_a_full_disk_is_pruned_and_builds_again(
    imagekit: Program, small_store: Path, base: str
) -> None:
    dockerfile = f"FROM {base}\nRUN dd if=/dev/zero of=/big bs=1M count=5\n"
    assert imagekit("build", "-t", "app:1", "-", stdin=dockerfile).returncode == 0
    kept = imagekit("run", "--network", "none", base, "true")
    assert kept.returncode == 0, kept.stderr
    ballast = small_store / "ballast"
    # bs=64k would leave the last few kilobytes.
    subprocess.run(
        ["dd", "if=/dev/zero", f"of={ballast}", "bs=4k"], check=False, capture_output=True
    )
    assert os.statvfs(small_store).f_bavail == 0

    refused = imagekit("build", "-t", "app:2", "-", stdin=dockerfile + "RUN echo\n")
    looked = imagekit("system", "df")
    pruned = imagekit("system", "prune", "-af")
    built = imagekit("build", "-t", "app:2", "-", stdin=dockerfile.replace("=5", "=2"))

    assert refused.returncode == 3
    assert "Traceback" not in refused.stderr
    assert "hint: " in refused.stderr
    assert looked.returncode == 0, looked.stderr
    assert pruned.returncode == 0, pruned.stderr
    assert pruned.stdout.startswith("untagged: app:1\nremoved 1 images, ")
    assert built.returncode == 0, built.stderr


@pytest.mark.root
def test_a_build_keeps_the_cache_within_its_limit(imagekit: Program, base: str) -> None:
    def build(number: int, **environ: str) -> str:
        imagekit.environ = {**kept_environ, **environ}
        text = f"FROM {base}\nRUN echo {number} >/n; dd if=/dev/zero of=/big bs=1M count=4\n"
        built = imagekit("build", "-", stdin=text)
        assert built.returncode == 0, built.stderr
        return built.stderr

    def steps() -> int:
        document = json.loads(imagekit("system", "df", "-v", "--json").stdout)
        return len(document["cache_records"])

    kept_environ = imagekit.environ
    build(1)
    build(2)
    assert steps() == 2

    # Nothing new is stored, so that nothing is looked at.
    assert "CACHED" in build(1, IMAGEKIT_CACHE_SIZE="5m")
    assert steps() == 2
    told = build(3, IMAGEKIT_CACHE_SIZE="5m")
    assert "warning" not in told
    assert steps() == 2  # the step of what was just built needs no place in the cache yet
    assert "CACHED" in build(1)

    told = build(4, IMAGEKIT_MAX_SIZE="1m")
    assert told.count("more than its limit of 1.05MB") == 1
    assert imagekit("run", "--rm", "--network", "none", base, "true").returncode == 0
