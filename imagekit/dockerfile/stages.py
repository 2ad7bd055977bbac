"""What a stage needs: the scope of global arguments, stage references, reachability.

Source: Dockerfile reference, "FROM"; BuildKit frontend/dockerfile/dockerfile2llb/convert.go.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping

import msgspec

from imagekit.dockerfile.document import Dockerfile, Stage
from imagekit.dockerfile.errors import DockerfileError, Span, StageError
from imagekit.dockerfile.instructions import AnyInstruction, Copy, OnBuild, Run
from imagekit.dockerfile.mount_fields import mount_source, mount_target
from imagekit.dockerfile.parse import parse_trigger
from imagekit.dockerfile.quoting import go_quote
from imagekit.dockerfile.words import expand

SCRATCH = "scratch"
"""The base that is nothing."""


class Base(msgspec.Struct, frozen=True, kw_only=True):
    """What a stage starts from: another ``stage``, or an ``image`` (``scratch`` included).

    Exactly one of the two is set. ``platform`` is the expanded ``--platform``; None when there is
    none, and when the base is a stage, whose platform is inherited.
    """

    stage: Stage | None = None
    image: str | None = None
    platform: str | None = None


class Dependency(msgspec.Struct, frozen=True, kw_only=True):
    """A source of files that ``instruction`` names: a ``stage``, else an image or named context.

    ``reference`` is the name as written; ``mount_target`` is set for a mount.
    """

    reference: str
    stage: Stage | None
    instruction: AnyInstruction
    mount_target: str | None = None


def global_scope(
    dockerfile: Dockerfile,
    *,
    build_args: Mapping[str, str],
    platform_args: Mapping[str, str],
) -> dict[str, str]:
    """Return the variables that FROM lines see, and that ``ARG NAME`` re-declares in a stage.

    ``platform_args`` are TARGETPLATFORM and its like; a build argument of the same name wins.

    Raises:
        ExpansionError: the default of a global ARG cannot be expanded.
    """
    scope = {name: build_args.get(name, value) for name, value in platform_args.items()}
    for arg in dockerfile.global_args:
        for name, default in arg.pairs:
            if name in build_args:
                scope[name] = build_args[name]
            elif default is not None:
                scope[name] = _expanded(default, scope, dockerfile, arg.span)
    return scope


def find_target(dockerfile: Dockerfile, target: str | None) -> Stage:
    """Return the stage called ``target`` in any case, the last one for None or "".

    Raises:
        StageError: there is no such stage.
    """
    if not target:
        return dockerfile.stages[-1]
    stage = stage_named(dockerfile, target)
    if stage is not None:
        return stage
    from imagekit.dockerfile.suggestions import did_you_mean

    names = [stage.name for stage in dockerfile.stages if stage.name]
    raise StageError(
        f"target stage {go_quote(target)} could not be found{did_you_mean(target, names)}",
        hint=f"Choose one of: {', '.join(names)}." if names else "Name a stage with FROM ... AS.",
    )


def stage_named(dockerfile: Dockerfile, name: str) -> Stage | None:
    """Return the last stage called ``name``, in any case."""
    wanted = name.lower()
    return next((stage for stage in reversed(dockerfile.stages) if stage.name == wanted), None)


def resolve_base(dockerfile: Dockerfile, stage: Stage, scope: Mapping[str, str]) -> Base:
    """Return what ``stage`` starts from; ``scope`` comes from ``global_scope``.

    Only an earlier stage can be a base, and only by its lower-case name.

    Raises:
        StageError: the base or the platform is blank.
        ExpansionError: one of them cannot be expanded.
    """
    base = stage.base
    image = _expanded(base.image, scope, dockerfile, base.span)
    if not image:
        raise StageError(
            f"base name ({base.image}) should not be blank",
            span=base.span,
            hint="Give the ARG before the first FROM a default, or pass it with --build-arg.",
        )
    platform: str | None = None
    if base.platform:
        platform = _expanded(base.platform, scope, dockerfile, base.span)
        if not platform:
            raise StageError(
                f"empty platform value from expression {base.platform}",
                span=base.span,
                hint="Give the ARG before the first FROM a default, or leave --platform out.",
            )
    for earlier in reversed(dockerfile.stages[: stage.index]):
        if earlier.name == image:
            return Base(stage=earlier)
    return Base(image=image, platform=platform)


def resolve_copy_source(dockerfile: Dockerfile, reference: str, *, span: Span) -> Stage | None:
    """Return the stage that ``COPY --from`` names or numbers; None for an image or named context.

    Raises:
        StageError: a stage number is out of range, or there is a variable in the name.
    """
    if "$" in reference[:-1]:
        raise StageError(
            "variable expansion is not supported for --from, define a new stage with FROM using "
            "ARG from global scope as a workaround",
            span=span,
        )
    sign = reference[:1] if reference[:1] in ("+", "-") else ""
    digits = reference[len(sign) :]
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > 18:
        return stage_named(dockerfile, reference)
    index = int(reference)
    if not 0 <= index < len(dockerfile.stages):
        raise StageError(f"invalid stage index {index}", span=span)
    return dockerfile.stages[index]


def instruction_dependencies(
    dockerfile: Dockerfile, stage: Stage, instructions: Iterable[AnyInstruction]
) -> tuple[Dependency, ...]:
    """Return what ``instructions`` of ``stage`` take files from, in order.

    Also for the triggers of a base image, which are known only when its configuration is.

    Raises:
        StageError: a stage is used before it is defined, or does not exist.
    """
    found = tuple(_references(dockerfile, instructions))
    for dependency in found:
        _check_order(stage, dependency)
    return found


def stage_triggers(stage: Stage) -> tuple[str, ...]:
    """Return the raw triggers of a stage: they run first in the stages that start from it."""
    return tuple(item.trigger for item in stage.instructions if isinstance(item, OnBuild))


def inherited_triggers(stage: Stage, base: Base) -> tuple[AnyInstruction, ...]:
    """Return the instructions that a base in the same file makes ``stage`` begin with.

    Raises:
        DockerfileSyntaxError: a trigger is not a valid instruction.
    """
    if base.stage is None:
        return ()
    span = stage.base.span
    return tuple(parse_trigger(text, span=span) for text in stage_triggers(base.stage))


def reachable_stages(
    dockerfile: Dockerfile,
    target: str | None = None,
    *,
    scope: Mapping[str, str],
    named_contexts: Collection[str] = (),
) -> tuple[Stage, ...]:
    """Return the stages that building ``target`` needs, itself included, in file order.

    Needs are FROM, COPY --from, RUN --mount from, and those of triggers of a base stage. A stage
    whose name is among ``named_contexts`` is replaced by that context and needs nothing.

    Raises:
        StageError: the target is unknown, a reference is wrong, or stages need each other.
        ExpansionError: a FROM line cannot be expanded.
        DockerfileSyntaxError: a trigger is not a valid instruction.
    """
    needs: dict[int, list[_Need]] = {}
    finished: set[int] = set()
    first = find_target(dockerfile, target)
    path = {first.index: first}  # a stack that knows what is on it; a file may have 10,000 stages
    while path:
        stage = next(reversed(path.values()))
        if stage.index not in needs:
            needs[stage.index] = _needs(dockerfile, stage, scope, named_contexts)
        waiting = needs[stage.index]
        if not waiting:
            finished.add(stage.index)
            del path[stage.index]
            continue
        need = waiting.pop(0)
        if need.stage.index in finished:
            need.check(stage)
        elif need.stage.index in path:
            raise StageError(
                f"circular dependency detected on stage: {need.stage.display_name}", span=need.span
            )
        else:
            waiting.insert(0, need)
            path[need.stage.index] = need.stage
    return tuple(stage for stage in dockerfile.stages if stage.index in finished)


class _Need(msgspec.Struct, frozen=True, kw_only=True):
    """One stage's use of another; ``dependency`` is None for FROM."""

    stage: Stage
    span: Span
    dependency: Dependency | None = None

    def check(self, user: Stage) -> None:
        if self.dependency is not None:
            _check_order(user, self.dependency)


