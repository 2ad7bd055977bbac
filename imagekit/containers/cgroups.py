"""The cgroup of a running container, found again by another process than the one that made it."""

from pathlib import Path

from imagekit.sandbox.cgroups import Cgroup, CgroupHost


def cgroup_of(init_pid: int, short_id: str) -> Cgroup:
    """Return the cgroup of the container whose first process is ``init_pid``.

    Hierarchies in which the container has no directory of its own are left out: what is done to
    the cgroup must never reach beyond the container.
    """
    membership = Path(f"/proc/{init_pid}/cgroup").read_text(encoding="utf-8")
    host = CgroupHost.detect(membership=membership)
    directories = {name: directory for name, (_, directory) in host.controllers.items()}
    if host.unified is not None:
        directories["unified"] = host.unified
    own = f"imagekit-{short_id}"
    return Cgroup(host, {name: path for name, path in directories.items() if path.name == own})


def remove_leftovers(directories: tuple[str, ...]) -> None:
    """End what is left in cgroups whose owner was killed, and remove them; safe to repeat.

    The first process of the container has ended, so the kernel has ended all others; only the
    empty directories are left, for a moment not yet quite empty.
    """
    Cgroup(
        CgroupHost(controllers={}, unified=None),
        {name: Path(name) for name in directories if Path(name).name.startswith("imagekit-")},
    ).remove()


def remove_unnoted(short_id: str) -> None:
    """Remove the cgroup of a container, by its name and where this process would make it."""
    Cgroup.sweep(CgroupHost.detect(), min_age_s=0, pattern=f"imagekit-{short_id}")
