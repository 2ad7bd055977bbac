"""One build from beginning to end: parse, find what is needed, build the stages, name the image.

Each reachable stage has a thread; a stage waits for those it depends on. RUN steps share as many
slots as there are CPUs; as many layers are packed at once.
"""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from imagekit.base.clock import Clock
from imagekit.base.errors import ImagekitError
from imagekit.base.events import Bill, EventSink, Notice, Outcome, StepEnded, StepStarted
from imagekit.base.promise import Promise
from imagekit.build.bases import Bases, PullImage
from imagekit.build.context import ContextDigests, open_context, read_dockerfile, read_ignore
from imagekit.build.environment import PROXY_NAMES, platform_arguments
from imagekit.build.errors import BuildError, BuildHostError, located
from imagekit.build.export import export
from imagekit.build.operations import CopyOperation
from imagekit.build.plan import PlanInputs, plan_stage
from imagekit.build.remote import RemoteFiles
from imagekit.build.request import BuildRequest
from imagekit.build.result import StageResult
from imagekit.build.shared import Packers, StageContext
from imagekit.build.sources import Tree
from imagekit.build.stage import StageBuilder, StageCounters, step_prefix
from imagekit.dockerfile.document import Dockerfile, Stage
from imagekit.dockerfile.instructions import AnyInstruction, Arg
from imagekit.dockerfile.parse import parse, parse_trigger
from imagekit.dockerfile.stages import (
    find_target,
    global_scope,
    instruction_dependencies,
    reachable_stages,
    resolve_base,
    stage_named,
)
from imagekit.images.local import LocalImage, LocalImages
from imagekit.linux.cpus import usable_cpus
from imagekit.oci.platform import Platform
from imagekit.oci.reference import Reference
from imagekit.store.layout import Store
from imagekit.store.leases import Lease

if TYPE_CHECKING:
    # The sandbox is loaded only when a step has to run.
    from imagekit.build.executor import Executor
    from imagekit.layers.limits import Limits
    from imagekit.sandbox.launcher import Launcher

EPOCH_ARGUMENT = "SOURCE_DATE_EPOCH"
_CHECK_ARGUMENT = "BUILDKIT_DOCKERFILE_CHECK"


class BuildResult(msgspec.Struct, frozen=True, kw_only=True):
    """A finished build. ``steps`` counts the steps that make layers, ``cached`` those not run."""

    image: LocalImage
    names: tuple[str, ...]
    steps: int
    cached: int
    warnings: tuple[str, ...] = ()


