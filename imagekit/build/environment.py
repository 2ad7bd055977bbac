"""Variables of a stage: ENV, ARG, and the predefined arguments.

The order of instructions decides: a later ARG overrides an ENV of the same name and the other way
round. Only ENV reaches the image.

Source: BuildKit frontend/dockerfile/dockerfile2llb; Dockerfile reference "ARG".
"""

from collections.abc import Mapping

import msgspec

from imagekit.dockerfile.words import expand
from imagekit.oci.image_config import DEFAULT_PATH
from imagekit.oci.platform import Platform

PROXY_NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
_NOT_IN_ENV = ("BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE")


def platform_arguments(build: Platform, target: Platform, stage: str) -> dict[str, str]:
    """Return the predefined arguments of a build on ``build`` for ``target``."""
    values = {}
    for prefix, platform in (("BUILD", build), ("TARGET", target)):
        values[f"{prefix}PLATFORM"] = str(platform)
        values[f"{prefix}OS"] = platform.os
        values[f"{prefix}OSVERSION"] = platform.os_version or ""
        values[f"{prefix}ARCH"] = platform.architecture
        values[f"{prefix}VARIANT"] = platform.variant or ""
    values["TARGETSTAGE"] = stage
    return values


def proxy_arguments(build_args: Mapping[str, str]) -> dict[str, str]:
    """Return the proxy variables of RUN steps, in both spellings.

    They are taken from the build arguments without a declaration and enter neither history nor
    cache key.
    """
    given: dict[str, str] = {}
    for name in sorted(build_args):
        if name.upper() in PROXY_NAMES:
            given[name.upper()] = build_args[name]
    return {spelling: value for name, value in given.items() for spelling in (name, name.lower())}


class StageEnvironment(msgspec.Struct):
    """The variables of one stage while its instructions are walked.

    ``image`` is what ENV set, in order; ``build`` what expansion and RUN see; ``arguments`` the
    declared ARGs in the order of first declaration, None when declared without a value.
    """

    image: dict[str, str] = msgspec.field(default_factory=dict)
    build: dict[str, str] = msgspec.field(default_factory=dict)
    arguments: dict[str, str | None] = msgspec.field(default_factory=dict)
    escape: str = "\\"

    @classmethod
    def from_image(cls, env: tuple[str, ...], *, escape: str) -> "StageEnvironment":
        """Return the environment at the start of a stage on top of an image."""
        image = dict(item.partition("=")[::2] for item in env)
        image.setdefault("PATH", DEFAULT_PATH)
        return cls(image=image, build=dict(image), escape=escape)

    def child(self) -> "StageEnvironment":
        """Return what a stage that starts from this one inherits: ARGs and their values too."""
        return StageEnvironment(
            image=dict(self.image),
            build=dict(self.build),
            arguments=dict(self.arguments),
            escape=self.escape,
        )

    def expand(self, word: str) -> str:
        """Return ``word`` with quotes removed and variables replaced."""
        return expand(word, self.build, escape=self.escape)

    def set_env(self, pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        """Carry out ENV and return the expanded pairs; all see the environment before."""
        expanded = tuple((self.expand(key), self.expand(value)) for key, value in pairs)
        for key, value in expanded:
            self.image[key] = value
            self.build[key] = value
        return expanded

    def declare(
        self,
        name: str,
        default: str | None,
        *,
        build_args: Mapping[str, str],
        global_args: Mapping[str, str | None],
    ) -> str | None:
        """Carry out ARG for one name and return its value; None when it has none."""
        if name in build_args:
            value: str | None = build_args[name]
        elif default is not None:
            value = self.expand(default)
        else:
            value = global_args.get(name)
        self.arguments[name] = value
        if value is not None and name not in _NOT_IN_ENV:
            self.build[name] = value
        return value

    def run_prefix(self) -> str:
        """Return ``|N k1=v1 ... `` for the history of a RUN, empty without ARGs."""
        if not self.arguments:
            return ""
        shown = [
            f"{name}={self.build.get(name, value if value is not None else '')}"
            for name, value in self.arguments.items()
        ]
        return f"|{len(shown)} {' '.join(shown)} "

    def image_env(self) -> tuple[str, ...]:
        """Return ``KEY=value`` for the image config."""
        return tuple(f"{key}={value}" for key, value in self.image.items())

    def run_env(self) -> tuple[str, ...]:
        """Return ``KEY=value`` for the process of a RUN."""
        return tuple(f"{key}={value}" for key, value in self.build.items())
