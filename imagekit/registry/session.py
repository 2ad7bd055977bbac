"""One registry host: requests with authentication, tried again where that is safe."""

from collections.abc import Generator
from dataclasses import replace
from typing import TypeVar

from imagekit.registry.auth import Authenticator, Scope
from imagekit.registry.errors import RegistryError, error_of
from imagekit.registry.requests import Request, Response, Transport
from imagekit.registry.retry import Retrier, parse_retry_after

T = TypeVar("T")


class Session:
    """Sends requests to one registry. Safe from several threads."""

    def __init__(
        self,
        *,
        transport: Transport,
        authenticator: Authenticator,
        retrier: Retrier,
        user_agent: str,
    ) -> None:
        self._transport = transport
        self._authenticator = authenticator
        self._user_agent = user_agent
        self.retrier = retrier

    def send(self, request: Request, scopes: frozenset[Scope] = frozenset()) -> Response:
        """Return the answer to ``request``, which has a status below 400 and an unread body.

        A repeatable request is tried again after transient failures.

        Raises:
            RegistryError: for every other status, and when there is no answer.

        """
        request = replace(request, headers={"user-agent": self._user_agent, **request.headers})
        if not request.repeatable:
            return self._send_once(request, scopes)
        return self.retrier.run(lambda: self._send_once(request, scopes))

    def follow(
        self, exchange: Generator[Request, Response, T], scopes: frozenset[Scope] = frozenset()
    ) -> T:
        """Send what a generator asks for, hand it answers and errors, and return its result."""
        return _drive(exchange, lambda request: self.send(request, scopes))

    def _send_once(self, request: Request, scopes: frozenset[Scope]) -> Response:
        response = _drive(self._authenticator.exchange(request, scopes), self._transport)
        if response.status < 400:
            return response
        wait = response.headers.get("retry-after")
        raise error_of(
            method=request.method,
            url=request.url,
            status=response.status,
            body=response.read_beginning(),
            retry_after_s=parse_retry_after(wait, self.retrier.clock) if wait else None,
        )


def _drive(exchange: Generator[Request, Response, T], send: Transport) -> T:
    try:
        request = next(exchange)
        while True:
            try:
                response = send(request)
            except RegistryError as error:
                request = exchange.throw(error)
            else:
                request = exchange.send(response)
    except StopIteration as end:
        result: T = end.value
        return result
