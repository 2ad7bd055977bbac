"""Authentication: which header a request carries, and how a refusal leads to one.

The exchange is a generator: it yields the requests to send and is given their responses, so that it
does no I/O and is tested by handing it answers.

Source: distribution's token authentication specification; OCI distribution-spec leaves it open.
"""

import base64
import contextlib
import json
import threading
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from imagekit.base.clock import Clock
from imagekit.registry.endpoints import is_loopback
from imagekit.registry.errors import AuthenticationError, ProtocolError, error_of, redacted
from imagekit.registry.requests import Request, Response

if TYPE_CHECKING:
    from imagekit.registry.challenge import Challenge

CLIENT_ID = "imagekit"
DEFAULT_LIFETIME_S = 60.0
_MARGIN_S = 5.0
_MAX_TOKEN_BYTES = 1 << 20

Scope = tuple[str, str]
"""A resource (``repository:team/app``) and one action on it (``pull``)."""

Exchange = Generator[Request, Response, Response]


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What is known about a user; nothing of it is shown by ``repr`` but the name.

    ``identity_token`` is an OAuth refresh token, ``registry_token`` a bearer token to use as it is.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of a Basic Authorization header (RFC 7617)."""
        pair = f"{self.username}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    value: str = field(repr=False)
    scopes: frozenset[Scope]
    expires_at_s: float


def repository_scopes(path: str, *actions: str) -> frozenset[Scope]:
    """Return the scopes of ``actions`` on a repository."""
    return frozenset((f"repository:{path}", action) for action in actions)


CATALOG_SCOPES: frozenset[Scope] = frozenset({("registry:catalog", "*")})


class Authenticator:
    """What one registry has told about authentication, and the tokens it gave.

    ``credentials`` is called once, at the first refusal; it returns None for anonymous. Safe from
    several threads; two of them may fetch the same token, which costs a request and nothing else.
    """

    def __init__(self, *, credentials: Callable[[], Credentials | None], clock: Clock) -> None:
        self._find_credentials = credentials
        self._clock = clock
        self._lock = threading.Lock()
        self._looked_up = False
        self._credentials: Credentials | None = None
        self._challenge: Challenge | None = None
        self._tokens: list[_Token] = []

    def exchange(self, request: Request, scopes: frozenset[Scope] = frozenset()) -> Exchange:
        """Yield the requests that get ``request`` answered, and return its last answer.

        The answer may still be 401, when the registry refuses what there is to offer.

        Raises:
            AuthenticationError: if a token service refuses, or is not to be trusted with a secret.
            ProtocolError: if a token service answers nonsense.

        """
        header = yield from self._known_header(request.url, scopes)
        response = yield _authorised(request, header)
        if response.status != 401:
            return response
        from imagekit.registry.challenge import parse_challenges  # late: most need no grammar

        challenges = parse_challenges(response.headers.get("www-authenticate", ""))
        challenge = _choose(challenges)
        if challenge is None:
            return response
        wanted = scopes | parse_scopes(challenge.parameters.get("scope", ""))
        with self._lock:
            self._challenge = challenge
            self._tokens = [token for token in self._tokens if f"Bearer {token.value}" != header]
        fresh = yield from self._known_header(request.url, wanted)
        if fresh is None or fresh == header:
            return response
        response.discard()
        return (yield _authorised(request, fresh))

    def _known_header(
        self, url: str, scopes: frozenset[Scope]
    ) -> Generator[Request, Response, str | None]:
        with self._lock:
            challenge = self._challenge
        if challenge is None:
            return None
        credentials = self._lookup()
        if challenge.scheme == "basic":
            return credentials.basic if credentials and credentials.username else None
        if credentials and credentials.registry_token:
            return f"Bearer {credentials.registry_token}"
        token = self._cached(scopes)
        if token is None:
            token = yield from self._fetch(url, challenge, credentials, scopes)
            with self._lock:
                self._tokens.append(token)
        return f"Bearer {token.value}"

    def _lookup(self) -> Credentials | None:
        with self._lock:
            if not self._looked_up:
                self._credentials = self._find_credentials()
                self._looked_up = True
            return self._credentials

    def _cached(self, scopes: frozenset[Scope]) -> _Token | None:
        now = self._clock.monotonic()
        with self._lock:
            self._tokens = [token for token in self._tokens if token.expires_at_s > now]
            return next((token for token in self._tokens if token.scopes >= scopes), None)

    def _fetch(
        self,
        url: str,
        challenge: "Challenge",
        credentials: Credentials | None,
        scopes: frozenset[Scope],
    ) -> Generator[Request, Response, _Token]:
        realm = challenge.parameters.get("realm", "")
        service = challenge.parameters.get("service", "")
        _check_realm(url, realm, secret=credentials is not None)
        started_s = self._clock.monotonic()
        response: Response | None = None
        if credentials and credentials.identity_token:
            response = yield _oauth_request(realm, service, scopes, credentials.identity_token)
            if response.status in (404, 405) and credentials.password:
                response.discard()
                response = None
        if response is None:
            response = yield _token_request(realm, service, scopes, credentials)
        if response.status != 200:
            error = error_of(
                method="token request to",
                url=response.url,
                status=response.status,
                body=response.read_beginning(),
            )
            if 400 <= response.status < 404:
                raise AuthenticationError(error.message, status=response.status) from error
            raise error
        return _parse_token(response, scopes, started_s)


def parse_scopes(text: str) -> frozenset[Scope]:
    """Return the scopes of a challenge: ``repository:a/b:pull,push registry:catalog:*``.

    A resource name may itself hold a colon, so the actions are what follows the last one.
    """
    found: set[Scope] = set()
    for part in text.split():
        resource, colon, actions = part.rpartition(":")
        if colon and ":" in resource:
            found.update((resource, action) for action in actions.split(",") if action)
    return frozenset(found)


def render_scopes(scopes: Iterable[Scope]) -> list[str]:
    """Return the scopes as a token service takes them, one text for each resource, sorted."""
    actions: dict[str, list[str]] = {}
    for resource, action in sorted(scopes):
        actions.setdefault(resource, []).append(action)
    return [f"{resource}:{','.join(names)}" for resource, names in actions.items()]


def _authorised(request: Request, header: str | None) -> Request:
    if header is None:
        return request
    return replace(request, headers={**request.headers, "authorization": header})


def _choose(challenges: "tuple[Challenge, ...]") -> "Challenge | None":
    for scheme in ("bearer", "basic"):
        for challenge in challenges:
            if challenge.scheme == scheme:
                return challenge
    return None


def _check_realm(url: str, realm: str, *, secret: bool) -> None:
    parts = urlsplit(realm)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ProtocolError(f"{redacted(url)} names no usable token service")
    plain = parts.scheme == "http" and not is_loopback(parts.netloc)
    if secret and plain and urlsplit(url).scheme == "https":
        raise AuthenticationError(
            f"credentials for {urlsplit(url).netloc} are not sent to {redacted(realm)} without TLS",
            hint="Ask the registry's administrator for a token service over https.",
        )


def _token_request(
    realm: str, service: str, scopes: frozenset[Scope], credentials: Credentials | None
) -> Request:
    query = [("service", service)] if service else []
    query += [("scope", scope) for scope in render_scopes(scopes)]
    headers = {}
    if credentials and credentials.username:
        query.append(("account", credentials.username))
        headers["authorization"] = credentials.basic
    joined = "&" if "?" in realm else "?"
    return Request(method="GET", url=f"{realm}{joined}{urlencode(query)}", headers=headers)


def _oauth_request(
    realm: str, service: str, scopes: frozenset[Scope], identity_token: str
) -> Request:
    form = {
        "grant_type": "refresh_token",
        "service": service,
        "client_id": CLIENT_ID,
        "scope": " ".join(render_scopes(scopes)),
        "refresh_token": identity_token,
    }
    return Request(
        method="POST",
        url=realm,
        headers={"content-type": "application/x-www-form-urlencoded"},
        body=urlencode(form).encode(),
    )


def _parse_token(response: Response, scopes: frozenset[Scope], started_s: float) -> _Token:
    raw = response.read_all(_MAX_TOKEN_BYTES)
    document: object = None
    with contextlib.suppress(ValueError, RecursionError):
        document = json.loads(raw)
    value = None
    lifetime: object = None
    if isinstance(document, dict):
        value = document.get("token") or document.get("access_token")
        lifetime = document.get("expires_in")
    if not isinstance(value, str) or not value or not value.isascii() or not value.isprintable():
        raise ProtocolError(f"token service {redacted(response.url)} gave no token")
    lifetime_s = DEFAULT_LIFETIME_S
    if isinstance(lifetime, int | float) and lifetime > 0:
        lifetime_s = float(lifetime)
    return _Token(
        value=value,
        scopes=scopes,
        expires_at_s=started_s + max(lifetime_s - _MARGIN_S, lifetime_s / 2),
    )
