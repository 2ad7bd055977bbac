"""Building one stage: for each step a key, a look-up, and, if that fails, the work.

A step that ran is packed in the background while the next one runs. Its chain id is known only
then; the next step waits for it only if its own operation has a cache record at all.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor as ThreadPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from imagekit.base.clock import Clock
from imagekit.base.events import Bill, EventSink, Outcome, StepEnded, StepStarted
from imagekit.build.cachekey import cache_key, explain_miss, operation_digest
from imagekit.build.context import ContextDigests, open_directory
from imagekit.build.errors import BuildError
from imagekit.build.executor import Executor, MountSource
from imagekit.build.operations import CopyOperation, Operation, RunOperation, Step, WorkdirOperation
from imagekit.build.remote import RemoteFiles, is_url
from imagekit.build.request import BuildRequest
from imagekit.build.result import BuiltLayer, HistoryLine, LayerHandle, StageResult
from imagekit.build.rootfs import merged_view
from imagekit.build.sources import Match, Tree
from imagekit.dockerfile.errors import DockerfileError
from imagekit.dockerfile.ignore import IgnoreMatcher
from imagekit.dockerfile.mounts import MountKind, RunMount, resolve_mounts
from imagekit.images.commit import StoredLayer, store_layer
from imagekit.layers.diff import overlay_changes
from imagekit.oci.descriptor import Descriptor
from imagekit.oci.digest import Digest
from imagekit.oci.image_config import next_chain_id
from imagekit.oci.mediatype import layer_media_type
from imagekit.store.cache_records import CacheRecord
from imagekit.store.layout import Store
from imagekit.store.leases import Lease
from imagekit.store.snapshots import Snapshot

PARENT_INPUT = "@parent"


@dataclass(slots=True, kw_only=True)
class StageContext:
    """What the steps of all stages of a build share."""

    store: Store
    lease: Lease
    request: BuildRequest
    events: EventSink
    clock: Clock
    executor: Executor
    packers: ThreadPool
    remote: RemoteFiles
    context: Callable[[], Tree]
    context_view: Callable[[], Path]
    digests: Callable[[str], ContextDigests]
    stage_result: Callable[[int], StageResult]
    outside: Callable[[str], StageResult | Path]
    escape: str
    empty_directory: Callable[[], Path]
    next_step: Callable[[], int]


@dataclass(slots=True)
class Found:
    """What a step reads, once looked up: inputs of its key, and the files themselves."""

    inputs: dict[str, str]
    tree: Tree | None = None
    matches: tuple[Match, ...] = ()
    mounts: tuple[RunMount, ...] = ()
    sources: dict[RunMount, MountSource] = field(default_factory=dict)


@dataclass(slots=True)
class StageCounters:
    """How many layer steps ran and how many came from the cache."""

    ran: int = 0
    cached: int = 0


class StageBuilder:
    """Carries out the steps of one stage on top of its base."""

    def __init__(
        self,
        shared: StageContext,
        base: StageResult,
        *,
        name: str,
        place: str,
        no_cache: bool,
    ) -> None:
        self._shared = shared
        self._base = base
        self._name = name
        self._place = place
        self._no_cache = no_cache
        self._layers = list(base.layers)
        self._history: list[HistoryLine] = []
        self.counters = StageCounters()

    def build(self, steps: Sequence[Step], *, first: int, total: int) -> StageResult:
        """Carry out the steps; ``first`` of ``total`` is the number of the first one with a layer.

        Raises:
            BuildError, DockerfileError: with the span of the step.

        """
        number = first
        for step in steps:
            if step.operation is None:
                if step.created_by is not None:
                    self._history.append(HistoryLine(created_by=step.created_by, layer=None))
                continue
            label = f"[{step_prefix(self._name, number, total)}] {step.text}"
            number += 1
            with _located(step):
                layer = self._build_step(step.operation, label, number)
            self._layers.append(layer)
            assert step.created_by is not None
            self._history.append(HistoryLine(created_by=step.created_by, layer=layer))
        return replace(
            self._base,
            layers=tuple(self._layers),
            history=(*self._base.history, *self._history),
        )

    def _build_step(self, operation: Operation, label: str, number: int) -> LayerHandle:
        shared = self._shared
        identifier = shared.next_step()
        started = time.monotonic()
        shared.events(StepStarted(step=identifier, label=label))
        try:
            with ExitStack() as stack:
                layer, reason, bill = self._cached_or_run(stack, identifier, operation, number)
        except BaseException:
            wall = Bill(wall_s=time.monotonic() - started)
            shared.events(
                StepEnded(step=identifier, label=label, outcome=Outcome.FAILED, bill=wall)
            )
            raise
        outcome = Outcome.DONE if reason else Outcome.CACHED
        bill = replace(bill, wall_s=time.monotonic() - started)
        shared.events(
            StepEnded(step=identifier, label=label, outcome=outcome, bill=bill, reason=reason)
        )
        return layer

    def _cached_or_run(
        self, stack: ExitStack, identifier: int, operation: Operation, number: int
    ) -> tuple[LayerHandle, str, Bill]:
        found = self._look_up(stack, operation)
        digest = operation_digest(found.inputs)
        place = f"{self._place}:{number}"
        if not self._no_cache:
            layer = self._cached(digest)
            if layer is not None:
                self.counters.cached += 1
                return layer, "", Bill()
        reason = "the cache is off" if self._no_cache else self._explain(place, found.inputs)
        lowerdirs = tuple(layer.fs for layer in reversed(self._layers))
        snapshot = self._shared.store.snapshots.prepare(self._shared.lease)
        bill = self._execute(identifier, operation, found, snapshot, lowerdirs)
        self.counters.ran += 1
        future = self._shared.packers.submit(
            self._pack,
            snapshot,
            self._layers[-1] if self._layers else None,
            lowerdirs,
            CacheRecord(
                key="",
                operation=digest,
                step=place,
                inputs=found.inputs,
                bill={"cpu_s": bill.cpu_s, "peak_memory_bytes": bill.peak_memory_bytes},
            ),
        )
        return LayerHandle(fs=snapshot.fs, built=future), reason, bill

    def _cached(self, operation: str) -> LayerHandle | None:
        store = self._shared.store
        parent = self._layers[-1] if self._layers else None
        if (
            parent is not None
            and not parent.built.done()
            and not store.cache.has_operation(operation)
        ):
            return None
        parent_chain = parent.built.result().chain_id if parent else None
        key = cache_key(parent_chain, operation)
        record = store.cache.get(key)
        if record is None or record.chain_id is None or record.diff_id is None:
            return None
        self._shared.lease.add("chain", str(record.chain_id))
        snapshot = store.snapshots.get(record.chain_id)
        if snapshot is None:
            return None
        lowerdirs = tuple(layer.fs for layer in reversed(self._layers))
        descriptor = self._layer_blob(record.diff_id) or self._repack(
            snapshot.fs, lowerdirs, record.diff_id
        )
        if descriptor is None:
            return None
        store.cache.mark_used(key)
        return LayerHandle.ready(
            snapshot.fs,
            BuiltLayer(
                chain_id=record.chain_id,
                diff_id=record.diff_id,
                descriptor=descriptor,
                created=record.created,
            ),
        )

    def _layer_blob(self, diff_id: Digest) -> Descriptor | None:
        shared = self._shared
        for blob in shared.store.layers.blobs_of(diff_id):
            if blob.compression is shared.request.compression:
                shared.lease.add("blob", str(blob.digest))
                if shared.store.blobs.has(blob.digest):
                    return Descriptor(
                        media_type=layer_media_type(blob.compression),
                        digest=blob.digest,
                        size=blob.size,
                    )
        return None

    def _repack(self, fs: Path, lowerdirs: tuple[Path, ...], diff_id: Digest) -> Descriptor | None:
        """Make the blob of a cached layer again, in the compression that is asked for now."""
        layer = self._store_layer(fs, lowerdirs)
        return layer.descriptor if layer.diff_id == diff_id else None

    def _store_layer(self, fs: Path, lowerdirs: tuple[Path, ...]) -> StoredLayer:
        shared = self._shared
        return store_layer(
            shared.store,
            overlay_changes(fs, lowerdirs),
            lease=shared.lease,
            compression=shared.request.compression,
            clamp_mtime=shared.request.source_date_epoch,
        )

    def _explain(self, place: str, inputs: Mapping[str, str]) -> str:
        last = self._shared.store.cache.latest_for_step(place)
        if last is None:
            return explain_miss(inputs, None, None, None)
        last_inputs = {key: str(value) for key, value in last.inputs.items()}
        last_parent = last_inputs.pop(PARENT_INPUT, None)
        parent = self._layers[-1].built if self._layers else None
        if parent is not None and not parent.done():
            # It ran just now and its result is still being packed: the reason lies there, unless
            # this step itself has changed too.
            return explain_miss(inputs, None, last_inputs, "?")
        chain = parent.result().chain_id if parent else None
        return explain_miss(inputs, chain, last_inputs, last_parent)

    def _pack(
        self,
        snapshot: Snapshot,
        parent: LayerHandle | None,
        lowerdirs: tuple[Path, ...],
        record: CacheRecord,
    ) -> BuiltLayer:
        store = self._shared.store
        layer = self._store_layer(snapshot.fs, lowerdirs)
        parent_chain = parent.built.result().chain_id if parent else None
        chain_id = next_chain_id(parent_chain, layer.diff_id)
        store.snapshots.commit(
            snapshot,
            chain_id=chain_id,
            parent_chain_id=parent_chain,
            diff_id=layer.diff_id,
            keep_duplicate=True,
        )
        created = self._shared.clock.now()
        store.cache.put(
            replace(
                record,
                key=cache_key(parent_chain, record.operation),
                inputs={**record.inputs, PARENT_INPUT: str(parent_chain or "scratch")},
                chain_id=chain_id,
                diff_id=layer.diff_id,
                created=created,
            )
        )
        return BuiltLayer(
            chain_id=chain_id,
            diff_id=layer.diff_id,
            descriptor=layer.descriptor,
            created=created,
        )

    def _execute(
        self,
        identifier: int,
        operation: Operation,
        found: Found,
        snapshot: Snapshot,
        lowerdirs: tuple[Path, ...],
    ) -> Bill:
        executor = self._shared.executor
        match operation:
            case WorkdirOperation():
                return executor.workdir(operation, snapshot, lowerdirs)
            case CopyOperation():
                fetched = self._shared.remote.files(operation)
                return executor.copy(
                    operation, found.tree, found.matches, fetched, snapshot, lowerdirs
                )
            case RunOperation():
                return executor.run(
                    identifier, operation, found.mounts, found.sources, snapshot, lowerdirs
                )

    # -- what a step reads

    def _look_up(self, stack: ExitStack, operation: Operation) -> Found:
        epoch = self._shared.request.source_date_epoch
        common = {} if epoch is None else {"SOURCE_DATE_EPOCH": str(epoch)}
        match operation:
            case WorkdirOperation():
                return Found({**common, "workdir": operation.path, "user": operation.user})
            case CopyOperation():
                found = self._look_up_copy(stack, operation)
                found.inputs.update(common)
                return found
            case RunOperation():
                found = self._look_up_run(stack, operation)
                found.inputs.update(common)
                return found

    def _look_up_copy(self, stack: ExitStack, operation: CopyOperation) -> Found:
        inputs = {
            "command": "ADD" if operation.is_add else "COPY",
            "sources": msgspec.json.encode(operation.sources).decode(),
            "destination": operation.destination,
        }
        for name in ("owner", "mode", "link", "parents", "unpack", "checksum"):
            value = getattr(operation, name)
            if value not in (None, False):
                inputs[f"--{name}"] = str(value)
        for position, pattern in enumerate(operation.exclude):
            inputs[f"--exclude {position}"] = pattern
        for document in operation.documents:
            inputs[f"document {document.name}"] = str(Digest.of(document.content))
        local = [source for source in operation.sources if not is_url(source)]
        inputs.update(self._shared.remote.inputs(operation))
        if not local:
            return Found(inputs)
        tree = self._copy_tree(stack, operation)
        exclude = IgnoreMatcher.of(operation.exclude) if operation.exclude else None
        matches = tuple(match for source in local for match in tree.matches(source, exclude))
        for match in matches:
            inputs.update(_fingerprints(tree, match))
        return Found(inputs, tree=tree, matches=matches)

    def _copy_tree(self, stack: ExitStack, operation: CopyOperation) -> Tree:
        if operation.from_stage is not None:
            result = self._shared.stage_result(operation.from_stage)
            return stack.enter_context(self._root_tree(result, f"stage {operation.from_stage}"))
        if operation.from_name is not None:
            outside = self._shared.outside(operation.from_name)
            if isinstance(outside, StageResult):
                return stack.enter_context(self._root_tree(outside, operation.from_name))
            return stack.enter_context(_directory_tree(outside, operation.from_name))
        return self._shared.context()

    @contextmanager
    def _root_tree(self, result: StageResult, what: str) -> Iterator[Tree]:
        # The content of a chain never changes, so its files are digested once for all builds.
        digests = self._shared.digests(f"chain {result.chain_id()}")
        with merged_view(result.lowerdirs, self._shared.empty_directory()) as root:
            yield Tree(fd=root, what=what, keeps_owners=True, digest_of=digests.digest_of)

    def _look_up_run(self, stack: ExitStack, operation: RunOperation) -> Found:
        instruction = operation.instruction
        inputs = {
            "command": msgspec.json.encode(operation.argv).decode(),
            "directory": operation.cwd,
            "user": operation.user,
            "--network": instruction.network,
            "--security": instruction.security,
        }
        for item in operation.key_env:
            key, _, value = item.partition("=")
            inputs[f"variable {key}"] = value
        if operation.script is not None:
            inputs["script"] = str(Digest.of(operation.script.content))
        if instruction.security != "sandbox":
            raise BuildError(
                "RUN --security=insecure is not allowed",
                hint="Remove the flag; imagekit has no switch that grants it.",
            )
        mounts = resolve_mounts(
            instruction.mounts,
            dict(operation.build_env),
            workdir=operation.cwd,
            escape=self._shared.escape,
        )
        found = Found(inputs, mounts=mounts)
        for position, mount in enumerate(mounts):
            inputs[f"--mount {position}"] = (
                f"{mount.kind} {mount.target} {mount.source} {mount.id} {mount.read_only}"
            )
            if mount.kind is MountKind.BIND:
                self._look_up_bind(stack, mount, found)
        return found

    def _look_up_bind(self, stack: ExitStack, mount: RunMount, found: Found) -> None:
        shared = self._shared
        if mount.from_ is None:
            tree = shared.context()
            source = MountSource(root=shared.context_view())
        else:
            outside = shared.outside(mount.from_)
            if isinstance(outside, Path):
                tree = stack.enter_context(_directory_tree(outside, mount.from_))
                source = MountSource(root=outside)
            else:
                tree = stack.enter_context(self._root_tree(outside, mount.from_))
                source = MountSource(layers=outside.lowerdirs)
        for match in tree.matches(mount.source or "."):
            found.inputs.update(_fingerprints(tree, match))
        found.sources[mount] = source


def step_prefix(stage: str, number: int, total: int) -> str:
    """Return ``builder 2/5``, the number as wide as the total."""
    counted = f"{number:>{len(str(total))}}/{total}"
    return f"{stage} {counted}" if stage else counted


def _fingerprints(tree: Tree, match: Match) -> Iterator[tuple[str, str]]:
    if not match.is_directory:
        yield f"file {match.written} {match.name}", tree.fingerprint(match.top)
        return
    for item in match.items:
        yield f"file {match.written.rstrip('/')}/{item.below}", tree.fingerprint(item)


@contextmanager
def _directory_tree(path: Path, name: str) -> Iterator[Tree]:
    tree = Tree(
        fd=open_directory(path, f"build context {name!r}"),
        what=f"build context {name!r}",
        keeps_owners=False,
    )
    try:
        yield tree
    finally:
        tree.close()


@contextmanager
def _located(step: Step) -> Iterator[None]:
    try:
        yield
    except BuildError as error:
        if error.span is None:
            error.span = step.span
        raise
    except DockerfileError as error:
        raise error.located(step.span) from error
