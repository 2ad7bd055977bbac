"""Carrying out operations: each fills the directory of a new layer."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from imagekit.base.events import Bill, EventSink, StepOutput
from imagekit.base.fds import OwnedFd
from imagekit.build.copying import Copier, FetchedFile, resolve_owner
from imagekit.build.errors import BuildError, StepFailedError, UnsupportedError
from imagekit.build.operations import CopyOperation, RunOperation, WorkdirOperation
from imagekit.build.request import BuildRequest
from imagekit.build.rootfs import merged_view, overlay_root, root_directory
from imagekit.build.sources import Match, Tree
from imagekit.dockerfile.mounts import CacheSharing, MountKind, RunMount
from imagekit.sandbox import spec
from imagekit.sandbox.launcher import Launcher
from imagekit.store.layout import Store
from imagekit.store.snapshots import Snapshot

HOSTNAME = "buildkitsandbox"
_TAIL_BYTES = 8192
_READ_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class MountSource:
    """Where a bind mount of a RUN step takes its files: a directory of the host, or layers."""

    root: Path | None = None
    layers: tuple[Path, ...] = ()


@dataclass(slots=True)
class Executor:
    """Runs operations for one build. Safe for several threads."""

    store: Store
    request: BuildRequest
    launcher: Callable[[], Launcher]
    events: EventSink
    cancelled: threading.Event
    slots: threading.Semaphore
    _running: set[int] = field(default_factory=set)
    _kill: dict[int, Callable[[], None]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def cancel(self) -> None:
        """Kill every running step and let no other start."""
        self.cancelled.set()
        with self._lock:
            for kill in self._kill.values():
                kill()

    def workdir(
        self, operation: WorkdirOperation, snapshot: Snapshot, lowerdirs: Sequence[Path]
    ) -> Bill:
        """Make a directory unless it is there."""
        with (
            overlay_root(lowerdirs, snapshot.fs, snapshot.work) as root,
            root_directory(root) as inside,
        ):
            owner = resolve_owner(inside, operation.user) if operation.user else (0, 0)
            made = inside.make_directories(operation.path, owner=owner)
            epoch = self.request.source_date_epoch
            if epoch is not None:
                for path in reversed(made):
                    os.utime(f"/proc/self/fd/{root.fileno()}{path}", (epoch, epoch))
        return Bill()

    def copy(
        self,
        operation: CopyOperation,
        tree: Tree | None,
        matches: Sequence[Match],
        fetched: Sequence[FetchedFile],
        snapshot: Snapshot,
        lowerdirs: Sequence[Path],
    ) -> Bill:
        """Copy files into the layer."""
        below = () if operation.link else lowerdirs
        with ExitStack() as stack:
            root = stack.enter_context(overlay_root(below, snapshot.fs, snapshot.work))
            names = None
            if operation.link and operation.owner is not None and lowerdirs:
                # --link copies into an empty tree, but --chown means the image's users.
                view = stack.enter_context(merged_view(lowerdirs, snapshot.work))
                names = stack.enter_context(root_directory(view))
            copier = Copier.prepare(root, operation, names)
            stack.callback(copier.inside.close)
            copier.copy(tree, matches, fetched)
        return Bill()

    def run(
        self,
        step: int,
        operation: RunOperation,
        mounts: Sequence[RunMount],
        sources: Mapping[RunMount, MountSource],
        snapshot: Snapshot,
        lowerdirs: Sequence[Path],
    ) -> Bill:
        """Run a program on top of the layers below.

        Raises:
            StepFailedError: if it ends with another exit code than 0.

        """
        with ExitStack() as stack:
            sandbox_mounts, secret_env = self._mounts(stack, operation, mounts, sources)
            env = (*operation.run_env, *secret_env)
            if not any(item.startswith("PATH=") for item in env):
                env = (*env, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            request = self.request
            sandbox = spec.SandboxSpec(
                id=f"build-{snapshot.id}",
                root=spec.OverlayRoot(
                    lowerdirs=tuple(lowerdirs),
                    upperdir=snapshot.fs,
                    workdir=snapshot.work,
                    volatile=True,
                ),
                process=spec.ProcessSpec(
                    argv=operation.argv, env=env, cwd=operation.cwd, user=operation.user
                ),
                mounts=sandbox_mounts,
                hostname=HOSTNAME,
                network=self._network(operation),
                limits=spec.Limits(memory_bytes=request.memory_bytes, cpus=request.cpus),
                add_hosts=tuple(_host_pair(item) for item in request.add_hosts),
            )
            stack.enter_context(self.slots)
            return self._run_sandbox(step, operation, sandbox)

    def _run_sandbox(self, step: int, operation: RunOperation, sandbox: spec.SandboxSpec) -> Bill:
        if self.cancelled.is_set():
            raise BuildError("cancelled because another step failed")
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        tail: deque[bytes] = deque()
        with OwnedFd(read_end) as reader:
            with OwnedFd(write_end) as writer, OwnedFd(null) as nothing:
                process = self.launcher().start(
                    sandbox,
                    stdin=nothing.fileno(),
                    stdout=writer.fileno(),
                    stderr=writer.fileno(),
                )
            with self._killable(id(process), process.kill):
                for data in _chunks(reader):
                    self.events(StepOutput(step=step, data=data))
                    _remember(tail, data)
                ended = process.wait()
        usage = ended.usage
        bill = Bill(
            wall_s=usage.wall_s,
            cpu_s=usage.cpu_s,
            peak_memory_bytes=usage.peak_memory_bytes,
            read_bytes=usage.read_bytes,
            written_bytes=usage.written_bytes,
        )
        if ended.exit_code != 0:
            hint = "The output above says why; the step can be repeated after a change."
            if ended.oom_killed:
                hint = "It ran out of memory; raise --memory."
            raise StepFailedError(
                f'process "{" ".join(operation.argv)}" did not complete successfully:'
                f" exit code: {ended.exit_code}",
                exit_code=ended.exit_code,
                output=b"".join(tail)[-_TAIL_BYTES:],
                hint=hint,
            )
        return bill

    @contextmanager
    def _killable(self, key: int, kill: Callable[[], None]) -> Iterator[None]:
        with self._lock:
            self._kill[key] = kill
        try:
            if self.cancelled.is_set():
                kill()
            yield
        finally:
            with self._lock:
                del self._kill[key]

    def _network(self, operation: RunOperation) -> spec.NetworkMode:
        asked = operation.instruction.network
        if asked == "default":
            asked = self.request.network
        return spec.NetworkMode.NONE if asked == "none" else spec.NetworkMode.HOST

    def _mounts(
        self,
        stack: ExitStack,
        operation: RunOperation,
        mounts: Sequence[RunMount],
        sources: Mapping[RunMount, MountSource],
    ) -> tuple[tuple[spec.Mount, ...], tuple[str, ...]]:
        result = [
            spec.Mount(
                target=f"/dev/pipes/{operation.script.name}",
                kind=spec.MountKind.FILE,
                content=operation.script.content,
                mode=0o755,
                read_only=True,
            )
            for _ in range(1 if operation.script is not None else 0)
            if operation.script is not None
        ]
        env = []
        for mount in mounts:
            match mount.kind:
                case MountKind.BIND:
                    result.append(self._bind(mount, sources[mount]))
                case MountKind.CACHE:
                    result.append(self._cache(stack, mount))
                case MountKind.TMPFS:
                    result.append(
                        spec.Mount(
                            target=_target(mount),
                            kind=spec.MountKind.TMPFS,
                            size_bytes=mount.size_bytes or None,
                        )
                    )
                case MountKind.SECRET:
                    file, variable = self._secret(mount)
                    result.extend(file)
                    env.extend(variable)
                case MountKind.SSH:
                    raise UnsupportedError(
                        "RUN --mount=type=ssh is not supported yet",
                        hint="Pass a key with --mount=type=secret instead.",
                    )
        result.sort(key=lambda item: item.target.count("/"))
        return tuple(result), tuple(env)

    def _bind(self, mount: RunMount, source: MountSource) -> spec.Mount:
        kind = spec.MountKind.BIND if mount.read_only else spec.MountKind.BIND_DISCARD
        return spec.Mount(
            target=_target(mount),
            kind=kind,
            source=Path(mount.source or "/"),
            source_root=source.root,
            source_layers=source.layers,
            read_only=mount.read_only,
        )

    def _cache(self, stack: ExitStack, mount: RunMount) -> spec.Mount:
        identifier = mount.id or _target(mount)
        if mount.from_ or mount.source:
            raise UnsupportedError("a cache mount with from or source is not supported yet")
        if mount.sharing is not CacheSharing.SHARED:
            stack.enter_context(self.store.locks.exclusive(f"cache-mount {identifier}"))
        path = self.store.cache_mounts.path(identifier)
        if not os.listdir(path):
            path.chmod(mount.mode if mount.mode is not None else 0o755)
            os.chown(path, mount.uid or 0, mount.gid or 0)
        return spec.Mount(target=_target(mount), source=path, read_only=mount.read_only)

    def _secret(self, mount: RunMount) -> tuple[list[spec.Mount], list[str]]:
        secret = next((s for s in self.request.secrets if s.id == mount.id), None)
        if secret is None:
            if mount.required:
                raise BuildError(
                    f"secret {mount.id}: not found", hint=f"Pass it with --secret id={mount.id}."
                )
            return [], [f"{mount.env}="] if mount.env else []
        env = [f"{mount.env}={secret.value.decode(errors='surrogateescape')}"] if mount.env else []
        if mount.target is None:
            return [], env
        file = spec.Mount(
            target=mount.target,
            kind=spec.MountKind.FILE,
            content=secret.value,
            mode=mount.mode if mount.mode is not None else 0o400,
            uid=mount.uid or 0,
            gid=mount.gid or 0,
            read_only=True,
        )
        return [file], env


def _target(mount: RunMount) -> str:
    assert mount.target is not None
    return mount.target


def _host_pair(text: str) -> tuple[str, str]:
    name, _, address = text.partition("=" if "=" in text else ":")
    return name, address


def _chunks(reader: OwnedFd) -> Iterator[bytes]:
    while data := os.read(reader.fileno(), _READ_BYTES):
        yield data


def _remember(tail: deque[bytes], data: bytes) -> None:
    tail.append(data)
    while sum(map(len, tail)) - len(tail[0]) > _TAIL_BYTES:
        tail.popleft()