class _Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What a builder was given."""

    store: Store
    images: LocalImages
    launcher: "Callable[[], Launcher]"
    pull: PullImage
    events: EventSink
    clock: Clock
    limits: "Callable[[], Limits] | None"


class Builder:
    """Builds images into one store. ``pull`` fetches an image that is not there yet.

    ``limits`` returns what an archive may unpack to; it is asked only when one is unpacked.
    """

    def __init__(
        self,
        *,
        store: Store,
        images: LocalImages,
        launcher: "Callable[[], Launcher]",
        pull: PullImage,
        events: EventSink,
        clock: Clock,
        limits: "Callable[[], Limits] | None" = None,
    ) -> None:
        self._parts = _Parts(
            store=store,
            images=images,
            launcher=launcher,
            pull=pull,
            events=events,
            clock=clock,
            limits=limits,
        )

    def build(self, request: BuildRequest) -> BuildResult:
        """Build the request's target and give the result its names.

        Every finished step stays in the cache, also when a later one fails.

        Raises:
            ImagekitError: with an attribute ``span`` if there is a place in the Dockerfile to
                blame, see ``build.errors``.

        """
        for name in request.tags:
            Reference.parse(name)  # a wrong name should not be found out after an hour of building
        file_name, text = read_dockerfile(request)
        dockerfile = parse(text, file_name=file_name)
        if dockerfile.directives.check is not None or _CHECK_ARGUMENT in request.build_args:
            self._refuse_findings(request, dockerfile)
        request = _with_epoch(request, dockerfile)
        with self._parts.store.leases.hold("build") as lease, ExitStack() as stack:
            return _Run(self._parts, request, dockerfile, lease, stack).build()

    def _refuse_findings(self, request: BuildRequest, dockerfile: Dockerfile) -> None:
        """Run the build checks if they are to end the build."""
        from imagekit.dockerfile.lint.options import check_options

        if check_options(dockerfile.text, request.build_args).is_error:
            from imagekit.build.checking import refuse_findings

            refuse_findings(request, self._parts.images, self._parts.pull)


class _Run:
    """The state of one build."""

    def __init__(
        self,
        parts: _Parts,
        request: BuildRequest,
        dockerfile: Dockerfile,
        lease: Lease,
        stack: ExitStack,
    ) -> None:
        self._parts = parts
        self._request = request
        self._dockerfile = dockerfile
        self._lease = lease
        self._stack = stack
        self._lock = threading.RLock()
        self._steps = 0
        self._tree: Tree | None = None
        self._view: Path | None = None
        self._digests: dict[str, ContextDigests] = {}
        self._directory: Path | None = None
        self._counters: list[StageCounters] = []
        self._results: dict[int, Promise[StageResult]] = {}
        self._failure: BaseException | None = None
        self._escape = dockerfile.directives.escape
        self._bases = Bases(
            store=parts.store,
            images=parts.images,
            pull=parts.pull,
            request=request,
            lease=lease,
            escape=self._escape,
            stage_names=tuple(stage.name for stage in dockerfile.stages if stage.name),
            limits=parts.limits,
        )
        self._cancelled = threading.Event()
        self._slots = threading.Semaphore(usable_cpus())
        self._made_executor: Executor | None = None
        self._packers = Packers()
        stack.callback(self._packers.shutdown)
        self._threads: list[threading.Thread] = []
        self._target = find_target(dockerfile, request.target)
        host = Platform.host()
        self._scope = global_scope(
            dockerfile,
            build_args=request.build_args,
            platform_args=platform_arguments(
                host, request.platform or host, request.target or self._target.name or "default"
            ),
        )
        self._context = self._stage_context()

    def cancel(self) -> None:
        """Stop what runs, and let nothing else start."""
        self._cancelled.set()
        with self._lock:
            if self._made_executor is not None:
                self._made_executor.cancel()

    def _executor(self) -> "Executor":
        """Return what carries out steps; made, with all that it loads, for the first of them."""
        with self._lock:
            if self._made_executor is None:
                from imagekit.build.executor import Executor

                self._made_executor = Executor(
                    store=self._parts.store,
                    request=self._request,
                    launcher=self._parts.launcher,
                    events=self._parts.events,
                    cancelled=self._cancelled,
                    slots=self._slots,
                    limits=self._parts.limits() if self._parts.limits else None,
                )
            return self._made_executor

    def build(self) -> BuildResult:
        """Build all reachable stages, then export the target."""
        stages = reachable_stages(
            self._dockerfile,
            self._request.target,
            scope=self._scope,
            named_contexts=frozenset(self._request.build_contexts),
        )
        try:
            for begun in [self._begin(one) for one in stages if not self._is_replaced(one)]:
                begun.wait()
        except BaseException:
            self.cancel()
            raise
        finally:
            for thread in self._threads:
                thread.join()
        if self._failure is not None:
            raise self._failure
        image = export(
            self._parts.store,
            self._result(self._target.index),
            self._request,
            lease=self._lease,
            clock=self._parts.clock,
        )
        for digests in self._digests.values():
            digests.save()
        return BuildResult(
            image=image,
            names=self._request.tags,
            steps=sum(c.ran + c.cached for c in self._counters),
            cached=sum(c.cached for c in self._counters),
            warnings=self._warnings(),
        )

    def _begin(self, stage: Stage) -> Promise[StageResult]:
        """Begin a stage unless it has been begun. Triggers of a base image may need one late."""
        with self._lock:
            promise = self._results.get(stage.index)
            if promise is None:
                promise = self._results[stage.index] = Promise()
                thread = threading.Thread(
                    target=self._stage, args=(stage, promise), name=f"stage {stage.index}"
                )
                try:
                    thread.start()
                except RuntimeError as error:  # who waits must hear of it
                    failure = BuildHostError(
                        f"build stage {stage.display_name}: {error}",
                        span=stage.base.span,
                        hint="Raise the limit on processes (ulimit -u, pids.max).",
                    )
                    self._failure = self._failure or failure
                    promise.set_exception(failure)
                else:
                    self._threads.append(thread)
            return promise

    def _result(self, index: int) -> StageResult:
        return self._begin(self._dockerfile.stages[index]).result()

    def _result_by_name(self, name: str) -> StageResult | None:
        stage = stage_named(self._dockerfile, name)
        return None if stage is None else self._result(stage.index)

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
            if name not in declared
            and name not in self._scope
            and name != EPOCH_ARGUMENT
            and not name.startswith("BUILDKIT_")
            and name.upper() not in PROXY_NAMES
        ]
        found = tuple(f"build argument {name} is not used by the Dockerfile" for name in unused)
        for warning in found:
            self._parts.events(Notice(message=warning))
        return found

    def _stage(self, stage: Stage, promise: Promise[StageResult]) -> None:
        try:
            with located(stage.base.span, f"prepare stage {stage.display_name}"):
                result = self._build_stage(stage)
        except BaseException as error:  # noqa: BLE001  it is raised for who waits
            # The first failure is the one to tell; the others follow from it.
            with self._lock:
                if self._failure is None:
                    self._failure = error
            self.cancel()
            promise.set_exception(error)
        else:
            promise.set_result(result)

    def _is_replaced(self, stage: Stage) -> bool:
        return stage.name is not None and stage.name in self._request.build_contexts

    def _build_stage(self, stage: Stage) -> StageResult:
        if stage.name is not None and self._is_replaced(stage):
            return self._bases.start(stage.name, self._request.platform)
        base, triggers = self._base(stage)
        state = base.state.child()
        instructions: tuple[AnyInstruction, ...] = (*triggers, *stage.instructions)
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
        first = 2 if base.is_image else 1
        total = first - 1 + sum(1 for step in steps if step.operation is not None)
        if base.is_image:
            self._tell_base(stage, total)
        no_cache_stages = {name.lower() for name in self._request.no_cache_stages}
        stage_builder = StageBuilder(
            self._context,
            replace(base, state=state, is_image=False),
            name=stage.display_name,
            place=self._place(stage),
            no_cache=self._request.no_cache or stage.name in no_cache_stages,
        )
        self._counters.append(stage_builder.counters)
        return stage_builder.build(steps, first=first, total=total)

    def _place(self, stage: Stage) -> str:
        name = stage.name or f"stage-{stage.index}"
        return f"{self._request.context}:{self._dockerfile.file_name}:{name}"

    def _tell_base(self, stage: Stage, total: int) -> None:
        label = f"[{step_prefix(stage.display_name, 1, total)}] FROM {stage.base.image}"
        step = self._next_step()
        self._parts.events(StepStarted(step=step, label=label))
        self._parts.events(
            StepEnded(step=step, label=label, outcome=Outcome.CACHED, bill=Bill(wall_s=0.0))
        )

    def _base(self, stage: Stage) -> tuple[StageResult, tuple[AnyInstruction, ...]]:
        """Return what a stage starts from, and the ONBUILD triggers that it runs first."""
        contexts = self._request.build_contexts
        base = resolve_base(self._dockerfile, stage, self._scope)
        if base.stage is not None:
            result = self._result(base.stage.index)
        else:
            result = self._bases.start(base.image or "", self._platform(base.platform))
        triggers = tuple(
            parse_trigger(text, span=stage.base.span) for text in result.state.config.on_build or ()
        )
        if result.is_image:  # those of a stage have been checked with the whole file
            for needed in instruction_dependencies(self._dockerfile, stage, triggers):
                if needed.stage is not None and needed.reference not in contexts:
                    self._begin(needed.stage)
        return result, triggers

    def _platform(self, text: str | None) -> Platform | None:
        if text is None:
            return self._request.platform
        try:
            return Platform.parse(text)
        except ImagekitError as error:
            raise BuildError(
                f"failed to parse platform {text}: {error.message}", hint=error.hint
            ) from error

    # What the steps ask for.

    def _stage_context(self) -> StageContext:
        parts = self._parts
        return StageContext(
            store=parts.store,
            lease=self._lease,
            request=self._request,
            events=parts.events,
            clock=parts.clock,
            cancelled=self._cancelled,
            executor=self._executor,
            packers=self._packers,
            remote=RemoteFiles(lambda: self._temporary_directory("fetched")),
            context=self._open_context,
            context_view=self._context_view,
            digests=self._digests_of,
            stage_result=self._result,
            outside=lambda name: self._bases.outside(name, self._result_by_name),
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
                from imagekit.build.copying import Copier
                from imagekit.build.rootfs import overlay_root

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
                found = ContextDigests(
                    self._parts.store.stat_cache,
                    context,
                    is_constant=context.startswith("chain "),
                )
                self._digests[context] = found
            return found

    def _temporary_directory(self, name: str) -> Path:
        with self._lock:
            if self._directory is None:
                self._directory = self._stack.enter_context(
                    self._parts.store.temporary_directory("build")
                )
            path = self._directory / name
            path.mkdir(exist_ok=True)
            return path


def _with_epoch(request: BuildRequest, dockerfile: Dockerfile) -> BuildRequest:
    """Return the request with SOURCE_DATE_EPOCH settled, and visible to ARG SOURCE_DATE_EPOCH.

    In order: the request's own field, the build argument, a global ARG's default, and 0 for
    ``reproducible``.

    Raises:
        BuildError: if it is not a number of seconds.

    """
    epoch = request.source_date_epoch
    if epoch is None:
        defaults = [
            default
            for arg in dockerfile.global_args
            for name, default in arg.pairs
            if name == EPOCH_ARGUMENT and default is not None
        ]
        text = request.build_args.get(EPOCH_ARGUMENT, defaults[-1] if defaults else "")
        if text:
            if not (text.isascii() and text.isdecimal() and int(text) < 1 << 33):
                raise BuildError(
                    f"invalid SOURCE_DATE_EPOCH: {text}", hint="Give seconds since 1970."
                )
            epoch = int(text)
        elif request.reproducible:
            epoch = 0
    if epoch is None:
        return request
    build_args = {**request.build_args, EPOCH_ARGUMENT: str(epoch)}
    return replace(request, source_date_epoch=epoch, build_args=build_args)
