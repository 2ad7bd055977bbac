"""How many processors this process may keep busy.

Source: sched_getaffinity(2); Linux, Documentation/admin-guide/cgroup-v2.rst "cpu.max" and
Documentation/scheduler/sched-bwc.rst.
"""

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def usable_cpus(cgroup: Path = _CGROUP) -> int:
    """Return the smaller of the processors it may run on and what its cgroup grants, at least 1.

    Only the cgroup that ``cgroup`` shows is asked, which in a container is the container's own.
    """
    affinity = len(os.sched_getaffinity(0))
    quota = _v2_quota(cgroup) or _v1_quota(cgroup)
    if quota is None:
        return affinity
    granted, period = quota
    return max(1, min(affinity, -(-granted // period)))


def _v2_quota(cgroup: Path) -> tuple[int, int] | None:
    text = _text(cgroup / "cpu.max").split()
    return (int(text[0]), int(text[1])) if len(text) == 2 and text[0].isdecimal() else None


def _v1_quota(cgroup: Path) -> tuple[int, int] | None:
    quota = _text(cgroup / "cpu/cpu.cfs_quota_us")
    period = _text(cgroup / "cpu/cpu.cfs_period_us")
    return (int(quota), int(period)) if quota.isdecimal() and period.isdecimal() else None


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # no such controller here: no limit
        return ""
