"""One build from beginning to end: parse, find what is needed, build the stages, name the image.

Each reachable stage has a thread; a stage waits for those it depends on. RUN steps share as many
slots as there are CPUs; layers are packed by two threads of their own.
"""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from imagekit.base.clock import Clock, rfc3339
from imagekit.base.events import Bill, EventSink, Notice, Outcome, StepEnded, StepStarted
from imagekit.build.context import ContextDigests, open_context, read_dockerfile, read_ignore
from imagekit.build.copying import Copier
from imagekit.build.environment import PROXY_NAMES, StageEnvironment, platform_arguments
from imagekit.build.errors import BaseImageError, BuildError
from imagekit.build.executor import Executor
from imagekit.build.operations import CopyOperation
from imagekit.build.plan import PlanInputs, StageState, plan_stage
from imagekit.build.remote import RemoteFiles
from imagekit.build.request import BuildRequest
from imagekit.build.result import BuiltLayer, LayerHandle, StageResult
from imagekit.build.rootfs import overlay_root
from imagekit.build.sources import Tree
from imagekit.build.stage import StageBuilder, StageContext, StageCounters, step_prefix
from imagekit.dockerfile.document import Dockerfile, Stage
from imagekit.dockerfile.instructions import AnyInstruction, Arg
from imagekit.dockerfile.parse import parse, parse_trigger
from imagekit.dockerfile.stages import (
    SCRATCH,
    find_target,
    global_scope,
    reachable_stages,
    resolve_base,
    stage_named,
)
from imagekit.images.commit import store_image
from imagekit.images.errors import ImageNotFoundError
from imagekit.images.local import LocalImage, LocalImages
from imagekit.images.unpack import unpack
from imagekit.oci.image_config import ContainerConfig, History, ImageConfig, chain_ids
from imagekit.oci.platform import Platform
from imagekit.sandbox.launcher import Launcher
from imagekit.store.layout import Store
from imagekit.store.leases import Lease

COMMENT = "buildkit.dockerfile.v0"
_IMAGE_CONTEXT = "docker-image://"

PullImage = Callable[[str, Platform | None], LocalImage]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """A finished build. ``steps`` counts the steps that make layers, ``cached`` those not run."""

    image: LocalImage
    names: tuple[str, ...]
    steps: int
    cached: int
    warnings: tuple[str, ...] = ()


class Builder:
    """Builds images into one store. ``pull`` fetches an image that is not there yet."""

    def __init__(
        self,
        *,
        store: Store,
        images: LocalImages,
        launcher: Callable[[], Launcher],
        pull: PullImage,
        events: EventSink,
        clock: Clock,
    ) -> None:
        self._store = store
        self._images = images
        self._launcher = launcher
        self._pull = pull
        self._events = events
        self._clock = clock

    def build(self, request: BuildRequest) -> BuildResult:
        """Build the request's target and give the result its names.

        Every finished step stays in the cache, also when a later one fails.

        Raises:
            DockerfileError, BuildError: with a span, see ``build.errors``.

        """
        if request.reproducible and request.source_date_epoch is None:
            request = replace(request, source_date_epoch=0)
        file_name, text = read_dockerfile(request)
        dockerfile = parse(text, file_name=file_name)
        with self._store.leases.hold("build") as lease, ExitStack() as stack:
            run = _Run(self, request, dockerfile, lease, stack)
            try:
                return run.build()
            except BaseException:
                run.cancel()
                raise

    # What a run needs of the builder.

    @property
    def store(self) -> Store:
        """Where everything is kept."""
        return self._store

    @property
    def events(self) -> EventSink:
        """Who is told."""
        return self._events

    @property
    def clock(self) -> Clock:
        """What time it is."""
        return self._clock

    @property
    def launcher(self) -> Callable[[], Launcher]:
        """Who starts sandboxes."""
        return self._launcher

    def base_image(self, name: str, platform: Platform | None, *, pull: bool) -> LocalImage:
        """Return the image of a FROM or --from, fetched if needed.

        Raises:
            BaseImageError: if it cannot be had.

        """
        if not pull:
            try:
                image = self._images.resolve(name)
            except ImageNotFoundError:
                pass
            else:
                if platform is None or platform.matches(image.config.platform):
                    return image
        return self._pull(name, platform)


