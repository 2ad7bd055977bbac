"""The mini-language of ``RUN --mount``: comma-separated ``key=value``, read from left to right.

    bind     target source from readonly readwrite
    cache    target source from id sharing mode uid gid readonly readwrite
    tmpfs    target size
    secret   target id|source env required mode uid gid
    ssh      target id required mode uid gid

``required`` and ``size`` are understood only behind their ``type``: BuildKit decides key by key.

Source: Dockerfile reference, "RUN --mount"; BuildKit instructions/commands_runmount.go.
"""

import posixpath
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TypeVar

import msgspec

from imagekit.dockerfile.errors import MountError, ValueFormatError
from imagekit.dockerfile.mount_fields import csv_fields, mount_source, mount_target
from imagekit.dockerfile.quoting import go_quote
from imagekit.dockerfile.suggestions import did_you_mean
from imagekit.dockerfile.values import parse_boolean, parse_size
from imagekit.dockerfile.words import expand

__all__ = [
    "CacheSharing",
    "MountKind",
    "RunMount",
    "mount_source",
    "mount_target",
    "resolve_mount",
    "resolve_mounts",
]

_Value = TypeVar("_Value")
_Choice = TypeVar("_Choice", bound=StrEnum)


class MountKind(StrEnum):
    """What a RUN step may mount."""

    BIND = "bind"
    CACHE = "cache"
    TMPFS = "tmpfs"
    SECRET = "secret"  # noqa: S105 - a kind of mount, not a password
    SSH = "ssh"


class CacheSharing(StrEnum):
    """What happens when two steps use a cache at once."""

    SHARED = "shared"
    PRIVATE = "private"
    LOCKED = "locked"


class RunMount(msgspec.Struct, frozen=True, kw_only=True):
    """One mount, complete with its defaults.

    ``target`` is absolute and clean; None only for a secret that is an environment variable only
    and for an agent socket at its default place. ``source`` is the path below ``from_`` (a stage,
    named context or image; None is the build context for bind, nothing for cache). ``id`` names a
    cache, secret or agent. ``size_bytes`` 0 is unlimited; ``mode``, ``uid``, ``gid`` are None where
    they have no meaning.
    """

    kind: MountKind
    target: str | None
    source: str | None = None
    from_: str | None = None
    read_only: bool = True
    id: str | None = None
    sharing: CacheSharing = CacheSharing.SHARED
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size_bytes: int = 0
    required: bool = False
    env: str | None = None


class _Draft(msgspec.Struct, kw_only=True):
    """A mount while its keys are read."""

    kind: MountKind = MountKind.BIND
    texts: dict[str, str] = msgspec.field(default_factory=dict)
    numbers: dict[str, int] = msgspec.field(default_factory=dict)
    read_only: bool | None = None
    required: bool = False
    sharing: CacheSharing | None = None


_FILE_KINDS = (MountKind.CACHE, MountKind.SECRET, MountKind.SSH)
_OPTIONAL_KINDS = (MountKind.SECRET, MountKind.SSH)
_WRITABLE_KINDS = (MountKind.CACHE, MountKind.TMPFS)
_ALIASES = {
    "dst": "target",
    "destination": "target",
    "src": "source",
    "ro": "readonly",
    "rw": "readwrite",
}
_TEXT_KEYS = ("from", "source", "target", "id", "env")
_SWITCH_KEYS = ("readonly", "readwrite", "required")
_KEYS = (
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
)
_DEFAULT_MODES = {MountKind.CACHE: 0o755, MountKind.SECRET: 0o400, MountKind.SSH: 0o600}
_SECRETS = "/run/secrets"


def resolve_mounts(
    values: tuple[str, ...],
    environment: Mapping[str, str],
    *,
    workdir: str,
    escape: str = "\\",
) -> tuple[RunMount, ...]:
    """Return the mounts of one RUN, in order of writing.

    ``workdir`` is the absolute directory for relative targets.

    Raises:
        MountError: a value is not a valid mount.
        ExpansionError: a value cannot be expanded.
    """
    return tuple(
        resolve_mount(value, environment, workdir=workdir, escape=escape) for value in values
    )


def resolve_mount(
    value: str, environment: Mapping[str, str], *, workdir: str, escape: str = "\\"
) -> RunMount:
    """Return one mount with its variables expanded and its defaults filled in.

    Raises:
        MountError, ExpansionError: as in ``resolve_mounts``.
    """
    draft = _Draft()
    for text in csv_fields(value):
        name, equals, raw = text.partition("=")
        key = name.lower()
        if not equals:
            if _ALIASES.get(key, key) not in _SWITCH_KEYS:
                raise MountError(f"invalid field '{text}' must be a key=value pair")
            raw = "true"
        elif key != "from":
            raw = expand(raw, environment, escape=escape)
        if key not in _KEYS:
            raise MountError(f"unexpected key '{key}' in '{text}'{did_you_mean(key, _KEYS)}")
        _set(draft, key, raw)
    _check(draft)
    return _complete(draft, workdir)


