"""A listening server on the running event loop."""

import errno
import socket
import ssl
from typing import Self

from aiohttp import web

from registry_server.app import IN_FLIGHT
from registry_server.config import Settings
from registry_server.errors import ServerStartError, SettingsError

# What is still open after our own patience; 0 would mean for ever to aiohttp.
_CUT_AFTER_S = 0.1


class ListeningServer:
    """An application that answers on an address until it is stopped."""

    def __init__(
        self, runner: web.AppRunner, site: web.SockSite, *, address: str, patience_s: float
    ) -> None:
        self._runner = runner
        self._site = site
        self._patience_s = patience_s
        self.address = address
        """HOST:PORT with the port that was really taken."""

    @classmethod
    async def start(cls, app: web.Application, settings: Settings) -> Self:
        """Answer requests from now on.

        Raises:
            ServerStartError: when the address cannot be had.
            SettingsError: when certificate or key cannot be used.

        """
        context = tls_context(settings)
        sock = bind(settings)
        runner = web.AppRunner(app, shutdown_timeout=_CUT_AFTER_S)
        try:
            address = address_of(sock)
            await runner.setup()
            site = web.SockSite(runner, sock, ssl_context=context, backlog=1024)
            await site.start()
        except BaseException:
            await runner.cleanup()
            sock.close()
            raise
        return cls(runner, site, address=address, patience_s=settings.shutdown_timeout_s)

    async def stop(self) -> None:
        """Take no more connections, let requests finish within the time set, then cut them.

        The waiting is ours: aiohttp's own shutdown stops reading at once, so an upload that it
        waits for could never end.
        """
        await self._site.stop()
        await self._runner.app[IN_FLIGHT].drained(self._patience_s)
        await self._runner.cleanup()


def bind(settings: Settings) -> socket.socket:
    """Return a socket bound to the address of the settings, not listening yet.

    It may be bound by each worker: the kernel spreads connections over all that listen.

    Raises:
        ServerStartError: when the address cannot be had.

    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if settings.workers > 1:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((settings.host, settings.port))
    except OSError as error:
        sock.close()
        hint = None
        if error.errno == errno.EADDRINUSE:
            hint = "Stop what listens there, or choose another port."
        raise ServerStartError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}",
            hint=hint,
        ) from error
    sock.setblocking(False)  # noqa: FBT003 - the standard library's signature
    return sock


def address_of(sock: socket.socket) -> str:
    """Return HOST:PORT of a bound socket, an IPv6 address in brackets."""
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """Return the server's TLS context, None for plain connections.

    Raises:
        SettingsError: when certificate or key cannot be used.

    """
    if settings.tls_cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"cannot use certificate {settings.tls_cert} with key {settings.tls_key}: {error}"
        ) from error
    return context