def _needs(
    dockerfile: Dockerfile,
    stage: Stage,
    scope: Mapping[str, str],
    named_contexts: Collection[str],
) -> list[_Need]:
    if stage.name is not None and stage.name in named_contexts:
        return []
    base = resolve_base(dockerfile, stage, scope)
    needs: list[_Need] = []
    if base.stage is not None:
        needs.append(_Need(stage=base.stage, span=stage.base.span))
    instructions = (*inherited_triggers(stage, base), *stage.instructions)
    needs += [
        _Need(stage=found.stage, span=found.instruction.span, dependency=found)
        for found in _references(dockerfile, instructions)
        if found.stage is not None
    ]
    return needs


def _references(
    dockerfile: Dockerfile, instructions: Iterable[AnyInstruction]
) -> Iterator[Dependency]:
    for instruction in instructions:
        span = instruction.span
        if isinstance(instruction, Copy) and instruction.from_ is not None:
            stage = resolve_copy_source(dockerfile, instruction.from_, span=span)
            yield Dependency(reference=instruction.from_, stage=stage, instruction=instruction)
        elif isinstance(instruction, Run):
            for mount in instruction.mounts:
                reference = mount_source(mount)
                if reference is not None:
                    yield Dependency(
                        reference=reference,
                        stage=stage_named(dockerfile, reference),
                        instruction=instruction,
                        mount_target=mount_target(mount),
                    )


def _check_order(user: Stage, dependency: Dependency) -> None:
    source = dependency.stage
    if source is None or source.index < user.index:
        return
    name = go_quote(dependency.reference)
    span = dependency.instruction.span
    if dependency.mount_target is not None:
        raise StageError(
            f"cannot mount from stage {name} to {go_quote(dependency.mount_target)}, "
            "stage needs to be defined before current command",
            span=span,
            hint="Move the stage above the one that mounts it.",
        )
    raise StageError(
        f"cannot copy from stage {name}, it needs to be defined before current stage "
        f"{go_quote(user.display_name)}",
        span=span,
        hint="Move the stage above the one that copies from it.",
    )


def _expanded(word: str, scope: Mapping[str, str], dockerfile: Dockerfile, span: Span) -> str:
    try:
        return expand(word, scope, escape=dockerfile.escape)
    except DockerfileError as error:
        raise error.located(span) from error.__cause__
