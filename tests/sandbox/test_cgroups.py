import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from imagekit.sandbox.cgroups import Cgroup, CgroupHost, _values_v1, _values_v2
from imagekit.sandbox.errors import UnsupportedError
from imagekit.sandbox.launcher import Launcher
from imagekit.sandbox.spec import Limits

HYBRID = """\
30 24 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 /pod /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""
MEMBERSHIP = "5:memory:/pod/mine\n4:cpu,cpuacct:/job\n0::/user\n"


def test_detection_on_a_hybrid_host() -> None:
    host = CgroupHost.detect(mountinfo=HYBRID, membership=MEMBERSHIP)

    assert host.controllers == {
        "cpu": ("cpu,cpuacct", Path("/sys/fs/cgroup/cpu,cpuacct/job")),
        "cpuacct": ("cpu,cpuacct", Path("/sys/fs/cgroup/cpu,cpuacct/job")),
        "memory": ("memory", Path("/sys/fs/cgroup/memory/mine")),
    }
    assert host.unified == Path("/sys/fs/cgroup/unified/user")
    assert not host.is_pure_v2


def test_detection_of_version_2() -> None:
    line = "33 30 0:29 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"

    host = CgroupHost.detect(mountinfo=line, membership="0::/a b\n")

    assert host.is_pure_v2
    assert host.unified == Path("/sys/fs/cgroup/a b")


def test_detection_inside_a_cgroup_namespace() -> None:
    line = "33 30 0:29 /../.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"

    assert CgroupHost.detect(mountinfo=line, membership="0::/\n").unified == Path("/sys/fs/cgroup")


def test_values_of_version_1() -> None:
    limits = Limits(memory_bytes=100, cpus=1.5, cpu_shares=512, cpuset_cpus="0", pids=7)

    assert _values_v1(limits) == [
        ("memory", "memory.limit_in_bytes", "100"),
        ("memory", "memory.memsw.limit_in_bytes", "100"),
        ("cpu", "cpu.cfs_period_us", "100000"),
        ("cpu", "cpu.cfs_quota_us", "150000"),
        ("cpu", "cpu.shares", "512"),
        ("cpuset", "cpuset.cpus", "0"),
        ("pids", "pids.max", "7"),
    ]


def test_values_of_version_2() -> None:
    limits = Limits(memory_bytes=100, memory_swap_bytes=-1, cpus=0.5, cpu_shares=1024, pids=7)

    assert _values_v2(limits) == [
        ("memory", "memory.max", "100"),
        ("memory", "memory.swap.max", "max"),
        ("cpu", "cpu.max", "50000 100000"),
        ("cpu", "cpu.weight", "39"),
        ("pids", "pids.max", "7"),
    ]


def test_a_limit_without_its_controller_is_refused(tmp_path: Path) -> None:
    host = CgroupHost(controllers={}, unified=None)

    with pytest.raises(UnsupportedError, match="cannot enforce the pids limit"):
        Cgroup.create("x", Limits(pids=1), host)
    assert Cgroup.create("x", Limits(), host).directories == ()


@pytest.mark.root
def test_memory_limit_kills_and_says_so(bench: Any) -> None:
    outcome = bench.shell(
        "head -c 100000000 /dev/zero | tail -c 90000000 > /dev/null",
        limits=Limits(memory_bytes=16 << 20),
    )

    assert outcome.result.oom_killed
    assert outcome.result.usage.peak_memory_bytes <= 17 << 20


@pytest.mark.root
def test_pids_limit(bench: Any) -> None:
    outcome = bench.shell("for i in 1 2 3 4 5 6 7 8 9; do sleep 1 & done", limits=Limits(pids=5))

    assert "can't fork" in outcome.err


@pytest.mark.root
def test_cpu_quota_slows_down(bench: Any) -> None:
    script = "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done"

    usage = bench.shell(script, limits=Limits(cpus=0.2)).result.usage

    assert usage.wall_s > 2 * usage.cpu_s


@pytest.mark.root
def test_cpuset_and_shares_are_accepted(bench: Any) -> None:
    outcome = bench.run(
        "grep",
        "Cpus_allowed_list",
        "/proc/self/status",
        limits=Limits(cpuset_cpus="0", cpu_shares=100),
    )

    assert outcome.out.split() == ["Cpus_allowed_list:", "0"]


@pytest.mark.root
def test_usage_is_measured(bench: Any) -> None:
    usage = bench.shell("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done").result.usage

    assert usage.cpu_s > 0.005
    assert usage.wall_s >= 0.005
    assert usage.peak_memory_bytes > 100_000


@pytest.mark.root
def test_freeze_and_thaw(bench: Any) -> None:
    process = bench.start(bench.spec("sleep", "0.05"), out=1, err=2)
    assert process.cgroup is not None

    process.cgroup.freeze()
    with pytest.raises(TimeoutError):
        process.wait(0.2)
    process.cgroup.thaw()

    assert process.wait(5).exit_code == 0


@pytest.mark.root
def test_directories_are_removed_and_swept(bench: Any, cgroups_of: Any) -> None:
    host = CgroupHost.detect()
    spec = bench.spec("true")
    bench.start(spec, out=1, err=2).wait()
    stale = Cgroup.create("stale-by-test", Limits(), host)

    Cgroup.sweep(host)
    assert all(directory.exists() for directory in stale.directories)
    Cgroup.sweep(host, min_age_s=-1, pattern="imagekit-stale-by-test")

    assert not any(directory.exists() for directory in stale.directories)
    assert not cgroups_of(spec.id)


@pytest.mark.root
def test_devices_are_guarded_on_version_2_too(bench: Any) -> None:
    detected = CgroupHost.detect()
    if detected.unified is None:
        pytest.skip("no unified tree")
    cgroup = Cgroup(detected, {"unified": detected.unified / "imagekit-devices-by-test"})
    directory = detected.unified / "imagekit-devices-by-test"
    directory.mkdir()
    try:
        cgroup._limit_devices()
        script = (
            f"echo $$ > {directory}/cgroup.procs; mknod {bench.directory}/disk b 254 0;"
            f"head -c 1 {bench.directory}/disk; head -c 1 /dev/zero > /dev/null && echo zero"
        )
        result = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    finally:
        cgroup.remove()

    assert cgroup.limits_devices
    assert result.stdout == "zero\n"
    assert "Operation not permitted" in result.stderr


@pytest.mark.root
def test_without_any_cgroup_nodes_are_useless(bench: Any) -> None:
    with Launcher() as launcher:
        launcher._cgroup_host = CgroupHost(controllers={}, unified=None)
        bench.launcher = launcher
        (bench.image / "node").unlink(missing_ok=True)
        layer = bench.directory / "layer"
        layer.mkdir()
        os.mknod(layer / "node", stat.S_IFBLK | 0o666, os.makedev(254, 0))

        outcome = bench.shell(
            "head -c 1 /node; busybox mknod /x b 254 0; echo y > /dev/null && echo null",
            root=bench.root(layer),
        )

    assert outcome.out == "null\n"
    assert (
        outcome.err.count("Operation not permitted") + outcome.err.count("Permission denied") == 2
    )
