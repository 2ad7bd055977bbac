"""The front door: from the text of a Dockerfile to a report.

The order of things is BuildKit's, because a mistake ends the run: options, lines, instructions,
stage names, casing, arguments, FROM lines, references, base images, triggers, instructions of the
stages.

Source: BuildKit frontend/dockerfile/dockerfile2llb/convert.go (DockerfileLint, toDispatchState).
"""

from collections.abc import Iterator, Mapping, Sequence

from imagekit.dockerfile.document import Dockerfile, Stage
from imagekit.dockerfile.errors import DockerfileError, Span, StageError
from imagekit.dockerfile.lint import rules
from imagekit.dockerfile.lint.bases import StageBase, check_bases, check_default_arguments
from imagekit.dockerfile.lint.findings import BuildError, Findings, LintReport
from imagekit.dockerfile.lint.graph import StageGraph, Use
from imagekit.dockerfile.lint.options import CheckOptions, check_options
from imagekit.dockerfile.lint.references import (
    PlatformName,
    parse_platform_name,
    why_no_reference,
)
from imagekit.dockerfile.lint.settings import (
    BaseImage,
    FindImage,
    LintSettings,
    no_image,
)
from imagekit.dockerfile.lint.steps import StageState, StageWalk
from imagekit.dockerfile.lint.written import (
    Checks,
    check_casing,
    check_continuations,
    check_stage_names,
    check_statements,
)
from imagekit.dockerfile.parse import parse
from imagekit.dockerfile.quoting import go_quote
from imagekit.dockerfile.source import SourceReader
from imagekit.dockerfile.stages import SCRATCH, find_target, global_scope, stage_triggers
from imagekit.dockerfile.statements import Statement, read_statements


def lint(
    text: str | bytes,
    *,
    file_name: str = "Dockerfile",
    settings: LintSettings | None = None,
    find_image: FindImage = no_image,
) -> LintReport:
    """Return what is to be said about ``text``; a mistake in it is part of the report.

    ``find_image`` is asked for the base images of the stages that are looked at, and only when
    everything before is in order. A DockerfileError of its own is a mistake at the FROM line.
    """
    source = text.decode("utf-8", "surrogateescape") if isinstance(text, bytes) else text
    run = _Run(source, file_name, settings or LintSettings(), find_image)
    error: BuildError | None = None
    try:
        run.look()
    except DockerfileError as caught:
        error = BuildError.of(caught)
    findings = run.findings.all()
    if error is None and findings and run.options.is_error:
        names = ", ".join(dict.fromkeys(finding.rule for finding in findings))
        error = BuildError(message=f"lint violation found for rules: {names}")
    return LintReport(
        file_name=file_name,
        text=source,
        findings=findings,
        error=error,
        is_error=run.options.is_error,
        unknown_images=tuple(run.unknown_images),
    )