def _set(draft: _Draft, written_key: str, value: str) -> None:
    key = _ALIASES.get(written_key, written_key)
    if key == "type":
        draft.kind = _choice(MountKind, value, f"unsupported mount type {go_quote(value)}")
    elif key in _TEXT_KEYS:
        draft.texts[key] = value
    elif key == "sharing":
        draft.sharing = _choice(CacheSharing, value, f"unsupported sharing value {go_quote(value)}")
    elif key == "size":
        _allow(draft, key, draft.kind is MountKind.TMPFS)
        draft.numbers[key] = _parsed(parse_size, value, f"invalid value for size: {value}")
    elif key in ("mode", "uid", "gid"):
        draft.numbers[key] = _unsigned(value, key)
    else:
        _set_switch(draft, written_key, value)


def _set_switch(draft: _Draft, written_key: str, value: str) -> None:
    if written_key == "required":
        _allow(draft, written_key, draft.kind in _OPTIONAL_KINDS)
    is_on = _parsed(parse_boolean, value, f"invalid value for {written_key}: {value}")
    match _ALIASES.get(written_key, written_key):
        case "readonly":
            draft.read_only = is_on
        case "readwrite":
            draft.read_only = not is_on
        case _:
            draft.required = is_on


def _allow(draft: _Draft, key: str, is_allowed: bool) -> None:  # noqa: FBT001 - reads as a guard
    if not is_allowed:
        raise MountError(
            f"unexpected key '{key}' for mount type '{draft.kind}'",
            hint=f"Write type= before {key}.",
        )


def _check(draft: _Draft) -> None:
    kind, texts = draft.kind, draft.texts
    if kind not in _FILE_KINDS:
        for key in ("mode", "uid", "gid"):
            if key in draft.numbers:
                raise MountError(f"{key} not allowed for {go_quote(kind)} type mounts")
    if kind is MountKind.SECRET:
        if texts.get("from"):
            raise MountError("secret mount should not have a from")
        if draft.sharing is not None:
            raise MountError("secret mount should not define sharing")
        if texts.get("source") and texts.get("id"):
            raise MountError("both source and id can't be set")
        if not (texts.get("source") or texts.get("id") or texts.get("target")):
            raise MountError("invalid secret mount. one of source, target required")
    if draft.sharing is not None and kind is not MountKind.CACHE:
        raise MountError(f"invalid cache sharing set for {kind} mount")
    if kind is MountKind.SSH and texts.get("source"):
        raise MountError("ssh does not support source")


def _complete(draft: _Draft, workdir: str) -> RunMount:
    kind, texts = draft.kind, draft.texts
    numbers = draft.numbers
    has_file_mode = kind in _FILE_KINDS
    written = texts.get("target", "")
    target: str | None = None
    identity: str | None = None
    if kind is MountKind.SECRET:
        identity = texts.get("source") or texts.get("id") or posixpath.basename(written.rstrip("/"))
        if written or "env" not in texts:
            target = written or f"{_SECRETS}/{posixpath.basename(identity.rstrip('/'))}"
    elif kind is MountKind.SSH:
        identity = texts.get("id") or "default"
        target = written or None
    else:
        target = written
        if kind is MountKind.CACHE:
            identity = texts.get("id") or posixpath.normpath(written)
    if target is not None:
        target = _absolute(target, workdir)
    is_tree = kind in (MountKind.BIND, MountKind.CACHE)
    return RunMount(
        kind=kind,
        target=target,
        source=(texts.get("source") or None) if is_tree else None,
        from_=(texts.get("from") or None) if is_tree else None,
        read_only=kind not in _WRITABLE_KINDS if draft.read_only is None else draft.read_only,
        id=identity,
        sharing=draft.sharing or CacheSharing.SHARED,
        mode=numbers.get("mode", _DEFAULT_MODES[kind]) if has_file_mode else None,
        uid=numbers.get("uid", 0) if has_file_mode else None,
        gid=numbers.get("gid", 0) if has_file_mode else None,
        size_bytes=numbers.get("size", 0),
        required=draft.required,
        env=texts.get("env") if kind is MountKind.SECRET else None,
    )


def _absolute(target: str, workdir: str) -> str:
    joined = posixpath.normpath(posixpath.join("/", workdir, target))
    joined = "/" + joined.lstrip("/")
    if joined == "/":
        raise MountError(
            f"invalid mount target {go_quote(joined)}", hint="Name a directory below /."
        )
    return joined


def _choice(kind: type[_Choice], value: str, message: str) -> _Choice:
    try:
        return kind(value.lower())
    except ValueError:
        raise MountError(message + did_you_mean(value, [str(one) for one in kind])) from None


def _parsed(parse: Callable[[str], _Value], value: str, message: str) -> _Value:
    try:
        return parse(value)
    except ValueFormatError as error:
        raise MountError(message) from error


def _unsigned(value: str, key: str) -> int:
    base = 8 if key == "mode" else 10
    digits = "01234567" if base == 8 else "0123456789"
    is_number = value != "" and not value.strip(digits)
    if not is_number or len(value.lstrip("0")) > 11 or int(value, base) >= 1 << 32:
        raise MountError(f"invalid value {value} for {key}")
    return int(value, base)
