"""What the stages of one build share: store, request, pools, and each other's results."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from imagekit.base.clock import Clock
from imagekit.base.events import EventSink
from imagekit.base.promise import Pending, Promise
from imagekit.build.context import ContextDigests
from imagekit.build.errors import check_cancelled
from imagekit.build.remote import RemoteFiles
from imagekit.build.request import BuildRequest
from imagekit.build.result import BuiltLayer, LayerHandle, StageResult
from imagekit.build.sources import Tree
from imagekit.store.layout import Store
from imagekit.store.leases import Lease

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from imagekit.build.executor import Executor  # loads the sandbox: not for a cached build

StepKey = tuple[str, str, bool]


class Claims(msgspec.Struct):
    """Steps of this build that are being carried out; equal ones of other stages wait for them."""

    _steps: dict[StepKey, Promise[LayerHandle]] = msgspec.field(default_factory=dict)
    _lock: threading.Lock = msgspec.field(default_factory=threading.Lock)

    def claim(self, key: StepKey) -> tuple[Promise[LayerHandle], bool]:
        """Return the promise of a step, and whether the caller is the one who has to fulfil it."""
        with self._lock:
            found = self._steps.get(key)
            if found is not None:
                return found, False
            promise: Promise[LayerHandle] = Promise()
            self._steps[key] = promise
            return promise, True


class Packers:
    """Threads that pack layers, one for each processor, made when there is the first to pack."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    def submit(self, pack: "Callable[[], BuiltLayer]") -> "Pending[BuiltLayer]":
        """Have a layer packed."""
        from concurrent.futures import ThreadPoolExecutor  # late: see base.promise

        from imagekit.layers.pack import layers_at_once

        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(layers_at_once(), thread_name_prefix="pack")
            return self._pool.submit(pack)

    def shutdown(self) -> None:
        """Finish what has begun or waits: it is in the cache next time, also when a step fails."""
        if self._pool is not None:
            self._pool.shutdown()


class StageContext(msgspec.Struct, kw_only=True):
    """What the steps of all stages of a build share.

    ``stage_result`` waits for a stage; ``outside`` finds what a name that is no stage stands for.
    """

    store: Store
    lease: Lease
    request: BuildRequest
    events: EventSink
    clock: Clock
    cancelled: threading.Event
    executor: "Callable[[], Executor]"
    packers: "Packers"
    remote: RemoteFiles
    context: Callable[[], Tree]
    context_view: Callable[[], Path]
    digests: Callable[[str], ContextDigests]
    stage_result: Callable[[int], StageResult]
    outside: Callable[[str], StageResult | Path]
    escape: str
    empty_directory: Callable[[], Path]
    next_step: Callable[[], int]
    claims: Claims = msgspec.field(default_factory=Claims)

    def check_cancelled(self) -> None:
        """Raise BuildCancelledError once the build has failed elsewhere."""
        check_cancelled(self.cancelled)
