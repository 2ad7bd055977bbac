"""Which stages a build needs: what they start from, copy from and mount, and inherited triggers.

Unlike ``stages.reachable_stages`` this asks every stage, needed or not, because BuildKit refuses a
bad reference in any of them before it looks at one instruction.

Source: BuildKit frontend/dockerfile/dockerfile2llb/convert.go (buildStageDependencyGraph,
resolveStages) and validations.go (validateCircularDependency).
"""

from collections.abc import Iterable, Sequence

from imagekit.dockerfile.document import Dockerfile, Stage
from imagekit.dockerfile.errors import DockerfileError, Span, StageError
from imagekit.dockerfile.instructions import AnyInstruction, Copy, Run
from imagekit.dockerfile.lint.bases import StageBase
from imagekit.dockerfile.mounts import mount_source
from imagekit.dockerfile.parse import parse_trigger
from imagekit.dockerfile.stages import resolve_copy_source, stage_named


class Use:
    """One use of another stage, or of an image that is no stage of the file."""

    __slots__ = ("reference", "span", "stage")

    def __init__(self, reference: str, stage: Stage | None, span: Span) -> None:
        self.reference = reference
        self.stage = stage
        self.span = span


class StageGraph:
    """The stages with what each of them uses. Triggers are added while images are resolved."""

    def __init__(self, dockerfile: Dockerfile, bases: Sequence[StageBase]) -> None:
        self._dockerfile = dockerfile
        self._bases = bases
        self.uses = [self.uses_of(base.stage.instructions) for base in bases]
        self.triggered: dict[int, tuple[AnyInstruction, ...]] = {}
        self._check_cycles()

    def uses_of(self, instructions: Iterable[AnyInstruction]) -> list[Use]:
        """Return what ``instructions`` take files from, in order.

        Raises:
            StageError: a reference has a variable in it, or is a number that is no stage's.
        """
        found: list[Use] = []
        for item in instructions:
            if isinstance(item, Copy) and item.from_ is not None:
                stage = resolve_copy_source(self._dockerfile, item.from_, span=item.span)
                found.append(Use(item.from_, stage, item.span))
            elif isinstance(item, Run):
                references = filter(None, map(mount_source, item.mounts))
                found += [
                    Use(reference, stage_named(self._dockerfile, reference), item.span)
                    for reference in references
                ]
        return found

    def needed(self, target: Stage) -> frozenset[int]:
        """Return the numbers of the stages that ``target`` needs, itself included."""
        seen = {target.index}
        waiting = [target.index]
        while waiting:
            index = waiting.pop()
            following = [use.stage.index for use in self.uses[index] if use.stage is not None]
            parent = self._bases[index].parent
            if parent is not None:
                following.append(parent)
            waiting += [number for number in following if number not in seen]
            seen.update(following)
        return frozenset(seen)

    def add_triggers(self, index: int, texts: Sequence[str]) -> bool:
        """Put the triggers ``texts`` before stage ``index``; tell whether they use something new.

        Raises:
            DockerfileError: a trigger is not a valid instruction; the FROM line is to blame.
        """
        span = self._bases[index].stage.base.span
        try:
            items = tuple(parse_trigger(text, span=span) for text in texts)
            uses = self.uses_of(items)
        except DockerfileError as error:
            raise error.located(span) from error.__cause__
        self.triggered[index] = items + self.triggered.get(index, ())
        self.uses[index] += uses
        return bool(uses)

    def _check_cycles(self) -> None:
        """Refuse stages that copy from or mount each other in a circle."""
        visited: set[int] = set()
        for start in range(len(self._bases)):
            if start in visited:
                continue
            visited.add(start)
            path = {start: iter(self.uses[start])}
            while path:
                index = next(reversed(path))
                use = next(path[index], None)
                if use is None:
                    del path[index]
                    continue
                if use.stage is None:
                    continue
                if use.stage.index in path:
                    name = self._bases[start].stage.display_name or f"stage-{start}"
                    raise StageError(
                        f"circular dependency detected on stage: {name}",
                        span=use.span,
                        hint="Let a stage copy only from stages above it.",
                    )
                if use.stage.index not in visited:
                    visited.add(use.stage.index)
                    path[use.stage.index] = iter(self.uses[use.stage.index])
