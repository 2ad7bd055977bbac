"""What the stages of one build share: store, request, pools, and each other's results."""

import threading
from collections.abc import Callable
from concurrent.futures import Executor as ThreadPool
from concurrent.futures import Future
from pathlib import Path

import msgspec

from imagekit.base.clock import Clock
from imagekit.base.events import EventSink
from imagekit.build.context import ContextDigests
from imagekit.build.executor import Executor
from imagekit.build.remote import RemoteFiles
from imagekit.build.request import BuildRequest
from imagekit.build.result import LayerHandle, StageResult
from imagekit.build.sources import Tree
from imagekit.store.layout import Store
from imagekit.store.leases import Lease

StepKey = tuple[str, str, bool]


class Claims(msgspec.Struct):
    """Steps of this build that are being carried out; equal ones of other stages wait for them."""

    _steps: dict[StepKey, Future[LayerHandle]] = msgspec.field(default_factory=dict)
    _lock: threading.Lock = msgspec.field(default_factory=threading.Lock)

    def claim(self, key: StepKey) -> tuple[Future[LayerHandle], bool]:
        """Return the future of a step, and whether the caller is the one who has to fulfil it."""
        with self._lock:
            found = self._steps.get(key)
            if found is not None:
                return found, False
            future: Future[LayerHandle] = Future()
            self._steps[key] = future
            return future, True


class StageContext(msgspec.Struct, kw_only=True):
    """What the steps of all stages of a build share.

    ``stage_result`` waits for a stage; ``outside`` finds what a name that is no stage stands for.
    """

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
    claims: Claims = msgspec.field(default_factory=Claims)
