"""What a lint run is told besides the text."""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import msgspec

from imagekit.dockerfile.ignore import IgnoreMatcher
from imagekit.dockerfile.lint.references import PlatformName

_DEFAULT_STAGE = "default"
_LINUX: Final = PlatformName("linux", "amd64")


class BaseImage(msgspec.Struct, frozen=True, kw_only=True):
    """What the rules need of a base image's configuration.

    ``env`` are (name, value) pairs in order; ``platform`` is ``os/architecture[/variant]``, None
    when the configuration does not say.
    """

    env: tuple[tuple[str, str], ...] = ()
    shell: tuple[str, ...] = ()
    workdir: str = ""
    triggers: tuple[str, ...] = ()
    platform: str | None = None


FindImage: TypeAlias = Callable[[str, str | None], BaseImage | None]
"""From an image reference, and a platform or None for the target's, to what is known of the image.

None means that nothing is known: the image is taken to set PATH and nothing else.
"""


class LintSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The build that the findings are about.

    ``platform_args`` are TARGETPLATFORM and its like; those that are missing follow from
    ``platform``. Without ``target``, and unless ``only_needed``, all stages are looked at, as
    ``--check`` does; a build looks at those it needs. ``ignore`` is None when there is no ignore
    file.
    """

    build_args: Mapping[str, str] = msgspec.field(default_factory=dict)
    target: str | None = None
    only_needed: bool = False
    platform: PlatformName = _LINUX
    platform_args: Mapping[str, str] = msgspec.field(default_factory=dict)
    named_contexts: frozenset[str] = frozenset()
    ignore: IgnoreMatcher | None = None

    @property
    def all_stages(self) -> bool:
        """Whether stages that nobody needs are looked at too."""
        return not self.target and not self.only_needed

    def predefined(self, last_stage: str | None) -> dict[str, str]:
        """Return the predefined arguments, as build arguments of the same names change them."""
        values: dict[str, str] = {}
        for prefix in ("BUILD", "TARGET"):
            values[f"{prefix}PLATFORM"] = str(self.platform)
            values[f"{prefix}OS"] = self.platform.os
            values[f"{prefix}OSVERSION"] = ""
            values[f"{prefix}ARCH"] = self.platform.architecture
            values[f"{prefix}VARIANT"] = self.platform.variant
        values["TARGETSTAGE"] = self.target or last_stage or _DEFAULT_STAGE
        values.update(self.platform_args)
        return {name: self.build_args.get(name, value) for name, value in values.items()}


def no_image(_reference: str, _platform: str | None) -> BaseImage | None:
    """Know nothing of any image: for a run that may not look."""
    return None
