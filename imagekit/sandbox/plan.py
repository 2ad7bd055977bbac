"""From a specification to an ordered tuple of operations; pure.

The order is a security property (as in runc): cgroups before anything of the image runs, the
keyring before mounts, mounts and masks before the change of root, and privileges dropped last.
"""

import base64
import posixpath
import resource
from collections.abc import Mapping
from typing import Final, assert_never

import msgspec

from imagekit.base.errors import UserError
from imagekit.linux import capabilities
from imagekit.linux.constants import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
)
from imagekit.sandbox import defaults, dns
from imagekit.sandbox import kernel_operations as kernel
from imagekit.sandbox import process_operations as proc
from imagekit.sandbox import root_operations as root
from imagekit.sandbox.init_layer_operations import InitLayer
from imagekit.sandbox.operations import Operation
from imagekit.sandbox.spec import (
    DirectoryRoot,
    Mount,
    MountKind,
    NetworkMode,
    OverlayRoot,
    ProcessSpec,
    SandboxSpec,
    Ulimit,
)

_RESOURCES: Final = {
    name.removeprefix("RLIMIT_").lower(): getattr(resource, name)
    for name in dir(resource)
    if name.startswith("RLIMIT_")
}
_MAX_NOFILE: Final = 65536


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What the launcher has prepared or found out about the machine for one sandbox.

    ``capabilities`` is what may be granted at most. ``cgroup_directories`` are joined;
    ``hierarchies`` (name, directory) and ``cgroup_links`` shape /sys/fs/cgroup, unless
    ``unified_cgroups``. Without ``devices_limited`` no cgroup keeps processes from opening the
    host's devices, so nodes cannot be made and do not work. ``network`` are the operations that
    make the network. ``filter`` is the system call filter, empty for none.
    """

    capabilities: int = (1 << 41) - 1
    cgroup_directories: tuple[str, ...] = ()
    hierarchies: tuple[tuple[str, str], ...] = ()
    cgroup_links: tuple[tuple[str, str], ...] = ()
    unified_cgroups: bool = False
    host_resolv_conf: str = ""
    address: str | None = None
    network: tuple[Operation, ...] = ()
    filter: bytes = b""
    cpu_count: int = 1
    in_user_namespace: bool = False
    devices_limited: bool = True
    nofile: tuple[int, int] = (1024, 4096)


def plan(spec: SandboxSpec, surroundings: Surroundings) -> tuple[Operation, ...]:
    """Return the operations that make a sandbox and end in executing its process.

    Raises:
        UserError: the specification contradicts itself or names something that does not exist.

    """
    # As late as possible; a mount of the unified tree shows the part below the namespace's root.
    cgroups = root.AwaitCgroups(wait=bool(surroundings.cgroup_directories))
    return (
        root.JoinKeyring(f"imagekit-{spec.id}"),
        root.PrivateMounts(),
        root.OpenCgroups(surroundings.cgroup_directories),
        *surroundings.network,
        *_sources(spec),
        *((kernel.KeepHostSys(),) if surroundings.in_user_namespace else ()),
        root.Staging(),
        *_layered_sources(spec, user_xattr=surroundings.in_user_namespace),
        *_root(spec, user_xattr=surroundings.in_user_namespace),
        kernel.MountProc(),
        kernel.MountDev(spec.shm_bytes),
        *((kernel.HostDevices(),) if spec.privileged else ()),
        _etc(spec, surroundings),
        *((cgroups,) if surroundings.unified_cgroups else ()),
        _sys(spec, surroundings),
        *_mounts(spec),
        *_sysctls(spec),
        *_protection(spec, surroundings),
        *((root.ReadOnlyRoot(),) if spec.read_only_root else ()),
        *(() if _may_use_devices(spec, surroundings) else (root.ForbidDevices(),)),
        root.PivotRoot(),
        proc.SetHostname(hostname_of(spec)),
        *(() if surroundings.unified_cgroups else (cgroups,)),
        proc.CloseRoot(),
        *_process(
            spec.process,
            surroundings,
            ulimits=spec.ulimits,
            mask=granted_mask(spec, surroundings),
            console=True,
            init=spec.init,
        ),
    )


def plan_exec(
    pid: int, process: ProcessSpec, surroundings: Surroundings, *, mask: int
) -> tuple[Operation, ...]:
    """Return the operations that run a further process in the sandbox of process ``pid``."""
    return (
        root.JoinKeyring("imagekit-exec"),
        root.JoinCgroups(surroundings.cgroup_directories),
        proc.JoinNamespaces(pid),
        proc.CloseRoot(),
        *_process(process, surroundings, ulimits=(), mask=mask, console=False, init=False),
    )


def hostname_of(spec: SandboxSpec) -> str:
    """Return the name the sandbox calls itself."""
    return spec.hostname or spec.id[:12]


def capability_mask(spec: SandboxSpec, available: int) -> int:
    """Return the capabilities to grant: what is asked for, as far as the caller has it.

    Raises:
        UserError: an unknown name.

    """
    if spec.privileged:
        return available
    names = defaults.CAPABILITIES if spec.capabilities is None else spec.capabilities
    try:
        return capabilities.mask_of(names) & available
    except ValueError as error:
        unknown = sorted(set(names) - set(capabilities.NAMES))
        raise UserError(
            f"unknown capabilities: {', '.join(unknown)}",
            hint="Use the names of capabilities(7) without the CAP_ prefix.",
        ) from error


def granted_mask(spec: SandboxSpec, surroundings: Surroundings) -> int:
    """Return the capabilities that the process gets; making nodes only where none is dangerous."""
    mask = capability_mask(spec, surroundings.capabilities)
    if not _may_use_devices(spec, surroundings):
        mask &= ~capabilities.mask_of({"MKNOD"})
    return mask


def _may_use_devices(spec: SandboxSpec, surroundings: Surroundings) -> bool:
    return spec.privileged or surroundings.devices_limited or surroundings.in_user_namespace


def _process(
    process: ProcessSpec,
    surroundings: Surroundings,
    *,
    ulimits: tuple[Ulimit, ...],
    mask: int,
    console: bool,
    init: bool,
) -> tuple[Operation, ...]:
    rows, columns = process.tty_size or (0, 0)
    env = process.env
    if process.tty and not any(item.startswith("TERM=") for item in env):
        env = (*env, "TERM=xterm")
    return (
        proc.Identify(process.user, process.groups),
        *((proc.OpenTerminal(rows, columns, console=console),) if process.tty else ()),
        proc.ConnectStdio(),
        proc.SetLimits(_rlimits(ulimits, surroundings.nofile)),
        proc.EnterDirectory(posixpath.normpath(process.cwd or "/").replace("//", "/")),
        proc.LimitPrivileges(
            mask,
            base64.b64encode(surroundings.filter).decode(),
            no_new_privileges=process.no_new_privileges,
        ),
        proc.Execute(process.argv, env, process.umask, init=init),
    )


def _rlimits(
    ulimits: tuple[Ulimit, ...], nofile: tuple[int, int]
) -> tuple[tuple[int, int, int], ...]:
    soft, hard = nofile
    bound = hard if hard >= 0 else _MAX_NOFILE
    wanted: Mapping[int, tuple[int, int]] = {
        resource.RLIMIT_NOFILE: (min(max(soft, 1024), _MAX_NOFILE, bound), hard)
    }
    for limit in ulimits:
        number = _RESOURCES.get(limit.name)
        if number is None:
            raise UserError(f"unknown ulimit {limit.name!r}")
        wanted = {**wanted, number: (limit.soft, limit.hard)}
    return tuple((number, *values) for number, values in wanted.items())


def _root(spec: SandboxSpec, *, user_xattr: bool) -> tuple[Operation, ...]:
    match spec.root:
        case OverlayRoot() as overlay:
            lowerdirs = tuple(str(path) for path in overlay.lowerdirs)
            upperdir = str(overlay.upperdir)
            user_xattr = user_xattr or overlay.userxattr
            targets = tuple(
                (number, mount.target, mount.kind is MountKind.TMPFS)
                for number, mount in enumerate(spec.mounts)
            )
            return (
                InitLayer((upperdir, *lowerdirs), targets, user_xattr),
                root.MountOverlay(
                    lowerdirs, upperdir, str(overlay.workdir), overlay.volatile, user_xattr
                ),
            )
        case DirectoryRoot(path=path):
            return (root.BindRoot(str(path)),)
        case _:
            assert_never(spec.root)


def _sources(spec: SandboxSpec) -> list[Operation]:
    operations: list[Operation] = []
    for number, mount in enumerate(spec.mounts):
        if mount.kind not in (MountKind.BIND, MountKind.BIND_DISCARD):
            continue
        if mount.source is None:
            raise UserError(f"mount at {mount.target} needs a source")
        if mount.source_layers:
            continue
        base = str(mount.source_root) if mount.source_root is not None else None
        operations.append(root.OpenSource(number, str(mount.source), base))
    return operations


def _layered_sources(spec: SandboxSpec, *, user_xattr: bool) -> list[Operation]:
    return [
        root.OpenLayeredSource(
            number, str(mount.source), tuple(map(str, mount.source_layers)), user_xattr
        )
        for number, mount in enumerate(spec.mounts)
        if mount.source_layers
    ]


def _mounts(spec: SandboxSpec) -> list[Operation]:
    """Return the additional mounts, parents before what lies in them."""
    for mount in spec.mounts:
        if not mount.target.startswith("/") or posixpath.normpath(mount.target) == "/":
            raise UserError(f"mount target {mount.target!r} must be an absolute path below /")
    numbered = sorted(
        enumerate(spec.mounts), key=lambda item: posixpath.normpath(item[1].target).count("/")
    )
    return [
        root.AddMount(
            number,
            mount.kind.value,
            mount.target,
            _attributes(mount),
            base64.b64encode(mount.content).decode(),
            mount.mode,
            mount.uid,
            mount.gid,
            mount.size_bytes,
        )
        for number, mount in numbered
    ]


def _attributes(mount: Mount) -> int:
    always = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV
    attributes = always if mount.kind in (MountKind.TMPFS, MountKind.FILE) else 0
    for wanted, attribute in (
        (mount.read_only, MOUNT_ATTR_RDONLY),
        (mount.no_exec, MOUNT_ATTR_NOEXEC),
        (mount.no_suid, MOUNT_ATTR_NOSUID),
        (mount.no_dev, MOUNT_ATTR_NODEV),
    ):
        if wanted:
            attributes |= attribute
    return attributes


def _sys(spec: SandboxSpec, surroundings: Surroundings) -> Operation:
    return kernel.MountSys(
        read_only=not spec.privileged,
        hierarchies=surroundings.hierarchies,
        links=surroundings.cgroup_links,
        unified=surroundings.unified_cgroups,
    )


def _etc(spec: SandboxSpec, surroundings: Surroundings) -> Operation:
    own_network = spec.network is not NetworkMode.HOST
    name = hostname_of(spec)
    files = {
        "hosts": dns.hosts(name, address=surroundings.address, extra=spec.add_hosts),
        "hostname": f"{name}\n",
        "resolv.conf": dns.resolv_conf(
            surroundings.host_resolv_conf,
            own_network=own_network,
            servers=spec.dns,
            search=spec.dns_search,
        ),
    }
    taken = {posixpath.normpath(mount.target) for mount in spec.mounts}
    return root.EtcFiles(
        tuple((name, text) for name, text in files.items() if f"/etc/{name}" not in taken)
    )


def _sysctls(spec: SandboxSpec) -> list[Operation]:
    operations: list[Operation] = []
    if spec.network is not NetworkMode.HOST:
        operations += [
            kernel.WriteSysctl(name, value, required=False)
            for name, value in defaults.OWN_NETWORK_SYSCTLS
        ]
    for name, value in spec.sysctls:
        if not _is_namespaced(name, own_network=spec.network is not NetworkMode.HOST):
            raise UserError(f"sysctl {name} would change the whole machine")
        operations.append(kernel.WriteSysctl(name, value, required=True))
    return operations


def _is_namespaced(name: str, *, own_network: bool) -> bool:
    """Tell whether a kernel parameter belongs to the sandbox's own namespaces.

    Source: ipc_namespaces(7), network_namespaces(7).
    """
    if "/" in name or ".." in name:
        return False
    ipc = ("kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall")
    if name in ipc or name.startswith(("kernel.shm", "fs.mqueue.")):
        return True
    return own_network and name.startswith("net.")


def _protection(spec: SandboxSpec, surroundings: Surroundings) -> tuple[Operation, ...]:
    if spec.privileged:
        return ()
    thermal = tuple(
        defaults.THERMAL.format(number=number) for number in range(surroundings.cpu_count)
    )
    return (
        kernel.ProtectPaths(
            defaults.READ_ONLY_PROC, defaults.MASKED_PROC, (*defaults.MASKED_SYS, *thermal)
        ),
    )
