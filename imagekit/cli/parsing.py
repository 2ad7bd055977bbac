"""The small languages of option values: sizes, durations, pairs, volumes, ports.

Every function raises ``ValueError`` whose text says what is wrong and what is expected; the kinds
of ``imagekit.cli.types`` turn it into a usage error that names the option.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from imagekit.base.record import Record
from imagekit.base.sizes import parse_size as parse_size  # noqa: PLC0414  (one language of many)

if TYPE_CHECKING:
    from datetime import datetime

_DURATION = r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+\Z"
_DURATION_PART = r"(\d+(?:\.\d+)?)(ms|s|m|h|d)"
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_TRUE = ("", "true", "1")
MAX_PORT = 65535


class MountText(Record):
    """The value of ``--mount``; ``source`` is empty for a new volume and for a tmpfs."""

    kind: str
    source: str
    target: str
    read_only: bool = False
    size_bytes: int | None = None


def parse_swap(text: str) -> int:
    """Return a size, or -1 for any amount."""
    return -1 if text.strip() == "-1" else parse_size(text)


def parse_duration(text: str) -> float:
    """Return the seconds of ``90``, ``1.5s``, ``1m30s``, ``2h``, ``500ms``."""
    bare = text.strip().lower()
    if bare.isascii() and bare.isdigit():
        return float(bare)
    if re.match(_DURATION, bare) is None:
        raise ValueError(f"{text!r} is not a duration; write it like 10s, 1m30s or 2h")
    return sum(float(number) * _SECONDS[unit] for number, unit in re.findall(_DURATION_PART, bare))


def parse_moment(text: str, now: "datetime") -> "datetime":
    """Return the moment of a time (RFC 3339, or local), of Unix seconds, or of that long ago."""
    from datetime import UTC, datetime, timedelta

    wrong = f"{text!r} is not a time; write it like 10m, 2026-01-31T12:00:00Z or 1769860800"
    try:
        if text.isascii() and text.replace(".", "", 1).isdigit():
            return datetime.fromtimestamp(float(text), UTC)
        if re.match(_DURATION, text.strip().lower()):
            return now - timedelta(seconds=parse_duration(text))
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:  # out of the calendar, for instance
        raise ValueError(wrong) from error
    return moment if moment.tzinfo else moment.astimezone()


def parse_cpus(text: str) -> float:
    """Return a number of CPUs such as ``1.5``."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.01 <= number <= 8192:
        raise ValueError(f"{text!r} is not a number of CPUs; write it like 2 or 0.5")
    return number


def parse_pair(text: str) -> tuple[str, str]:
    """Return key and value of ``KEY=VALUE``."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ValueError(f"{text!r} is not KEY=VALUE")
    return key, value


def parse_label(text: str) -> tuple[str, str]:
    """Return key and value of ``KEY=VALUE``, or of ``KEY`` with an empty value."""
    key, _, value = text.partition("=")
    if not key:
        raise ValueError(f"{text!r} is not KEY=VALUE")
    return key, value


def fill_from(environ: Mapping[str, str], texts: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return pairs; ``KEY`` alone takes the value of the environment and is left out if unset."""
    result = []
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or any(character.isspace() for character in key):
            raise ValueError(f"{text!r} is not KEY=VALUE or KEY")
        if equals:
            result.append((key, value))
        elif key in environ:
            result.append((key, environ[key]))
    return tuple(result)


