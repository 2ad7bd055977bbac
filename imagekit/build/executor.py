"""Carrying out operations: each fills the directory of a new layer."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from imagekit.base.errors import ImagekitError
from imagekit.base.events import Bill, EventSink, StepOutput
from imagekit.base.fds import OwnedFd
from imagekit.build.copying import Copier, resolve_owner
from imagekit.build.errors import (
    BuildError,
    StepFailedError,
    UnsupportedError,
    check_cancelled,
)
from imagekit.build.leftovers import remove_leftovers, sandbox_id
from imagekit.build.operations import CopyOperation, RunOperation, WorkdirOperation
from imagekit.build.remote import FetchedFile
from imagekit.build.request import BuildRequest
from imagekit.build.rootfs import (
    directory_in_the_way,
    merged_view,
    overlay_root,
    root_directory,
)
from imagekit.build.sources import Match, MountSource, Tree
from imagekit.dockerfile.mounts import CacheSharing, MountKind, RunMount
from imagekit.layers.limits import Limits
from imagekit.layers.rootdir import RootDir
from imagekit.sandbox import spec
from imagekit.sandbox.errors import (
    CommandNotFoundError,
    NotExecutableError,
    SandboxError,
    UnknownUserError,
)
from imagekit.sandbox.spec import ExitResult
from imagekit.store.layout import Store
from imagekit.store.owner import Owner
from imagekit.store.snapshots import Snapshot

if TYPE_CHECKING:
    # The sandbox is loaded only when a step has to run.
    from imagekit.sandbox.launcher import Launcher

HOSTNAME = "buildkitsandbox"
_TAIL_BYTES = 8192
_READ_BYTES = 1 << 16
_LITTLE_SPACE_BYTES = 1 << 20


class Executor(msgspec.Struct):
    """Runs operations for one build. Safe for several threads."""

    store: Store
    request: BuildRequest
    launcher: "Callable[[], Launcher]"
    events: EventSink
    cancelled: threading.Event
    slots: threading.Semaphore
    limits: Limits | None = None
    _owner: Owner = msgspec.field(default_factory=Owner.current)
    _is_swept: bool = False
    _emptied: set[str] = msgspec.field(default_factory=set)
    _kill: dict[int, Callable[[], None]] = msgspec.field(default_factory=dict)
    _lock: threading.Lock = msgspec.field(default_factory=threading.Lock)

    def cancel(self) -> None:
        """Kill every running step and let no other start."""
        self.cancelled.set()
        with self._lock:
            for kill in self._kill.values():
                kill()

    def workdir(
        self, operation: WorkdirOperation, snapshot: Snapshot, lowerdirs: Sequence[Path]
    ) -> None:
        """Make a directory unless it is there."""
        with (
            directory_in_the_way(operation.path),
            overlay_root(lowerdirs, snapshot.fs, snapshot.work) as root,
            root_directory(root) as inside,
        ):
            owner = resolve_owner(inside, operation.user) if operation.user else (0, 0)
            made = inside.make_directories(operation.path, owner=owner)
            epoch = self.request.source_date_epoch
            if epoch is not None:
                for path in reversed(made):
                    os.utime(f"/proc/self/fd/{root.fileno()}{path}", (epoch, epoch))

    def copy(
        self,
        operation: CopyOperation,
        tree: Tree | None,
        matches: Sequence[Match],
        fetched: Sequence[FetchedFile],
        snapshot: Snapshot,
        lowerdirs: Sequence[Path],
    ) -> Sequence[str]:
        """Copy files into the layer; return those that somebody changed meanwhile."""
        below = () if operation.link else lowerdirs
        with ExitStack() as stack:
            root = stack.enter_context(overlay_root(below, snapshot.fs, snapshot.work))
            names = None
            if operation.link and operation.owner is not None and lowerdirs:
                # --link copies into an empty tree, but --chown means the image's users.
                view = stack.enter_context(merged_view(lowerdirs, snapshot.work))
                names = stack.enter_context(root_directory(view))
            copier = Copier.prepare(root, operation, names, limits=self.limits)
            stack.callback(copier.inside.close)
            copier.copy(tree, matches, fetched)
        return copier.changed

    def run(
        self,
        step: int,
        operation: RunOperation,
        mounts: Sequence[RunMount],
        sources: Mapping[RunMount, MountSource],
        snapshot: Snapshot,
        lowerdirs: Sequence[Path],
        *,
        fresh_caches: bool = False,
    ) -> Bill:
        """Run a program on top of the layers below; ``fresh_caches`` empties cache mounts first.

        Raises:
            StepFailedError: if it ends with another exit code than 0.
            BuildCancelledError: if another step failed meanwhile.

        """
        with ExitStack() as stack:
            self._lock_caches(stack, mounts, sources, fresh=fresh_caches)
            sandbox_mounts, secret_env = self._mounts(operation, mounts, sources)
            env = (*operation.run_env, *secret_env)
            if not any(item.startswith("PATH=") for item in env):
                env = (*env, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            request = self.request
            sandbox = spec.SandboxSpec(
                id=sandbox_id(self._owner, snapshot.id),
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
        check_cancelled(self.cancelled)
        with self._lock:
            is_swept, self._is_swept = self._is_swept, True
        if not is_swept:
            remove_leftovers(self._owner)
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        tail: deque[bytes] = deque()
        with OwnedFd(read_end) as reader:
            with OwnedFd(write_end) as writer, OwnedFd(null) as nothing:
                try:
                    process = self.launcher().start(
                        sandbox,
                        stdin=nothing.fileno(),
                        stdout=writer.fileno(),
                        stderr=writer.fileno(),
                    )
                except SandboxError as error:
                    raise _not_started(operation, error) from error
            with self._killable(id(process), process.kill):
                for data in _chunks(reader):
                    self.events(StepOutput(step=step, data=data))
                    _remember(tail, data)
                ended = process.wait()
        if ended.exit_code != 0:
            check_cancelled(self.cancelled)  # then we killed it ourselves
            is_full = _free_bytes(self.store.paths.root) < _LITTLE_SPACE_BYTES
            output = b"".join(tail)[-_TAIL_BYTES:]
            raise _failed(operation, ended, output, is_disk_full=is_full)
        usage = ended.usage
        return Bill(
            wall_s=usage.wall_s,
            cpu_s=usage.cpu_s,
            peak_memory_bytes=usage.peak_memory_bytes,
            read_bytes=usage.read_bytes,
            written_bytes=usage.written_bytes,
        )

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
                    result.append(self._cache(mount))
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

    def _lock_caches(
        self,
        stack: ExitStack,
        mounts: Sequence[RunMount],
        sources: Mapping[RunMount, MountSource],
        *,
        fresh: bool,
    ) -> None:
        """Hold the locks of all cache mounts; in one order, so that no two steps wait in a ring."""
        wanted: dict[str, bool] = {}
        seeds: dict[str, MountSource] = {}
        for mount in mounts:
            if mount.kind is MountKind.CACHE:
                identifier = self._cache_identifier(mount)
                alone = mount.sharing is not CacheSharing.SHARED
                wanted[identifier] = wanted.get(identifier, False) or alone
                if mount in sources:
                    seeds[identifier] = sources[mount]
        for identifier, alone in sorted(wanted.items()):
            name = f"cache-mount {identifier}"
            if fresh:
                self._empty_once(name, identifier)
            if identifier in seeds:
                self._seed(name, identifier, seeds[identifier])
            locks = self.store.locks
            stack.enter_context(locks.exclusive(name) if alone else locks.shared(name))

    def _seed(self, lock: str, identifier: str, seed: MountSource) -> None:
        """Copy what a cache mount begins with, if it is new."""
        with self.store.locks.exclusive(lock):
            path = self.store.cache_mounts.path(identifier)
            if os.listdir(path):
                return
            operation = CopyOperation(sources=(".",), documents=(), destination="/")
            with overlay_root((), path, path) as root:
                copier = Copier.prepare(root, operation)
                copier.copy(seed.tree, seed.matches)
                copier.inside.close()

    def _empty_once(self, lock: str, identifier: str) -> None:
        with self._lock:
            if identifier in self._emptied:
                return
            self._emptied.add(identifier)
        with self.store.locks.exclusive(lock):
            path = self.store.cache_mounts.path(identifier)
            for name in os.listdir(path):
                with RootDir(path) as inside:
                    inside.remove(name)

    def _cache_identifier(self, mount: RunMount) -> str:
        namespace = self.request.build_args.get("BUILDKIT_CACHE_MOUNT_NS", "")
        identifier = mount.id or _target(mount)
        seed = f" from {mount.from_}:{mount.source or ''}" if mount.from_ else ""
        return f"{namespace}/{identifier}{seed}" if namespace else f"{identifier}{seed}"

    def _cache(self, mount: RunMount) -> spec.Mount:
        if mount.source and not mount.from_:
            raise UnsupportedError(
                "a cache mount with source and without from is not supported yet",
                hint="Mount the whole cache and use the directory in it.",
            )
        path = self.store.cache_mounts.path(self._cache_identifier(mount))
        if not mount.from_ and not os.listdir(path):
            os.chown(path, mount.uid or 0, mount.gid or 0)
            path.chmod(mount.mode if mount.mode is not None else 0o755)
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


def _not_started(operation: RunOperation, error: SandboxError) -> ImagekitError:
    """Return the error of a program that never ran; what the Dockerfile can mend is its fault."""
    if isinstance(error, UnknownUserError):
        return BuildError(error.message, hint=error.hint)
    for kind, exit_code in ((CommandNotFoundError, 127), (NotExecutableError, 126)):
        if isinstance(error, kind):
            return StepFailedError(
                f'process "{" ".join(operation.argv)}" did not complete successfully:'
                f" exit code: {exit_code}: {error.message}",
                exit_code=exit_code,
                output=b"",
                hint=error.hint or "Check the name; an exec form is run without a shell.",
            )
    return error


def _free_bytes(path: Path) -> int:
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def _failed(
    operation: RunOperation, ended: ExitResult, output: bytes, *, is_disk_full: bool
) -> StepFailedError:
    hint = "The output above says why; the step can be repeated after a change."
    if is_disk_full:
        hint = "There is no space left for the store; `imagekit system prune` frees some."
    if ended.oom_killed:
        hint = "It ran out of memory; raise --memory."
    return StepFailedError(
        f'process "{" ".join(operation.argv)}" did not complete successfully:'
        f" exit code: {ended.exit_code}",
        exit_code=ended.exit_code,
        output=output,
        hint=hint,
    )


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
