"""The ``--name=value`` flags of each instruction, and their parsing.

Source: Dockerfile reference; BuildKit frontend/dockerfile/instructions/bflag.go.
"""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

import msgspec

from imagekit.dockerfile.errors import DockerfileSyntaxError


class FlagKind(Enum):
    """How often a flag may stand, and what it takes."""

    TEXT = "one value"
    SWITCH = "true, false or nothing"
    REPEATED = "a value, any number of times"


_TEXT, _SWITCH, _REPEATED = FlagKind.TEXT, FlagKind.SWITCH, FlagKind.REPEATED

FLAGS: Mapping[str, Mapping[str, FlagKind]] = MappingProxyType(
    {
        "FROM": {"platform": _TEXT},
        "RUN": {
            "mount": _REPEATED,
            "network": _TEXT,
            "security": _TEXT,
            "device": _REPEATED,
        },
        "COPY": {
            "from": _TEXT,
            "chown": _TEXT,
            "chmod": _TEXT,
            "link": _SWITCH,
            "parents": _SWITCH,
            "exclude": _REPEATED,
        },
        "ADD": {
            "chown": _TEXT,
            "chmod": _TEXT,
            "link": _SWITCH,
            "keep-git-dir": _SWITCH,
            "checksum": _TEXT,
            "unpack": _SWITCH,
            "exclude": _REPEATED,
        },
        "HEALTHCHECK": {
            "interval": _TEXT,
            "timeout": _TEXT,
            "start-period": _TEXT,
            "start-interval": _TEXT,
            "retries": _TEXT,
        },
    }
)
"""Instruction -> flag -> kind. An instruction that is missing here has no flags."""


class FlagValues(msgspec.Struct, frozen=True, kw_only=True):
    """The flags of one instruction after checking."""

    values: Mapping[str, tuple[str, ...]]

    def text(self, name: str) -> str | None:
        """Return the value of a flag, None when it is not there."""
        values = self.values.get(name)
        return values[-1] if values else None

    def all(self, name: str) -> tuple[str, ...]:
        """Return the values of a flag in order."""
        return self.values.get(name, ())

    def switch(self, name: str) -> bool | None:
        """Return whether a switch is on, None when it is not there."""
        value = self.text(name)
        return None if value is None else value == "true"


_NONE = FlagValues(values=MappingProxyType({}))


def parse_flags(name: str, words: tuple[str, ...]) -> FlagValues:
    """Return the flags of the instruction ``name``.

    Raises:
        DockerfileSyntaxError: a flag is unknown, repeated, or has a missing or wrong value.
    """
    if not words:
        return _NONE
    known = FLAGS.get(name, {})
    values: dict[str, tuple[str, ...]] = {}
    for word in words:
        flag, equals, value = word[2:].partition("=")
        kind = known.get(flag)
        if kind is None:
            from imagekit.dockerfile.suggestions import did_you_mean

            raise DockerfileSyntaxError(f"unknown flag: --{flag}{did_you_mean(flag, known)}")
        if flag in values and kind is not FlagKind.REPEATED:
            raise DockerfileSyntaxError(f"duplicate flag specified: --{flag}")
        if kind is FlagKind.SWITCH:
            value = _switch(flag, value, has_value=bool(equals))
        elif not equals:
            raise DockerfileSyntaxError(f"missing a value on flag: --{flag}")
        values[flag] = (*values.get(flag, ()), value)
    return FlagValues(values=values)


def _switch(flag: str, value: str, *, has_value: bool) -> str:
    if not has_value:
        return "true"
    if not value:
        raise DockerfileSyntaxError(f"missing a value on flag: --{flag}")
    if value.lower() not in ("true", "false"):
        raise DockerfileSyntaxError(f"expecting boolean value for flag --{flag}, not: {value}")
    return value.lower()
