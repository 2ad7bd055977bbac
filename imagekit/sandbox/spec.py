"""What to run and in which surroundings, as frozen values.

Nothing here touches the machine: ``plan`` turns a specification into operations, and the launcher
has them carried out.
"""

import enum
from pathlib import Path

import msgspec


class MountKind(enum.StrEnum):
    """Where the content of an additional mount comes from."""

    BIND = "bind"
    """A directory, file or socket of the host (or below ``source_root``), seen directly."""
    BIND_DISCARD = "bind-discard"
    """A directory seen through a throw-away layer: may be written, the source never changes."""
    TMPFS = "tmpfs"
    """An empty directory in memory."""
    FILE = "file"
    """A file in memory that holds ``content``: secrets; never written to a disk."""


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """Something mounted over a path of the image.

    ``target`` is absolute and resolved inside the root; where it does not exist it is made, without
    leaving a trace in the upper directory. ``source`` is a host path; with ``source_root`` it is
    resolved inside that directory instead, so that links in it cannot lead out; with
    ``source_layers`` (topmost first) inside the merged view of these layer directories, which the
    sandbox mounts for itself, so that nothing of another stage has to be mounted before.
    ``mode``, ``uid`` and ``gid`` belong to the new file or directory (FILE, TMPFS).
    ``size_bytes`` bounds a TMPFS.
    """

    target: str
    kind: MountKind = MountKind.BIND
    source: Path | None = None
    source_root: Path | None = None
    source_layers: tuple[Path, ...] = ()
    read_only: bool = False
    no_exec: bool = False
    no_suid: bool = False
    no_dev: bool = False
    content: bytes = b""
    mode: int | None = None
    uid: int = 0
    gid: int = 0
    size_bytes: int | None = None


class OverlayRoot(msgspec.Struct, frozen=True, kw_only=True):
    """A root made of layer directories, topmost first, and a directory that takes the changes.

    ``workdir`` is an empty directory on the file system of ``upperdir``. ``volatile`` leaves out
    every flush: after a crash the upper directory must be thrown away. ``lowerdirs`` may be empty.
    """

    lowerdirs: tuple[Path, ...]
    upperdir: Path
    workdir: Path
    volatile: bool = True
    userxattr: bool = False


class DirectoryRoot(msgspec.Struct, frozen=True, kw_only=True):
    """A plain directory as root; mount points missing in it are made and stay."""

    path: Path


Root = OverlayRoot | DirectoryRoot


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of all processes of a sandbox together; None is no bound.

    ``memory_swap_bytes`` is memory and swap together, as docker counts it. ``cpus`` is a quota in
    whole CPUs (1.5). ``cpu_shares`` is a weight, 1024 by default. ``cpuset_cpus`` is a list such as
    "0-2,4".
    """

    memory_bytes: int | None = None
    memory_swap_bytes: int | None = None
    cpus: float | None = None
    cpu_shares: int | None = None
    cpuset_cpus: str | None = None
    pids: int | None = None


class NetworkMode(enum.StrEnum):
    """What network the processes see."""

    NONE = "none"
    """Only a loopback of their own."""
    HOST = "host"
    """The host's, unchanged."""
    BRIDGE = "bridge"
    """An address of their own on a bridge, translated to the host's address."""


class PublishedPort(msgspec.Struct, frozen=True, kw_only=True):
    """A port of the host handed on to a port of the sandbox; host port 0 means any free one."""

    container_port: int
    host_port: int = 0
    host_address: str = "127.0.0.1"
    protocol: str = "tcp"


class Ulimit(msgspec.Struct, frozen=True, kw_only=True):
    """A resource limit by its docker name ("nofile", "core"); -1 is unlimited."""

    name: str
    soft: int
    hard: int


class ProcessSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A program to run inside.

    ``env`` is the whole environment as "K=V"; HOME is added from the image's passwd when missing.
    ``user`` is as in USER ("name", "uid", "uid:gid"; "" is root), looked up in the image. ``cwd``
    is made when missing. With ``tty`` the standard descriptors become a new terminal.
    """

    argv: tuple[str, ...]
    env: tuple[str, ...] = ()
    cwd: str = "/"
    user: str = ""
    groups: tuple[str, ...] = ()
    tty: bool = False
    tty_size: tuple[int, int] | None = None
    no_new_privileges: bool = False
    umask: int = 0o022


class SandboxSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A process and everything around it.

    ``id`` is a short name of [a-z0-9-] that names the cgroup and, by default, the host.
    ``capabilities`` None means docker's fourteen; names are without the CAP_ prefix.
    ``privileged`` gives every capability and device, and no mask, filter or read-only path.
    ``dns`` replaces the host's name servers. ``add_hosts`` are (name, address) pairs.
    ``init`` puts a reaper in front of the process. ``seccomp`` False leaves out the filter.
    """

    id: str
    root: Root
    process: ProcessSpec
    mounts: tuple[Mount, ...] = ()
    hostname: str | None = None
    network: NetworkMode = NetworkMode.HOST
    limits: Limits = Limits()
    capabilities: frozenset[str] | None = None
    privileged: bool = False
    seccomp: bool = True
    read_only_root: bool = False
    add_hosts: tuple[tuple[str, str], ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    publish: tuple[PublishedPort, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    ulimits: tuple[Ulimit, ...] = ()
    shm_bytes: int = 64 << 20
    init: bool = False


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What all processes of a sandbox used together; zero where the machine does not tell."""

    cpu_s: float = 0.0
    peak_memory_bytes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    wall_s: float = 0.0


class ExitResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a process ended; ``exit_code`` is 128 + n after signal n, as shells and docker say it."""

    exit_code: int
    signal: int | None = None
    oom_killed: bool = False
    usage: Usage = Usage()


class NetworkInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The addresses a sandbox got; ``ports`` are (published port, actual host port)."""

    address: str
    gateway: str
    prefix_length: int
    bridge: str
    ports: tuple[tuple[PublishedPort, int], ...] = ()
