"""The state of a container as a value, its JSON form, and its line in ``ps``.

Imports the standard library and ``processes`` only: the supervisor uses it.
"""

import enum
import json
from datetime import datetime
from typing import Any, Self

from imagekit.base.errors import CorruptionError
from imagekit.base.record import Record
from imagekit.containers.processes import NO_PROCESS, ProcessIdentity


class Status(enum.StrEnum):
    """Where a container is in its life."""

    CREATED = "created"
    """It has never run."""
    RUNNING = "running"
    EXITED = "exited"
    DEAD = "dead"
    """Its files are damaged or partly removed; it can only be removed."""


class PortBinding(Record):
    """A published port with the host port it really got."""

    container_port: int
    protocol: str
    host_ip: str
    host_port: int

    def __str__(self) -> str:
        return f"{self.host_ip}:{self.host_port}->{self.container_port}/{self.protocol}"


class ContainerState(Record):
    """What is true of a container now; times are RFC 3339 in UTC, empty for not yet.

    ``init`` is the container's first process, ``owner`` the one that waits for it: when the owner
    has ended while the status says running, the owner was killed and the state is stale.
    ``cgroups`` are the directories to remove in that case.
    """

    status: Status = Status.CREATED
    init: ProcessIdentity = NO_PROCESS
    owner: ProcessIdentity = NO_PROCESS
    started: str = ""
    finished: str = ""
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""
    address: str = ""
    gateway: str = ""
    prefix_length: int = 0
    bridge: str = ""
    ports: tuple[PortBinding, ...] = ()
    cgroups: tuple[str, ...] = ()
    cpu_s: float = 0.0
    peak_memory_bytes: int = 0

    def to_json(self) -> bytes:
        """Return it as a JSON object."""
        document = self._asdict() | {
            "init": self.init._asdict(),
            "owner": self.owner._asdict(),
            "ports": [port._asdict() for port in self.ports],
        }
        return json.dumps(document, separators=(",", ":")).encode()

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Return the state that ``to_json`` wrote; fields it does not know are left out.

        Raises:
            CorruptionError: if ``raw`` is something else.

        """
        try:
            document: dict[str, Any] = json.loads(raw)
            values = {name: document[name] for name in cls._fields if name in document}
            values["status"] = Status(values["status"])
            for name in ("init", "owner"):
                values[name] = ProcessIdentity(**values.get(name, {}))
            values["ports"] = tuple(PortBinding(**port) for port in values.get("ports", ()))
            values["cgroups"] = tuple(values.get("cgroups", ()))
            return cls(**values)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptionError(f"the state of a container cannot be read: {error}") from error

    def describe(self, now: datetime) -> str:
        """Return the state in docker's words: "Up 3 seconds", "Exited (0) 2 minutes ago"."""
        match self.status:
            case Status.CREATED:
                return "Created"
            case Status.RUNNING:
                return f"Up {human_duration(_seconds_since(self.started, now))}"
            case Status.EXITED:
                ago = human_duration(_seconds_since(self.finished, now))
                return f"Exited ({self.exit_code}) {ago} ago"
            case Status.DEAD:
                return "Dead"


class ContainerSummary(Record):
    """A line of ``ps``; ``state`` is in words, as of the moment the list was made."""

    id: str
    name: str
    image: str
    image_id: str
    command: str
    created: datetime
    status: Status
    state: str
    exit_code: int | None
    ports: tuple[PortBinding, ...]
    labels: dict[str, str]

    @property
    def short_id(self) -> str:
        """The first 12 hex digits."""
        return self.id[:12]


class RunResult(Record):
    """A container that was started; ``exit_code`` is None while it runs detached."""

    id: str
    exit_code: int | None = None
    oom_killed: bool = False


class ContainerStats(Record):
    """What the processes of a running container use; ``memory_bytes`` includes page cache."""

    id: str
    name: str
    cpu_s: float
    memory_bytes: int
    peak_memory_bytes: int
    memory_limit_bytes: int | None
    pids: int
    read_bytes: int
    written_bytes: int


def human_duration(seconds: float) -> str:
    """Return a duration in the words docker uses.

    Source: docker/go-units duration.go HumanDuration.
    """
    whole = int(seconds)
    hours = int(seconds / 3600 + 0.5)
    if whole < 1:
        return "Less than a second"
    if whole < 60:
        return "1 second" if whole == 1 else f"{whole} seconds"
    if whole < 3600:
        return "About a minute" if whole < 120 else f"{whole // 60} minutes"
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    for limit, unit, name in ((336, 24, "days"), (1440, 168, "weeks"), (17520, 720, "months")):
        if hours < limit:
            return f"{hours // unit} {name}"
    return f"{hours // 8760} years"


def parse_time(text: str) -> datetime:
    """Return a time that ``base.clock.rfc3339`` wrote."""
    return datetime.fromisoformat(text)


def _seconds_since(text: str, now: datetime) -> float:
    return max(0.0, (now - parse_time(text)).total_seconds()) if text else 0.0
