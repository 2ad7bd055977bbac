"""What the user asks ``run`` for, as frozen values, and the short forms of the command line.

The values of this room are msgspec structs, or named tuples where the supervisor needs them, and
not dataclasses: making one dataclass at import costs more than a millisecond, a struct a twentieth
of that, and ``run`` is measured in milliseconds.
"""

import re
from collections.abc import Mapping
from typing import Self

import msgspec

from imagekit.containers.errors import InvalidRunRequestError
from imagekit.sandbox.spec import NetworkMode

_VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}\Z")
_CONTAINER_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,254}\Z")


class VolumeMount(msgspec.Struct, frozen=True, kw_only=True):
    """A host path, or the name of a volume, seen at ``target`` inside.

    A ``source`` that begins with ``/`` is a host path; an empty one is a new volume without a name
    that is removed together with its container.
    """

    source: str
    target: str
    read_only: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the mount written as ``[source:]target[:ro|rw]``.

        Raises:
            InvalidRunRequestError: if the target is not absolute, or for an unknown option.

        """
        parts = text.split(":")
        options = ""
        if len(parts) == 3 or (len(parts) == 2 and not parts[1].startswith("/")):
            options = parts.pop()
        if not 1 <= len(parts) <= 2 or options not in ("", "ro", "rw", "z", "Z"):
            raise InvalidRunRequestError(
                f"invalid volume {text!r}",
                hint="Write it as /host/path:/target or name:/target:ro.",
            )
        return cls(
            source=parts[0] if len(parts) == 2 else "",
            target=parts[-1],
            read_only=options == "ro",
        ).checked()

    def checked(self) -> Self:
        """Return itself if it makes sense.

        Raises:
            InvalidRunRequestError: if it does not.

        """
        if not self.target.startswith("/") or self.target.strip("/") == "":
            raise InvalidRunRequestError(
                f"invalid volume target {self.target!r}", hint="Give an absolute path other than /."
            )
        if self.source and self.source[0] != "/" and _VOLUME_NAME.match(self.source) is None:
            raise InvalidRunRequestError(
                f"invalid volume name {self.source!r}",
                hint="Begin a host path with /, or use only letters, digits, '_', '.' and '-'.",
            )
        return self


class PortMapping(msgspec.Struct, frozen=True, kw_only=True):
    """A port of the host handed on to one of the container; host port 0 is any free one."""

    container_port: int
    host_port: int = 0
    host_ip: str = "127.0.0.1"
    protocol: str = "tcp"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the mapping written as ``[[host_ip:]host_port:]container_port[/protocol]``.

        Raises:
            InvalidRunRequestError: for anything else.

        """
        address, _, protocol = text.partition("/")
        host, _, container_port = address.rpartition(":")
        host_ip, _, host_port = host.rpartition(":")
        try:
            return cls(
                container_port=_port(container_port),
                host_port=_port(host_port) if host_port else 0,
                host_ip=host_ip.strip("[]") or "127.0.0.1",
                protocol=protocol or "tcp",
            ).checked()
        except ValueError as error:
            raise InvalidRunRequestError(
                f"invalid port {text!r}", hint="Write it as 8080:80 or 127.0.0.1:8080:80/tcp."
            ) from error

    def checked(self) -> Self:
        """Return itself if it makes sense.

        Raises:
            InvalidRunRequestError: for another protocol than tcp.

        """
        if self.protocol != "tcp":
            raise InvalidRunRequestError(
                f"cannot publish {self.protocol} port {self.container_port}",
                hint="Only tcp ports are published; use --network host for others.",
            )
        return self


def _port(text: str) -> int:
    number = int(text)
    if not 0 < number < 65536:
        raise ValueError(text)
    return number


class RunRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A container to be made from ``image``; None leaves a field to the image or to the default.

    ``command`` replaces CMD, ``entrypoint`` replaces ENTRYPOINT (an empty tuple clears it). ``env``
    holds ``KEY=value``. ``tmpfs`` holds ``/target[:size=bytes]``. ``add_hosts`` holds
    ``name:address``. ``memory_swap_bytes`` is memory and swap together. ``remove`` removes the
    container, and its volumes without a name, when its process ends.
    """

    image: str
    command: tuple[str, ...] = ()
    detach: bool = False
    remove: bool = False
    name: str | None = None
    env: tuple[str, ...] = ()
    volumes: tuple[VolumeMount, ...] = ()
    tmpfs: tuple[str, ...] = ()
    workdir: str | None = None
    user: str | None = None
    entrypoint: tuple[str, ...] | None = None
    hostname: str | None = None
    tty: bool = False
    interactive: bool = False
    memory_bytes: int | None = None
    memory_swap_bytes: int | None = None
    cpus: float | None = None
    pids_limit: int | None = None
    network: NetworkMode = NetworkMode.BRIDGE
    publish: tuple[PortMapping, ...] = ()
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    privileged: bool = False
    read_only: bool = False
    init: bool = False
    labels: Mapping[str, str] = {}
    stop_signal: str | None = None
    stop_timeout_s: float = 10
    add_hosts: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    security_opt: tuple[str, ...] = ()

    def check(self) -> None:
        """Say what is wrong with the request by itself, before anything is looked up.

        Raises:
            InvalidRunRequestError: for the first thing that is wrong.

        """
        if self.name is not None and _CONTAINER_NAME.match(self.name) is None:
            raise InvalidRunRequestError(
                f"invalid container name {self.name!r}",
                hint="Use letters, digits, '_', '.' and '-', beginning with a letter or digit.",
            )
        if self.publish and self.network is not NetworkMode.BRIDGE:
            raise InvalidRunRequestError(
                f"cannot publish ports with --network {self.network}",
                hint="Leave out -p, or use --network bridge.",
            )
        for volume in self.volumes:
            volume.checked()
        for port in self.publish:
            port.checked()
        for host in self.add_hosts:
            if not all(host.partition(":")[::2]):
                raise InvalidRunRequestError(
                    f"invalid host entry {host!r}", hint="Write it as name:address."
                )
        for option in self.security_opt:
            if option not in SECURITY_OPTIONS:
                raise InvalidRunRequestError(
                    f"unknown security option {option!r}",
                    hint=f"Known are {', '.join(SECURITY_OPTIONS)}.",
                )


SECURITY_OPTIONS = (
    "no-new-privileges",
    "no-new-privileges:true",
    "no-new-privileges:false",
    "seccomp=unconfined",
)
