"""Control groups: limits, accounting, freezing and killing, on version 1, 2 and hybrid hosts.

A sandbox gets one directory per hierarchy, below the caller's own cgroup, so that limits of the
surroundings (a Kubernetes pod, a CI job) hold for it too. On a hybrid host the limits are those of
version 1 while freezing, killing and CPU time use the unified tree, which works there.

Source: Documentation/admin-guide/cgroup-v1, cgroup-v2.rst.
"""

import contextlib
import errno
import os
import re
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Self

import msgspec

from imagekit.linux import bpf
from imagekit.sandbox.defaults import DEVICE_RULES
from imagekit.sandbox.errors import SandboxError, UnsupportedError
from imagekit.sandbox.spec import Limits, Usage

CPU_PERIOD_US: Final = 100_000
_UNLIMITED_V1: Final = "-1"
_REMOVE_TRIES: Final = 2000
_ESCAPE: Final = re.compile(r"\\([0-7]{3})")


class CgroupHost(msgspec.Struct, frozen=True, kw_only=True):
    """The caller's own cgroup in every hierarchy of this machine.

    ``controllers`` maps a version 1 controller to (name of the mount, own directory);
    ``unified`` is the own directory in the version 2 tree.
    """

    controllers: Mapping[str, tuple[str, Path]]
    unified: Path | None

    @property
    def is_pure_v2(self) -> bool:
        """Tell whether limits are those of the unified tree."""
        return self.unified is not None and not self.controllers

    @classmethod
    def detect(cls, *, mountinfo: str | None = None, membership: str | None = None) -> Self:
        """Return what /proc says about this process; the texts can be given for tests.

        Source: cgroups(7), proc_pid_mountinfo(5).
        """
        mountinfo = Path("/proc/self/mountinfo").read_text() if mountinfo is None else mountinfo
        membership = Path("/proc/self/cgroup").read_text() if membership is None else membership
        own: dict[str, str] = {}
        for line in membership.splitlines():
            _, names, path = line.split(":", 2)
            own.update(dict.fromkeys(names.split(","), path))
        controllers: dict[str, tuple[str, Path]] = {}
        unified = None
        for root, point, kind, options in _cgroup_mounts(mountinfo):
            if kind == "cgroup2" and "" in own:
                unified = _own_directory(point, root, own[""])
            for name in options.split(",") if kind == "cgroup" else ():
                if name in own:
                    directory = _own_directory(point, root, own[name])
                    controllers[name] = (Path(point).name, directory)
        return cls(controllers=controllers, unified=unified)

    @classmethod
    def directories_of(cls, pid: int) -> tuple[str, ...]:
        """Return imagekit's cgroup directories of another process, to join them."""
        try:
            membership = Path(f"/proc/{pid}/cgroup").read_text()
        except (FileNotFoundError, ProcessLookupError) as error:
            raise SandboxError(f"process {pid} has ended", operation="exec") from error
        host = cls.detect(membership=membership)
        candidates = [directory for _, directory in host.controllers.values()]
        if host.unified is not None:
            candidates.append(host.unified)
        found = [str(item) for item in candidates if item.name.startswith("imagekit-")]
        return tuple(dict.fromkeys(found))


