"""The way in: settings to repositories."""

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from imagekit.base.clock import Clock, SystemClock
from imagekit.oci.reference import Reference
from imagekit.registry.auth import CATALOG_SCOPES, Authenticator, Credentials
from imagekit.registry.endpoints import api_host, catalog, is_loopback
from imagekit.registry.errors import UnreachableError
from imagekit.registry.plain_transport import PlainTransport
from imagekit.registry.repository import Repository, paged
from imagekit.registry.requests import Request, Transport
from imagekit.registry.retry import Retrier, RetryPolicy
from imagekit.registry.session import Session
from imagekit.registry.transport import ByScheme, Closing, RedirectingTransport, bypasses_proxy

if TYPE_CHECKING:
    from imagekit.registry.credentials import CredentialStore

DEFAULT_USER_AGENT = "imagekit"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings:
    """Everything the client is told. Hosts are written as in references, with their port.

    ``config_paths`` are files with credentials, the one for logins first; ``credentials`` by host
    count more. ``insecure`` hosts may have an unverified certificate or no TLS at all; hosts on
    this machine are spoken to without TLS unless ``tls`` names them.
    """

    config_paths: tuple[Path, ...] = ()
    credentials: Mapping[str, Credentials] = field(default_factory=dict, repr=False)
    insecure: frozenset[str] = frozenset()
    tls: frozenset[str] = frozenset()
    ca_file: Path | None = None
    client_cert: tuple[Path, Path] | None = None
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    no_proxy: tuple[str, ...] = ()
    user_agent: str = DEFAULT_USER_AGENT
    retries: RetryPolicy = field(default_factory=RetryPolicy)
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 60.0
    chunk_bytes: int | None = None


class RegistryClient:
    """Repositories of any registry, with one pool of connections and one memory of tokens.

    Safe from several threads. Nothing is connected to, read or imported before it is needed.
    """

    def __init__(
        self,
        settings: RegistrySettings,
        *,
        transport: Transport | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._made_store: CredentialStore | None = None
        self._closers: list[Closing] = []
        self._transport = RedirectingTransport(transport or self._default_transport())
        self._lock = threading.Lock()
        self._sessions: dict[tuple[str, str], Session] = {}
        self._bases: dict[str, str] = {}

    def repository(self, reference: Reference, *, mount_from: tuple[str, ...] = ()) -> Repository:
        """Return the repository of ``reference``; ``mount_from`` are paths on the same registry."""
        return Repository(
            session=self._session(reference.domain, reference.path),
            base=self._base(reference.domain),
            reference=reference,
            mount_from=mount_from,
            chunk_bytes=self._settings.chunk_bytes,
        )

    def repositories(self, domain: str, *, page: int | None = None) -> Iterator[str]:
        """Yield the paths of the registry's repositories, where it lists them."""
        url = catalog(self._base(domain), page=page)
        return paged(self._session(domain, ""), url, "repositories", CATALOG_SCOPES)

    def check(self, domain: str) -> None:
        """Ask the registry whether it takes our credentials.

        Raises:
            AuthenticationError: if not.

        """
        url = f"{self._base(domain)}/v2/"
        self._session(domain, "").send(Request(method="GET", url=url)).discard()

    def login(self, domain: str, credentials: Credentials) -> None:
        """Try credentials at the registry, and store them if it takes them."""
        session = self._new_session(lambda: credentials)
        session.send(Request(method="GET", url=f"{self._base(domain)}/v2/")).discard()
        self._store().login(domain, credentials)
        with self._lock:
            self._sessions.clear()

    def logout(self, domain: str) -> bool:
        """Forget the stored credentials of a registry; tell whether there were any."""
        with self._lock:
            self._sessions.clear()
        return self._store().logout(domain)

    def close(self) -> None:
        """Close idle connections."""
        for one in self._closers:
            one.close()

    def _session(self, domain: str, path: str) -> Session:
        with self._lock:
            key = (domain, path)
            if key not in self._sessions:
                given = self._settings.credentials.get(domain)
                self._sessions[key] = self._new_session(
                    lambda: given or self._store().find(domain, path)
                )
            return self._sessions[key]

    def _store(self) -> "CredentialStore":
        from imagekit.registry.credentials import CredentialStore

        with self._lock:
            if self._made_store is None:
                self._made_store = CredentialStore(self._settings.config_paths)
            return self._made_store

    def _new_session(self, credentials: Callable[[], Credentials | None]) -> Session:
        return Session(
            transport=self._transport,
            authenticator=Authenticator(credentials=credentials, clock=self._clock),
            retrier=Retrier(policy=self._settings.retries, clock=self._clock, random=_jitter),
            user_agent=self._settings.user_agent,
        )

    def _base(self, domain: str) -> str:
        """Return scheme and host of the API; asks an insecure host once whether it has TLS."""
        host = api_host(domain)
        if domain in self._settings.tls:
            return f"https://{host}"
        if is_loopback(host):
            return f"http://{host}"
        if domain not in self._settings.insecure:
            return f"https://{host}"
        with self._lock:
            known = self._bases.get(domain)
        if known is None:
            known = f"{'https' if self._has_tls(host) else 'http'}://{host}"
            with self._lock:
                self._bases[domain] = known
        return known

    def _has_tls(self, host: str) -> bool:
        try:
            self._transport(Request(method="GET", url=f"https://{host}/v2/")).discard()
        except UnreachableError:
            return False
        return True

    def _default_transport(self) -> Transport:
        settings = self._settings
        plain = PlainTransport(
            connect_timeout_s=settings.connect_timeout_s, read_timeout_s=settings.read_timeout_s
        )
        self._closers.append(plain)
        return ByScheme(
            plain=plain,
            other=self._requests_transport,
            proxied=lambda host: (
                bool({"http", "all"} & settings.proxies.keys())
                and not bypasses_proxy(host, settings.no_proxy)
            ),
        )

    def _requests_transport(self) -> Transport:
        from imagekit.registry.requests_transport import RequestsTransport

        settings = self._settings
        other = RequestsTransport(
            ca_file=settings.ca_file,
            client_cert=settings.client_cert,
            unverified=settings.insecure,
            proxies=settings.proxies,
            no_proxy=settings.no_proxy,
            connect_timeout_s=settings.connect_timeout_s,
            read_timeout_s=settings.read_timeout_s,
        )
        self._closers.append(other)
        return other


def _jitter() -> float:
    import random  # late: only failures wait

    return random.random()  # noqa: S311 - spreads clients, keeps no secret
