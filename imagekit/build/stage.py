"""Building one stage: for each step a key, a look-up, and, if that fails, the work.

A step that ran is packed in the background while the next one runs. Its chain id is known only
then; the next step waits for it only if its own operation has a cache record at all.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from imagekit.base.events import Bill, Notice, Outcome, StepEnded, StepStarted
from imagekit.build.cachekey import cache_key, explain_miss, operation_digest, printable
from imagekit.build.errors import located
from imagekit.build.inputs import Found, InputFinder
from imagekit.build.operations import CopyOperation, Operation, RunOperation, Step, WorkdirOperation
from imagekit.build.result import BuiltLayer, HistoryLine, LayerHandle, StageResult
from imagekit.build.shared import StageContext
from imagekit.dockerfile.errors import Span
from imagekit.oci.descriptor import Descriptor
from imagekit.oci.digest import Digest
from imagekit.oci.image_config import next_chain_id
from imagekit.oci.mediatype import layer_media_type
from imagekit.store.cache_records import CacheRecord
from imagekit.store.snapshots import Snapshot

if TYPE_CHECKING:
    from imagekit.images.commit import StoredLayer

PARENT_INPUT = "@parent"


class StageCounters(msgspec.Struct):
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
        self._inputs = InputFinder(shared)
        self._span: Span | None = None
        self.counters = StageCounters()

    def build(self, steps: Sequence[Step], *, first: int, total: int) -> StageResult:
        """Carry out the steps; ``first`` of ``total`` is the number of the first one with a layer.

        Raises:
            ImagekitError: with the span of the step.

        """
        number = first
        for step in steps:
            if step.operation is None:
                if step.created_by is not None:
                    self._history.append(HistoryLine(created_by=step.created_by, layer=None))
                continue
            label = f"[{step_prefix(self._name, number, total)}] {step.text}"
            self._span = step.span
            with located(step.span, f"carry out {step.text.partition(' ')[0]}"):
                layer = self._build_step(step.operation, label, number)
            number += 1
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
        self._inputs.wait(operation)  # before the clock of this step starts
        shared.check_cancelled()
        identifier = shared.next_step()
        started = time.monotonic()
        shared.events(StepStarted(step=identifier, label=label))
        try:
            with ExitStack() as stack:
                layer, reason, bill = self._shared_or_own(stack, identifier, operation, number)
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

    def _shared_or_own(
        self, stack: ExitStack, identifier: int, operation: Operation, number: int
    ) -> tuple[LayerHandle, str, Bill]:
        """Take the layer of an equal step of another stage, or make it."""
        found = self._inputs.look_up(stack, operation)
        digest = operation_digest(found.inputs)
        parent = str(self._layers[-1].fs) if self._layers else ""
        promise, is_ours = self._shared.claims.claim((parent, digest, self._no_cache))
        if not is_ours:
            layer = promise.result()
            self.counters.cached += 1
            return layer, "", Bill()
        try:
            layer, reason, bill = self._cached_or_run(identifier, operation, found, digest, number)
        except BaseException as error:
            promise.set_exception(error)
            raise
        promise.set_result(layer)
        return layer, reason, bill

    def _cached_or_run(
        self, identifier: int, operation: Operation, found: Found, digest: str, number: int
    ) -> tuple[LayerHandle, str, Bill]:
        place = f"{self._place}:{number}"
        if not self._no_cache:
            layer = self._cached(digest)
            if layer is not None:
                self.counters.cached += 1
                return layer, "", Bill()
        reason = "the cache is off" if self._no_cache else self._explain(place, found.inputs)
        lowerdirs = tuple(layer.fs for layer in reversed(self._layers))
        snapshot = self._shared.store.snapshots.prepare(self._shared.lease)
        bill, changed = self._execute(identifier, operation, found, snapshot, lowerdirs)
        self.counters.ran += 1
        record = CacheRecord(
            key="",
            operation=digest,
            step=place,
            inputs={printable(name): printable(value) for name, value in found.inputs.items()},
            bill={"cpu_s": bill.cpu_s, "peak_memory_bytes": bill.peak_memory_bytes},
        )
        if changed:
            # What was copied is not what the key says, so no later build may find it.
            self._shared.events(
                Notice(message=f"{changed[0]} was changed during the build; its step is not cached")
            )
        span, parent = self._span, self._layers[-1] if self._layers else None
        built = self._shared.packers.submit(
            lambda: self._pack(span, snapshot, parent, lowerdirs, None if changed else record)
        )
        return LayerHandle(fs=snapshot.fs, built=built), reason, bill

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
        record = store.cache.result(key)
        if record is None:
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

    def _store_layer(self, fs: Path, lowerdirs: tuple[Path, ...]) -> "StoredLayer":
        from imagekit.images.commit import store_layer
        from imagekit.layers.diff import overlay_changes

        shared = self._shared
        return store_layer(
            shared.store,
            overlay_changes(fs, lowerdirs),
            lease=shared.lease,
            compression=shared.request.compression,
            clamp_mtime=shared.request.source_date_epoch,
        )

    def _explain(self, place: str, inputs: Mapping[str, str]) -> str:
        inputs = {printable(name): printable(value) for name, value in inputs.items()}
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
        span: Span | None,
        snapshot: Snapshot,
        parent: LayerHandle | None,
        lowerdirs: tuple[Path, ...],
        record: CacheRecord | None,
    ) -> BuiltLayer:
        store = self._shared.store
        with located(span, "store the layer"):
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
        if record is not None:
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
    ) -> tuple[Bill, Sequence[str]]:
        """Fill the snapshot; return the bill and the sources that changed meanwhile."""
        from imagekit.layers.overlay import check_depth

        check_depth(len(lowerdirs) + 1, "with this step the image has")
        executor = self._shared.executor()
        match operation:
            case WorkdirOperation():
                executor.workdir(operation, snapshot, lowerdirs)
                return Bill(), ()
            case CopyOperation():
                fetched = self._shared.remote.files(operation)
                changed = executor.copy(
                    operation, found.tree, found.matches, fetched, snapshot, lowerdirs
                )
                return Bill(), changed
            case RunOperation():
                bill = executor.run(
                    identifier,
                    operation,
                    found.mounts,
                    found.sources,
                    snapshot,
                    lowerdirs,
                    fresh_caches=self._no_cache,
                )
                return bill, ()


def step_prefix(stage: str, number: int, total: int) -> str:
    """Return ``builder 2/5``, the number as wide as the total."""
    counted = f"{number:>{len(str(total))}}/{total}"
    return f"{stage} {counted}" if stage else counted
