"""Settings of the registry server, and the only place that reads its environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from registry_server.errors import SettingsError

MANIFEST_MAX_BYTES = 16 << 20
UPLOAD_LIFETIME_S = 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to run the registry; checked when made.

    Raises:
        SettingsError: when one contradicts another.

    """

    root: Path
    host: str = "127.0.0.1"
    port: int = 5000
    htpasswd: Path | None = None
    anonymous_pull: bool = False
    read_only: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    workers: int = 1
    durable: bool = True
    allow_sparse: bool = False
    manifest_max_bytes: int = MANIFEST_MAX_BYTES
    upload_lifetime_s: float = UPLOAD_LIFETIME_S
    shutdown_timeout_s: float = 10.0

    def __post_init__(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise SettingsError("a TLS certificate and its key go together")
        if self.anonymous_pull and self.htpasswd is None:
            raise SettingsError(
                "anonymous pull says nothing without a password file",
                hint="Add an htpasswd file, or leave anonymous pull out: all may pull then.",
            )
        if not 1 <= self.workers <= 64:
            raise SettingsError(f"workers must be 1 to 64, not {self.workers}")
        if not 0 <= self.port <= 65535:
            raise SettingsError(f"no such port: {self.port}")

    @property
    def uses_tls(self) -> bool:
        """Tell whether connections are encrypted."""
        return self.tls_cert is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What the environment says, for options that the command line leaves out."""

    root: Path | None
    listen: str
    htpasswd: Path | None
    tls_cert: Path | None
    tls_key: Path | None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read the variables that begin with REGISTRY_SERVER_."""
        source = os.environ if environ is None else environ  # noqa: TID251 - this is the place

        def path(name: str) -> Path | None:
            value = source.get(f"REGISTRY_SERVER_{name}")
            return Path(value) if value else None

        return cls(
            root=path("ROOT"),
            listen=source.get("REGISTRY_SERVER_LISTEN") or "127.0.0.1:5000",
            htpasswd=path("HTPASSWD"),
            tls_cert=path("TLS_CERT"),
            tls_key=path("TLS_KEY"),
        )


def parse_listen(text: str) -> tuple[str, int]:
    """Return host and port of "HOST:PORT"; an IPv6 address stands in brackets.

    Raises:
        SettingsError: for anything else.

    """
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if not colon or not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise SettingsError(f"cannot listen on {text!r}", hint="Write it as HOST:PORT.")
    return host or "0.0.0.0", int(port)  # noqa: S104 - ":5000" means every address, as in docker