def _cgroup_mounts(mountinfo: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield (root, mount point, type, super options) of cgroup mounts."""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        kind, _, rest = right.partition(" ")
        if kind in ("cgroup", "cgroup2"):
            fields = left.split()
            root, point = (_ESCAPE.sub(lambda m: chr(int(m[1], 8)), item) for item in fields[3:5])
            yield root, point, kind, rest.split()[-1]


def _own_directory(point: str, root: str, path: str) -> Path:
    """Return where a cgroup path is found below a mount that shows ``root`` at ``point``."""
    if root != "/" and (path == root or path.startswith(root + "/")):
        path = path[len(root) :]
    elif root != "/" or "/.." in path:
        path = ""
    return Path(point) / path.lstrip("/")


class Cgroup:
    """The directories of one sandbox.

    Made by ``create``; ``remove`` must be called when the last process has ended.
    """

    def __init__(self, host: CgroupHost, directories: Mapping[str, Path]) -> None:
        self._host = host
        self._directories = dict(directories)
        self.limits_devices = False
        """Whether processes inside can open only harmless devices."""

    @classmethod
    def create(
        cls,
        name: str,
        limits: Limits,
        host: CgroupHost | None = None,
        *,
        all_devices: bool = False,
    ) -> Self:
        """Make the cgroup ``imagekit-NAME`` and set its limits.

        Without the right to make cgroups the result is empty, unless a limit was asked for.

        Raises:
            UnsupportedError: a limit cannot be enforced on this machine.
            SandboxError: the kernel refused a value.

        """
        host = CgroupHost.detect() if host is None else host
        cgroup = cls(host, {})
        try:
            cgroup._make_directories(f"imagekit-{name}", limits)
            cgroup._set_limits(limits)
            if not all_devices:
                cgroup._limit_devices()
        except OSError as error:
            cgroup.remove()
            if limits == Limits() and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                return cls(host, {})
            raise SandboxError(
                f"cannot set up cgroup {name}: {error.strerror} ({error.filename})",
                operation="cgroup",
                errno=error.errno or 0,
                hint="Leave the limits out, or run as root or with delegated cgroups.",
            ) from error
        except BaseException:
            cgroup.remove()
            raise
        return cgroup

    @property
    def directories(self) -> tuple[Path, ...]:
        """Return the directories to join."""
        return tuple(dict.fromkeys(self._directories.values()))

    @property
    def hierarchies(self) -> tuple[tuple[str, str], ...]:
        """Return (name below /sys/fs/cgroup, directory) of each hierarchy but a pure version 2."""
        if self._host.is_pure_v2:
            return ()
        pairs = {}
        for controller, directory in self._directories.items():
            mount = self._host.controllers.get(controller)
            pairs[mount[0] if mount is not None else "unified"] = str(directory)
        return tuple(pairs.items())

    @property
    def links(self) -> tuple[tuple[str, str], ...]:
        """Return (controller, mount name) where several controllers share one hierarchy."""
        mounts = self._host.controllers
        return tuple(
            (controller, mounts[controller][0])
            for controller in self._directories
            if controller in mounts and mounts[controller][0] != controller
        )

    @property
    def is_unified(self) -> bool:
        """Tell whether a fresh cgroup2 mount shows everything."""
        return self._host.is_pure_v2 and bool(self._directories)

    def attach(self, pid: int) -> None:
        """Move a process into every directory.

        Raises:
            ProcessLookupError: it has ended.

        """
        for directory in self.directories:
            _write(directory / "cgroup.procs", str(pid))

    def usage(self) -> Usage:
        """Return what has been used so far."""
        if self._host.is_pure_v2:
            read, written = self._io_v2()
            peak = self._number("unified", "memory.peak")
        else:
            read, written = self._io_v1()
            peak = self._number("memory", "memory.max_usage_in_bytes")
        return Usage(
            cpu_s=self._cpu_s(),
            peak_memory_bytes=peak,
            read_bytes=read,
            written_bytes=written,
        )

    def memory_bytes(self) -> int:
        """Return the memory in use now, page cache included."""
        if self._host.is_pure_v2:
            return self._number("unified", "memory.current")
        return self._number("memory", "memory.usage_in_bytes")

    def process_count(self) -> int:
        """Return the number of processes and threads."""
        return self._number("unified" if self._host.is_pure_v2 else "pids", "pids.current")

    def process_ids(self) -> tuple[int, ...]:
        """Return the process ids inside, as this process sees them."""
        for directory in self._directories.values():
            return tuple(int(line) for line in (directory / "cgroup.procs").read_text().split())
        return ()

    def oom_killed(self) -> bool:
        """Tell whether the kernel killed a process for want of memory."""
        if self._host.is_pure_v2:
            return self._keyed("unified", "memory.events").get("oom_kill", 0) > 0
        return self._keyed("memory", "memory.oom_control").get("oom_kill", 0) > 0

    def kill(self) -> None:
        """Send SIGKILL to every process inside, also to those that are being born."""
        unified = self._directories.get("unified")
        if unified is not None and (unified / "cgroup.kill").exists():
            _write(unified / "cgroup.kill", "1")
            return
        for _ in range(10):  # before Linux 5.14: until nobody is left who could fork
            pids = self.process_ids()
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not pids:
                return
            time.sleep(0.002)

    def freeze(self) -> None:
        """Stop every process inside and return when all have stopped.

        Raises:
            UnsupportedError: there is no freezer.

        """
        self._set_frozen(frozen=True)

    def thaw(self) -> None:
        """Let the processes go on."""
        self._set_frozen(frozen=False)

    @staticmethod
    def sweep(host: CgroupHost, *, min_age_s: float = 60, pattern: str = "imagekit-*") -> None:
        """Remove directories that killed callers left behind: old ones without a process.

        ``pattern`` are the names to look at. A younger directory may be one that another
        process has just made and not entered yet.
        """
        parents = {directory for _, directory in host.controllers.values()}
        if host.unified is not None:
            parents.add(host.unified)
        limit = time.time() - min_age_s
        for parent in parents:
            for directory in parent.glob(pattern):
                with contextlib.suppress(OSError):  # in use, or swept by another
                    if directory.stat().st_ctime < limit:
                        directory.rmdir()

    def remove(self) -> None:
        """Remove the directories; waits a little for processes that are still being reaped."""
        for directory in reversed(self.directories):
            for _ in range(_REMOVE_TRIES):
                try:
                    directory.rmdir()
                except FileNotFoundError:
                    break
                except OSError as error:
                    if error.errno != errno.EBUSY:
                        raise
                    time.sleep(0.001)
                else:
                    break
        self._directories.clear()

    def _make_directories(self, name: str, limits: Limits) -> None:
        if self._host.unified is not None:
            if self._host.is_pure_v2:
                _delegate_controllers(self._host.unified, limits)
            self._make("unified", self._host.unified / name)
        wanted = ["memory", "pids", "blkio", "devices"]
        if limits.cpus is not None or limits.cpu_shares is not None:
            wanted.append("cpu")
        if limits.cpuset_cpus is not None:
            wanted.append("cpuset")
        if self._host.unified is None:
            wanted += ["cpuacct", "freezer"]
        for controller in wanted:
            if controller in self._host.controllers:
                parent = self._host.controllers[controller][1]
                self._make(controller, parent / name)
                if controller == "cpuset":  # empty sets would refuse every process
                    for file in ("cpuset.cpus", "cpuset.mems"):
                        _write(parent / name / file, (parent / file).read_text())

    def _make(self, controller: str, directory: Path) -> None:
        if directory not in self._directories.values():
            try:
                directory.mkdir()
            except FileExistsError:  # left behind by a caller that was killed; EBUSY if in use
                directory.rmdir()
                directory.mkdir()
        self._directories[controller] = directory

    def _set_limits(self, limits: Limits) -> None:
        version_2 = self._host.is_pure_v2
        values = _values_v2(limits) if version_2 else _values_v1(limits)
        for controller, file, value in values:
            directory = self._directories.get("unified" if version_2 else controller)
            if directory is None or not (directory / file).exists():
                if file in ("memory.memsw.limit_in_bytes", "memory.swap.max"):
                    if limits.memory_swap_bytes is None:
                        continue  # without swap accounting only memory itself is bounded
                    file = f"{file} (swap accounting is off)"  # noqa: PLW2901 - for the message
                raise UnsupportedError(
                    f"this machine cannot enforce the {controller} limit: no {file}",
                    operation="cgroup",
                    hint="Leave the limit out, or run where this controller is delegated.",
                )
            _write(directory / file, value)

    def _limit_devices(self) -> None:
        """Allow only harmless devices to be opened, where this machine has a way to."""
        directory, unified = self._directories.get("devices"), self._directories.get("unified")
        if directory is not None:
            _write(directory / "devices.deny", "a")
            for rule in DEVICE_RULES:
                _write(directory / "devices.allow", rule)
        elif unified is not None:
            program = bpf.device_program([bpf.DeviceRule.parse(rule) for rule in DEVICE_RULES])
            try:
                bpf.attach_device_program(program, unified)
            except OSError as error:
                # Not the whole machine's root, or a kernel without it: the plan then forbids
                # devices in other ways.
                if error.errno not in (errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOSYS):
                    raise
                return
        else:
            return
        self.limits_devices = True

    def _set_frozen(self, *, frozen: bool) -> None:
        unified, freezer = self._directories.get("unified"), self._directories.get("freezer")
        deadline = time.monotonic() + 5
        if unified is not None and (unified / "cgroup.freeze").exists():
            _write(unified / "cgroup.freeze", "1" if frozen else "0")
            while self._keyed("unified", "cgroup.events").get("frozen", 0) != int(frozen):
                _pause(deadline)
        elif freezer is not None:
            state = "FROZEN" if frozen else "THAWED"
            _write(freezer / "freezer.state", state)
            while (freezer / "freezer.state").read_text().strip() != state:
                _pause(deadline)
        else:
            raise UnsupportedError("this machine cannot pause processes: no cgroup freezer")

    def _cpu_s(self) -> float:
        if "unified" in self._directories:
            return self._keyed("unified", "cpu.stat").get("usage_usec", 0) / 1e6
        return self._number("cpuacct", "cpuacct.usage") / 1e9

    def _io_v2(self) -> tuple[int, int]:
        read = written = 0
        for line in self._text("unified", "io.stat").splitlines():
            pairs = dict(item.split("=", 1) for item in line.split() if "=" in item)
            read += int(pairs.get("rbytes", 0))
            written += int(pairs.get("wbytes", 0))
        return read, written

    def _io_v1(self) -> tuple[int, int]:
        read = written = 0
        for line in self._text("blkio", "blkio.throttle.io_service_bytes").splitlines():
            words = line.split()
            if len(words) == 3:
                read += int(words[2]) if words[1] == "Read" else 0
                written += int(words[2]) if words[1] == "Write" else 0
        return read, written

    def _text(self, controller: str, file: str) -> str:
        directory = self._directories.get(controller)
        if directory is None:
            return ""
        try:
            fd = os.open(f"{directory}/{file}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return ""  # an old kernel, or a controller that is not enabled: not told
        try:
            return os.read(fd, 1 << 16).decode()
        finally:
            os.close(fd)

    def _number(self, controller: str, file: str) -> int:
        text = self._text(controller, file).strip()
        return int(text) if text.isdigit() else 0

    def _keyed(self, controller: str, file: str) -> dict[str, int]:
        pairs = (line.split() for line in self._text(controller, file).splitlines())
        return {words[0]: int(words[1]) for words in pairs if len(words) == 2}


def _pause(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise SandboxError("processes did not stop in time", operation="freeze")
    time.sleep(0.001)


def _write(path: Path, value: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(fd)


def _values_v1(limits: Limits) -> list[tuple[str, str, str]]:
    """Return (controller, file, value) in the order in which they must be written."""
    values = []
    if limits.memory_bytes is not None:
        values.append(("memory", "memory.limit_in_bytes", str(limits.memory_bytes)))
        swap = limits.memory_bytes if limits.memory_swap_bytes is None else limits.memory_swap_bytes
        values.append(("memory", "memory.memsw.limit_in_bytes", str(swap)))
    if limits.cpus is not None:
        values.append(("cpu", "cpu.cfs_period_us", str(CPU_PERIOD_US)))
        values.append(("cpu", "cpu.cfs_quota_us", str(_quota(limits.cpus))))
    if limits.cpu_shares is not None:
        values.append(("cpu", "cpu.shares", str(limits.cpu_shares)))
    if limits.cpuset_cpus is not None:
        values.append(("cpuset", "cpuset.cpus", limits.cpuset_cpus))
    if limits.pids is not None:
        values.append(("pids", "pids.max", str(limits.pids)))
    return values


def _values_v2(limits: Limits) -> list[tuple[str, str, str]]:
    """Return (controller, file, value) in the order in which they must be written."""
    values = []
    if limits.memory_bytes is not None:
        values.append(("memory", "memory.max", str(limits.memory_bytes)))
        total = limits.memory_swap_bytes
        swap = 0 if total is None else total - limits.memory_bytes
        values.append(("memory", "memory.swap.max", str(swap) if swap >= 0 else "max"))
    if limits.cpus is not None:
        values.append(("cpu", "cpu.max", f"{_quota(limits.cpus)} {CPU_PERIOD_US}"))
    if limits.cpu_shares is not None:
        weight = 1 + (min(max(limits.cpu_shares, 2), 262144) - 2) * 9999 // 262142
        values.append(("cpu", "cpu.weight", str(weight)))
    if limits.cpuset_cpus is not None:
        values.append(("cpuset", "cpuset.cpus", limits.cpuset_cpus))
    if limits.pids is not None:
        values.append(("pids", "pids.max", str(limits.pids)))
    return values


def _quota(cpus: float) -> int:
    return max(1000, int(cpus * CPU_PERIOD_US))


def _delegate_controllers(own: Path, limits: Limits) -> None:
    """Enable the controllers below the own cgroup; accounting is wished for, limits are needed.

    A cgroup that holds processes cannot hand controllers on ("no internal processes"), except the
    root of the tree: then the own processes move into a leaf first, as other builders do.
    """
    available = (own / "cgroup.controllers").read_text().split()
    enabled = (own / "cgroup.subtree_control").read_text().split()
    missing = [
        name
        for name in ("memory", "pids", "io", "cpu", "cpuset")
        if name in available and name not in enabled
    ]
    if not missing:
        return
    value = " ".join(f"+{name}" for name in missing)
    try:
        _write(own / "cgroup.subtree_control", value)
    except OSError as error:
        if error.errno != errno.EBUSY:
            if limits == Limits():
                return
            raise
        leaf = own / "imagekit-init"
        leaf.mkdir(exist_ok=True)
        for pid in (own / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                _write(leaf / "cgroup.procs", pid)
        _write(own / "cgroup.subtree_control", value)