class _Run:
    """The state of one build."""

    def __init__(
        self,
        builder: Builder,
        request: BuildRequest,
        dockerfile: Dockerfile,
        lease: Lease,
        stack: ExitStack,
    ) -> None:
        self._builder = builder
        self._request = request
        self._dockerfile = dockerfile
        self._lease = lease
        self._stack = stack
        self._lock = threading.RLock()
        self._steps = 0
        self._tree: Tree | None = None
        self._view: Path | None = None
        self._digests: dict[str, ContextDigests] = {}
        self._outside: dict[str, StageResult | Path] = {}
        self._directory: Path | None = None
        self._counters: list[StageCounters] = []
        self._remote = RemoteFiles(lambda: self._temporary_directory("fetched"))
        self._results: dict[int, Future[StageResult]] = {}
        store = builder.store
        self._executor = Executor(
            store=store,
            request=request,
            launcher=builder.launcher,
            events=builder.events,
            cancelled=threading.Event(),
            slots=threading.Semaphore(os.cpu_count() or 1),
        )
        self._packers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="pack")
        stack.callback(self._packers.shutdown, cancel_futures=True)
        target = find_target(dockerfile, request.target)
        self._target = target
        self._scope = global_scope(
            dockerfile,
            build_args=request.build_args,
            platform_args=platform_arguments(
                Platform.host(),
                request.platform or Platform.host(),
                request.target or target.name or "default",
            ),
        )

    def cancel(self) -> None:
        """Stop what runs."""
        self._executor.cancel()

    def build(self) -> BuildResult:
        """Build all reachable stages, then export the target."""
        named = frozenset(self._request.build_contexts)
        stages = reachable_stages(
            self._dockerfile, self._request.target, scope=self._scope, named_contexts=named
        )
        pool = ThreadPoolExecutor(max_workers=len(stages), thread_name_prefix="stage")
        try:
            for stage in stages:
                self._results[stage.index] = pool.submit(self._stage, stage)
            futures = list(self._results.values())
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in futures:
                if future in done and future.exception() is not None:
                    self.cancel()
                    break
            self._raise_first(futures)
        except BaseException:
            self.cancel()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        result = self._results[self._target.index].result()
        image = self._export(result)
        for digests in self._digests.values():
            digests.save()
        return BuildResult(
            image=image,
            names=self._request.tags,
            steps=sum(c.ran + c.cached for c in self._counters),
            cached=sum(c.cached for c in self._counters),
            warnings=self._warnings(),
        )

    def _raise_first(self, futures: list[Future[StageResult]]) -> None:
        """Raise the error that came first, not those of the stages it cancelled."""
        errors = [error for future in futures if (error := future.exception()) is not None]
        for error in errors:
            if "cancelled" not in str(error):
                raise error
        if errors:
            raise errors[0]

    def _warnings(self) -> tuple[str, ...]:
        declared = {
            name
            for holder in (
                *self._dockerfile.global_args,
                *(i for stage in self._dockerfile.stages for i in stage.instructions),
            )
            if isinstance(holder, Arg)
            for name, _ in holder.pairs
        }
        unused = [
            name
            for name in self._request.build_args
            if name not in declared and name.upper() not in PROXY_NAMES and name not in self._scope
        ]
        found = tuple(f"build argument {name} is not used by the Dockerfile" for name in unused)
        for warning in found:
            self._builder.events(Notice(message=warning))
        return found

    def _stage(self, stage: Stage) -> StageResult:
        base, inherited = self._base(stage)
        state = base.state.child()
        instructions: tuple[AnyInstruction, ...] = (*inherited, *stage.instructions)
        steps = plan_stage(
            stage,
            instructions,
            state,
            PlanInputs(
                dockerfile=self._dockerfile,
                build_args=self._request.build_args,
                global_args=self._scope,
                named_contexts=frozenset(self._request.build_contexts),
            ),
        )
        first = 2 if base.base is not None and not base.history else 1
        total = first - 1 + sum(1 for step in steps if step.operation is not None)
        if first == 2:
            self._tell_base(stage, base, total)
        stage_builder = StageBuilder(
            self._context(),
            replace(base, state=state),
            name=stage.display_name,
            place=self._place(stage),
            no_cache=self._request.no_cache or stage.name in self._request.no_cache_stages,
        )
        self._counters.append(stage_builder.counters)
        return stage_builder.build(steps, first=first, total=total)

    def _place(self, stage: Stage) -> str:
        name = stage.name or f"stage-{stage.index}"
        return f"{self._request.context}:{self._dockerfile.file_name}:{name}"

    def _tell_base(self, stage: Stage, base: StageResult, total: int) -> None:
        assert base.base is not None
        label = f"[{step_prefix(stage.display_name, 1, total)}] FROM {stage.base.image}"
        step = self._next_step()
        self._builder.events(StepStarted(step=step, label=label))
        self._builder.events(
            StepEnded(step=step, label=label, outcome=Outcome.CACHED, bill=Bill(wall_s=0.0))
        )

    def _base(self, stage: Stage) -> tuple[StageResult, tuple[AnyInstruction, ...]]:
        """Return what a stage starts from, and the ONBUILD triggers that it runs into."""
        base = resolve_base(self._dockerfile, stage, self._scope)
        if base.stage is not None and base.stage.name not in self._request.build_contexts:
            result = self._results[base.stage.index].result()
            on_build = result.state.config.on_build or ()
        else:
            name = base.image or (base.stage.name if base.stage else None) or ""
            platform = Platform.parse(base.platform) if base.platform else self._request.platform
            result = self._from_image(name, platform, stage)
            on_build = result.state.config.on_build or ()
        triggers = tuple(parse_trigger(text, span=stage.base.span) for text in on_build)
        return result, triggers

    def _from_image(self, name: str, platform: Platform | None, stage: Stage) -> StageResult:
        context = self._request.build_contexts.get(name)
        if context is not None:
            if not context.startswith(_IMAGE_CONTEXT):
                raise BaseImageError(
                    f"build context {name!r} is a directory and cannot follow FROM",
                    span=stage.base.span,
                    hint="Use COPY --from for directories, or docker-image:// for an image.",
                )
            name = context.removeprefix(_IMAGE_CONTEXT)
        if name == SCRATCH:
            return self._scratch()
        try:
            return self._image_result(name, platform)
        except BuildError as error:
            error.span = error.span or stage.base.span
            raise

    def _scratch(self) -> StageResult:
        environment = StageEnvironment.from_image((), escape=self._escape)
        config = ContainerConfig(working_dir="/", env=environment.image_env())
        state = StageState(config=config, environment=environment)
        return StageResult(base=None, layers=(), history=(), state=state)

    def _image_result(self, name: str, platform: Platform | None) -> StageResult:
        try:
            image = self._builder.base_image(name, platform, pull=self._request.pull)
        except ImageNotFoundError as error:
            raise BaseImageError(f"{name}: {error.message}", hint=error.hint) from error
        store = self._builder.store
        unpack(store, image, lease=self._lease)
        chains = chain_ids(image.config.diff_ids)
        layers = []
        for chain_id, diff_id, descriptor in zip(
            chains, image.config.diff_ids, image.manifest.layers, strict=True
        ):
            snapshot = store.snapshots.get(chain_id)
            assert snapshot is not None
            layers.append(
                LayerHandle.ready(
                    snapshot.fs,
                    BuiltLayer(
                        chain_id=chain_id,
                        diff_id=diff_id,
                        descriptor=descriptor,
                        created=snapshot.created,
                    ),
                )
            )
        environment = StageEnvironment.from_image(
            image.config.config.env or (), escape=self._escape
        )
        state = StageState(
            config=image.config.config, environment=environment, author=image.config.author
        )
        return StageResult(
            base=image,
            layers=tuple(layers),
            history=(),
            state=state,
            base_history=image.config.history,
        )

    @property
    def _escape(self) -> str:
        return self._dockerfile.directives.escape

    # What the steps ask for.

    def _context(self) -> StageContext:
        return StageContext(
            store=self._builder.store,
            lease=self._lease,
            request=self._request,
            events=self._builder.events,
            clock=self._builder.clock,
            executor=self._executor,
            packers=self._packers,
            remote=self._remote,
            context=self._open_context,
            context_view=self._context_view,
            digests=self._digests_of,
            stage_result=lambda index: self._results[index].result(),
            outside=self._from_outside,
            escape=self._escape,
            empty_directory=lambda: self._temporary_directory("empty"),
            next_step=self._next_step,
        )

    def _next_step(self) -> int:
        with self._lock:
            self._steps += 1
            return self._steps

    def _open_context(self) -> Tree:
        with self._lock:
            if self._tree is None:
                path = self._request.context
                self._tree = open_context(
                    path, read_ignore(self._request), self._digests_of(str(path.resolve()))
                )
                self._stack.callback(self._tree.close)
            return self._tree

    def _context_view(self) -> Path:
        """Return a directory with what .dockerignore leaves of the context, for RUN mounts."""
        tree = self._open_context()
        if tree.ignore is None:
            return self._request.context
        with self._lock:
            if self._view is None:
                view = self._temporary_directory("context")
                operation = CopyOperation(sources=(".",), documents=(), destination="/")
                with overlay_root((), view, view) as root:
                    copier = Copier.prepare(root, operation)
                    copier.copy(tree, tree.matches("."))
                    copier.inside.close()
                self._view = view
            return self._view

    def _digests_of(self, context: str) -> ContextDigests:
        with self._lock:
            found = self._digests.get(context)
            if found is None:
                found = ContextDigests(self._builder.store.stat_cache, context)
                self._digests[context] = found
            return found

    def _from_outside(self, name: str) -> StageResult | Path:
        """Return what a name that is no earlier stage stands for: a context or an image."""
        with self._lock:
            found = self._outside.get(name)
            if found is None:
                found = self._outside[name] = self._find_outside(name)
            return found

    def _find_outside(self, name: str) -> StageResult | Path:
        context = self._request.build_contexts.get(name)
        if context is None:
            stage = stage_named(self._dockerfile, name)
            if stage is not None and stage.index in self._results:
                return self._results[stage.index].result()
            return self._image_result(name, self._request.platform)
        if context.startswith(_IMAGE_CONTEXT):
            return self._image_result(context.removeprefix(_IMAGE_CONTEXT), self._request.platform)
        return Path(context.removeprefix("local:"))

    def _temporary_directory(self, name: str) -> Path:
        with self._lock:
            if self._directory is None:
                self._directory = self._stack.enter_context(
                    self._builder.store.temporary_directory("build")
                )
            path = self._directory / name
            path.mkdir(exist_ok=True)
            return path

    # The image.

    def _export(self, result: StageResult) -> LocalImage:
        built = [layer.built.result() for layer in result.layers]
        state = result.state
        base = result.base.config if result.base is not None else None
        epoch = self._request.source_date_epoch
        history = self._history(result)
        labels = {**(state.config.labels or {}), **self._request.labels}
        config = msgspec.structs.replace(
            state.config, labels=labels or None, env=state.environment.image_env()
        )
        created = history[-1].created if history else self._now(epoch)
        image_config = ImageConfig(
            platform=base.platform if base else self._request.platform or Platform.host(),
            config=config,
            diff_ids=tuple(layer.diff_id for layer in built),
            history=(*result.base_history, *history),
            created=created,
            author=state.author,
        )
        return store_image(
            self._builder.store,
            image_config,
            [layer.descriptor for layer in built],
            lease=self._lease,
            names=self._request.tags,
        )

    def _now(self, epoch: int | None) -> str:
        if epoch is not None:
            return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))
        return rfc3339(self._builder.clock.now())

    def _history(self, result: StageResult) -> list[History]:
        """Return the new history: layers at the time they were made, the rest with the one before.

        Steps before the first new layer take that layer's time, so that a build that is all cached
        gives the same bytes again.
        """
        epoch = self._request.source_date_epoch
        times = [
            rfc3339(line.layer.built.result().created)
            for line in result.history
            if line.layer is not None
        ]
        current = self._first_time(result, times)
        lines = []
        for line in result.history:
            if line.layer is not None:
                current = rfc3339(line.layer.built.result().created)
            lines.append(
                History(
                    created=self._now(epoch) if epoch is not None else current,
                    created_by=line.created_by,
                    comment=COMMENT,
                    empty_layer=line.layer is None,
                )
            )
        return lines

    def _first_time(self, result: StageResult, times: list[str]) -> str:
        if times:
            return times[0]
        if result.base is not None and result.base.config.created:
            return result.base.config.created
        return self._now(None)