def parse_env_file(text: str, environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the pairs of an env file: a pair per line, ``#`` comments, no quoting.

    Source: docker's ``--env-file`` (quotes and blanks in values are kept).
    """
    pairs: list[tuple[str, str]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.lstrip().rstrip("\r")
        if not stripped or stripped.startswith("#"):
            continue
        try:
            pairs.extend(fill_from(environ, (stripped,)))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
    return tuple(pairs)


def parse_fields(text: str) -> dict[str, str]:
    """Return the fields of ``key=value,key,key=value``; a key alone has an empty value."""
    fields: dict[str, str] = {}
    for part in text.split(","):
        key, _, value = part.partition("=")
        name = key.strip().lower()
        if not name:
            raise ValueError(f"{text!r} has an empty field; write it like key=value,key=value")
        fields[name] = value
    return fields


def absolute_source(text: str, directory: Path) -> str:
    """Return a ``-v`` value with its relative host path (``.``, ``./x``) made absolute."""
    source, colon, rest = text.partition(":")
    if colon and (source in (".", "..") or source.startswith(("./", "../"))):
        return f"{(directory / source).resolve()}:{rest}"
    return text


_MOUNT_KEYS = {
    "source": "source",
    "src": "source",
    "target": "target",
    "dst": "target",
    "destination": "target",
    "type": "type",
    "readonly": "readonly",
    "ro": "readonly",
    "tmpfs-size": "size",
    "bind-propagation": "ignored",
    "consistency": "ignored",
}


def parse_mount(text: str) -> MountText:
    """Return ``type=bind|volume|tmpfs,source=...,target=...,readonly``."""
    fields: dict[str, str] = {}
    for key, value in parse_fields(text).items():
        if key not in _MOUNT_KEYS:
            raise ValueError(f"{text!r}: unknown field {key!r}; known are {', '.join(_MOUNT_KEYS)}")
        fields[_MOUNT_KEYS[key]] = value
    kind = fields.get("type", "volume")
    if kind not in ("bind", "volume", "tmpfs"):
        raise ValueError(f"{text!r}: type is bind, volume or tmpfs, not {kind!r}")
    target, source = fields.get("target", ""), fields.get("source", "")
    if not target.startswith("/"):
        raise ValueError(f"{text!r}: target=/absolute/path is missing")
    if kind == "bind" and not source:
        raise ValueError(f"{text!r}: a bind mount needs source=PATH")
    if kind == "tmpfs" and source:
        raise ValueError(f"{text!r}: a tmpfs has no source")
    return MountText(
        source=source,
        target=target,
        read_only=fields.get("readonly", "no").lower() in _TRUE,
        kind=kind,
        size_bytes=parse_size(fields["size"]) if "size" in fields else None,
    )


def expand_ports(text: str) -> tuple[str, ...]:
    """Return single ports of a ``-p`` value with ranges: ``8000-8001:80-81`` is two of them."""
    address, slash, protocol = text.partition("/")
    rest, _, container = address.rpartition(":")
    ip, _, host = rest.rpartition(":")
    if "-" not in host + container:
        return (text,)
    inside = _port_range(text, container)
    outside = _port_range(text, host) if host else [0] * len(inside)
    if len(outside) != len(inside):
        raise ValueError(f"{text!r}: {len(outside)} host ports for {len(inside)} container ports")
    before = f"{ip}:" if ip else ""
    return tuple(
        f"{before}{left}:{right}{slash}{protocol}" if left else f"{right}{slash}{protocol}"
        for left, right in zip(outside, inside, strict=True)
    )


def _port_range(whole: str, text: str) -> list[int]:
    first, dash, last = text.partition("-")
    numbers = [
        int(part) if part.isascii() and part.isdigit() and len(part) <= 5 else 0
        for part in (first, last if dash else first)
    ]
    if not 0 < numbers[0] <= numbers[1] <= MAX_PORT:
        raise ValueError(f"{whole!r} is not a range of ports; write it like 8000-8002:8000-8002")
    return list(range(numbers[0], numbers[1] + 1))


def parse_add_host(text: str) -> tuple[str, str]:
    """Return name and address of ``NAME:ADDRESS`` or ``NAME=ADDRESS``."""
    import ipaddress

    separator = "=" if "=" in text else ":"
    name, _, address = text.partition(separator)
    address = address.removeprefix("[").removesuffix("]")
    if not name or not address:
        raise ValueError(f"{text!r} is not NAME:ADDRESS")
    try:
        ipaddress.ip_address(address)
    except ValueError as error:
        raise ValueError(f"{text!r}: {address!r} is not an IP address") from error
    return name, address
