"""How requests reach a host: which client sends them, and where redirects may lead."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol
from urllib.parse import urlsplit

from imagekit.registry.endpoints import resolve_location, same_origin
from imagekit.registry.errors import ProtocolError, redacted
from imagekit.registry.requests import Request, Response, Transport

MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)


class RedirectingTransport:
    """Follows redirects, and never takes credentials along to another host.

    Source: RFC 9110 section 15.4; distribution-spec: "the client must not carry Authorization".
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def __call__(self, request: Request, /) -> Response:
        """Send ``request`` and what its redirects ask for; return the last answer.

        Raises:
            ProtocolError: after too many redirects, or for one from https to http.

        """
        for _ in range(MAX_REDIRECTS + 1):
            response = self._transport(request)
            if response.status not in _REDIRECTS or "location" not in response.headers:
                return response
            target = resolve_location(request.url, response.headers["location"])
            response.discard()
            if urlsplit(request.url).scheme == "https" and urlsplit(target).scheme == "http":
                raise ProtocolError(f"{redacted(request.url)} redirects to plain http")
            headers = dict(request.headers)
            if not same_origin(request.url, target):
                headers.pop("authorization", None)
            if response.status == 303 and request.method != "HEAD":
                request = replace(request, method="GET", url=target, headers=headers, body=b"")
            else:
                request = replace(request, url=target, headers=headers)
        raise ProtocolError(f"{redacted(request.url)} redirects more than {MAX_REDIRECTS} times")


class Closing(Protocol):
    """Something with connections to close."""

    def close(self) -> None:
        """Close them; safe to repeat."""
        ...


class ByScheme:
    """Sends plain http by one transport and everything else by another, made when first needed.

    ``proxied`` tells whether plain http to a host goes through a proxy, which the other one does.
    """

    def __init__(
        self,
        *,
        plain: Transport,
        other: Callable[[], Transport],
        proxied: Callable[[str], bool],
    ) -> None:
        self._plain = plain
        self._proxied = proxied
        self._make = other
        self._other: Transport | None = None
        self._lock = threading.Lock()

    def __call__(self, request: Request, /) -> Response:
        """Send ``request``."""
        parts = urlsplit(request.url)
        if parts.scheme == "http" and not self._proxied(parts.hostname or ""):
            return self._plain(request)
        with self._lock:
            if self._other is None:
                self._other = self._make()
            other = self._other
        return other(request)


def bypasses_proxy(host: str, no_proxy: tuple[str, ...]) -> bool:
    """Tell whether ``host`` is one of ``no_proxy``: a name, a parent domain, or ``*``."""
    for entry in no_proxy:
        name = entry.strip().lower().removeprefix("*").lstrip(".").partition(":")[0]
        if entry.strip() == "*" or (name and (host == name or host.endswith(f".{name}"))):
            return True
    return False