class _Run:
    """One look at one file."""

    def __init__(
        self, text: str, file_name: str, settings: LintSettings, find_image: FindImage
    ) -> None:
        self.findings = Findings()
        self.options = CheckOptions()
        self._text = text
        self._file_name = file_name
        self._settings = settings
        self._find_image = find_image
        self._images: dict[int, BaseImage | None] = {}
        self.unknown_images: dict[str, None] = {}

    def look(self) -> None:
        if not self._text:
            parse(self._text, file_name=self._file_name)
        self.options = check_options(self._text, self._settings.build_args)
        checks = Checks(self.findings, self.options)
        dockerfile = self._parsed(checks)
        check_stage_names(dockerfile, checks)
        check_casing(dockerfile, checks)
        predefined = self._settings.predefined(dockerfile.stages[-1].name)
        check_default_arguments(dockerfile, predefined, checks)
        scope = global_scope(
            dockerfile, build_args=self._settings.build_args, platform_args=predefined
        )
        bases = check_bases(dockerfile, scope, self._settings, checks)
        target = find_target(dockerfile, self._settings.target)
        graph = StageGraph(dockerfile, bases)
        needed = self._resolved(bases, graph, target, checks)
        for base, walk in self._walks(dockerfile, bases, needed, scope, checks):
            triggered = graph.triggered.get(base.stage.index, ())
            walk.run((*triggered, *base.stage.instructions))

    def _walks(
        self,
        dockerfile: Dockerfile,
        bases: Sequence[StageBase],
        needed: frozenset[int],
        scope: Mapping[str, str],
        checks: Checks,
    ) -> Iterator[tuple[StageBase, StageWalk]]:
        """Yield the stages to look at in file order; one begins where the walk of its base ended.

        Without a target the instructions of a stage that a named context replaces count, too.
        """
        states: dict[int, StageState] = {}
        for base in bases:
            index = base.stage.index
            if not self._settings.all_stages and index not in needed:
                continue
            if base.parent is None:
                system = (base.platform or self._settings.platform).os
                state = StageState.on_image(self._images.get(index), system)
            else:
                state = states[base.parent].child()
            states[index] = state
            if self._settings.all_stages or not base.is_replaced:
                yield (
                    base,
                    StageWalk(
                        dockerfile,
                        base.stage,
                        state,
                        scope=scope,
                        settings=self._settings,
                        checks=checks,
                    ),
                )

    def _parsed(self, checks: Checks) -> Dockerfile:
        statements = self._statements()
        check_continuations(statements, checks)
        dockerfile, error = None, None
        try:
            dockerfile = parse(self._text, file_name=self._file_name)
        except DockerfileError as caught:
            error = caught
        check_statements(statements, checks, error=error)
        if error is not None:
            raise error
        assert dockerfile is not None
        return dockerfile

    def _statements(self) -> Sequence[Statement]:
        return tuple(read_statements(SourceReader(self._text, file_name=self._file_name)))

    def _resolved(
        self, bases: Sequence[StageBase], graph: StageGraph, target: Stage, checks: Checks
    ) -> frozenset[int]:
        """Look at the base images and put triggers in place; return the stages that are needed."""
        resolved: set[int] = set()
        looked_at: set[Use] = set()
        triggered: set[int] = set()
        while True:
            needed = graph.needed(target)
            for base in bases:
                index = base.stage.index
                is_needed = self._settings.all_stages or index in needed
                if base.parent is None and index not in resolved:
                    if is_needed:
                        resolved.add(index)
                    self._images[index] = self._image(base, checks, is_needed=is_needed)
                self._look_at_uses(graph.uses[index], looked_at, checks, is_needed=is_needed)
            has_new_uses = False
            for index in sorted(needed - triggered):
                triggered.add(index)
                parent = bases[index].parent
                image = self._images.get(index)
                texts = () if image is None else image.triggers
                if parent is not None:
                    texts = stage_triggers(bases[parent].stage)
                if texts and graph.add_triggers(index, texts):
                    has_new_uses = True
            if not has_new_uses:
                return needed

    def _look_at_uses(
        self, uses: Sequence[Use], looked_at: set[Use], checks: Checks, *, is_needed: bool
    ) -> None:
        """Look at the images that instructions take files from."""
        for use in uses:
            if use.stage is not None or use.reference == SCRATCH or use in looked_at:
                continue
            _check_reference(use.reference, use.span)
            if is_needed and use.reference not in self._settings.named_contexts:
                looked_at.add(use)
                self._found(use.reference, None, use.span, checks)

    def _image(self, base: StageBase, checks: Checks, *, is_needed: bool) -> BaseImage | None:
        if base.image == SCRATCH and not base.is_replaced:
            return None
        _check_reference(base.image, base.stage.base.span)
        if not is_needed or base.is_replaced:
            return None
        image = self._found(base.image, base.platform, base.stage.base.span, checks)
        if image is None:
            self.unknown_images[base.image] = None
        return image

    def _found(
        self, name: str, platform: PlatformName | None, span: Span, checks: Checks
    ) -> BaseImage | None:
        """Ask for an image and check that it is for the platform that is wanted."""
        try:
            image = self._find_image(name, None if platform is None else str(platform))
        except DockerfileError as error:
            raise error.located(span) from error.__cause__
        if image is None or image.platform is None:
            return image
        expected = platform or self._settings.platform
        actual = parse_platform_name(image.platform, host=self._settings.platform)
        if isinstance(actual, PlatformName) and not actual.is_like(expected):
            checks.report(
                rules.INVALID_BASE_IMAGE_PLATFORM,
                span,
                f"Base image {name} was pulled with platform {go_quote(image.platform)}, expected "
                f"{go_quote(str(expected))} for current build",
            )
        return image


def _check_reference(name: str, span: Span) -> None:
    reason = why_no_reference(name)
    if reason is not None:
        raise StageError(f"failed to parse stage name {go_quote(name)}: {reason}", span=span)
