"""The second look: every FROM, with the arguments that stand before the first one.

Source: BuildKit frontend/dockerfile/dockerfile2llb/convert.go (buildDispatchStates) and
validations.go (reportUnusedFromArgs, reportRedundantTargetPlatform, reportConstPlatformDisallowed,
validateBaseImagesWithDefaultArgs).
"""

from collections.abc import Iterable, Mapping

import msgspec

from imagekit.dockerfile.document import Dockerfile, Stage
from imagekit.dockerfile.errors import DockerfileError, StageError
from imagekit.dockerfile.lint import rules
from imagekit.dockerfile.lint.references import (
    PlatformName,
    parse_platform_name,
    why_no_reference,
)
from imagekit.dockerfile.lint.scope import Expanded, expand_watched
from imagekit.dockerfile.lint.settings import LintSettings
from imagekit.dockerfile.lint.written import Checks
from imagekit.dockerfile.quoting import go_quote
from imagekit.dockerfile.stages import global_scope
from imagekit.dockerfile.suggestions import did_you_mean, nearest

_TARGET_PLATFORM = "TARGETPLATFORM"


class StageBase(msgspec.Struct, frozen=True, kw_only=True):
    """A stage and what it starts from: the stage number ``parent``, or the image ``image``.

    ``image`` is the expanded name in any case. ``platform`` is that of ``--platform``;
    ``is_replaced`` tells that a named context stands in for the stage.
    """

    stage: Stage
    image: str
    parent: int | None = None
    platform: PlatformName | None = None
    is_replaced: bool = False


def check_default_arguments(
    dockerfile: Dockerfile, predefined: Mapping[str, str], checks: Checks
) -> None:
    """InvalidDefaultArgInFrom: names that are no image names unless build arguments are given.

    Stops silently at what cannot be expanded, which is an error later on.
    """
    try:
        scope = global_scope(dockerfile, build_args={}, platform_args=predefined)
    except DockerfileError:
        return
    for stage in dockerfile.stages:
        name = expand_watched(stage.base.image, scope, escape=dockerfile.escape)
        if name.error is not None:
            return
        if why_no_reference(name.text) is not None:
            checks.report(
                rules.INVALID_DEFAULT_ARG_IN_FROM,
                stage.base.span,
                f"Default value for ARG {stage.base.image} results in empty or invalid base image "
                "name",
            )


def check_bases(
    dockerfile: Dockerfile, scope: Mapping[str, str], settings: LintSettings, checks: Checks
) -> list[StageBase]:
    """Return what every stage starts from, with the findings about its FROM line.

    Raises:
        DockerfileError: a name or platform cannot be expanded, is blank, or is no platform.
    """
    known = dict.fromkeys(scope)
    for arg in dockerfile.global_args:
        known.update(dict.fromkeys(name for name, _ in arg.pairs))
    bases: list[StageBase] = []
    by_name: dict[str, int] = {}
    for stage in dockerfile.stages:
        look = _FromLine(dockerfile, stage, scope, tuple(known), checks)
        image = look.image()
        platform = look.platform(settings.platform)
        is_replaced = stage.name is not None and stage.name in settings.named_contexts
        parent = None if is_replaced else by_name.get(image)
        bases.append(
            StageBase(
                stage=stage,
                image=image,
                parent=parent,
                platform=platform,
                is_replaced=is_replaced,
            )
        )
        if stage.name is not None:
            by_name[stage.name] = stage.index
    return bases


class _FromLine:
    """One FROM line while it is looked at."""

    def __init__(
        self,
        dockerfile: Dockerfile,
        stage: Stage,
        scope: Mapping[str, str],
        known: tuple[str, ...],
        checks: Checks,
    ) -> None:
        self._base = stage.base
        self._name = stage.name or ""
        self._scope = scope
        self._known = known
        self._escape = dockerfile.escape
        self._checks = checks.above(stage.base.origin.comments)

    def image(self) -> str:
        name = self._expanded(self._base.image)
        if name.error is not None:
            raise name.error.located(self._base.span) from name.error.__cause__
        if not name.text:
            raise StageError(
                f"base name ({self._base.image}) should not be blank", span=self._base.span
            )
        return name.text

    def platform(self, host: PlatformName) -> PlatformName | None:
        written = self._base.platform
        if not written:
            return None
        value = self._expanded(written)
        self._check_redundant(written, value)
        found = parse_platform_name(value.text, host=host) if not value.error else ""
        if not value.used and not value.undefined and isinstance(found, PlatformName):
            self._check_constant(found, value.text)
        if value.error is not None:
            raise StageError(
                f"failed to process arguments for platform : {value.error.reason}",
                span=self._base.span,
            ) from value.error
        if not value.text:
            suggestion = self._suggestion(value.undefined)
            raise StageError(
                f"empty platform value from expression {written}{suggestion}",
                span=self._base.span,
            )
        if isinstance(found, str):
            raise StageError(
                f"failed to parse platform {written}: {found}{self._suggestion(value.undefined)}",
                span=self._base.span,
            )
        return found

    def _expanded(self, word: str) -> Expanded:
        value = expand_watched(word, self._scope, escape=self._escape)
        for name in value.undefined:
            if name not in self._known:
                self._checks.report(
                    rules.UNDEFINED_ARG_IN_FROM,
                    self._base.span,
                    f"FROM argument '{name}' is not declared{did_you_mean(name, self._known)}",
                )
        return value

    def _check_redundant(self, written: str, value: Expanded) -> None:
        if value.used != (_TARGET_PLATFORM,) or value.undefined:
            return
        if value.text == self._scope.get(_TARGET_PLATFORM, ""):
            self._checks.report(
                rules.REDUNDANT_TARGET_PLATFORM,
                self._base.span,
                f"Setting platform to predefined {written} in FROM is redundant as this is the "
                "default behavior",
            )

    def _check_constant(self, platform: PlatformName, text: str) -> None:
        if platform.os in self._name or platform.architecture in self._name:
            return
        self._checks.report(
            rules.FROM_PLATFORM_FLAG_CONST_DISALLOWED,
            self._base.span,
            f"FROM --platform flag should not use constant value {go_quote(text)}",
        )

    def _suggestion(self, undefined: Iterable[str]) -> str:
        for name in undefined:
            if nearest(name, self._scope) is not None:
                return did_you_mean(name, self._scope)
        return ""
