"""Running the registry: one process, or a parent with workers on one address.

Workers are forked before there is any thread or event loop. Each listens on a socket of its own
with SO_REUSEPORT. They notice the parent's death by the end of a pipe, so none outlives it.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from imagekit.base.errors import ImagekitError
from registry_server.app import create_app
from registry_server.config import Defaults, Settings, parse_listen
from registry_server.errors import ServerStartError
from registry_server.server import ListeningServer, address_of, bind, tls_context

Announce = Callable[[str], None]


def _announce(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def serve(settings: Settings, *, announce: Announce = _announce) -> None:
    """Serve until SIGTERM or SIGINT, then finish running requests and return.

    ``announce`` gets one line once requests are answered. Must be called in the main thread.

    Raises:
        ServerStartError: when the address or the directory cannot be had, or a worker dies.
        SettingsError: when certificate or password file cannot be used.

    """
    if settings.workers == 1:
        asyncio.run(_run(settings, announce, parent_pipe=None))
    else:
        _Workers(settings, announce).run()


async def _run(settings: Settings, ready: Announce, *, parent_pipe: int | None) -> None:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    if parent_pipe is not None:
        loop.add_reader(parent_pipe, stopping.set)
    server = await ListeningServer.start(create_app(settings), settings)
    ready(f"listening on {server.address}")
    await stopping.wait()
    if parent_pipe is not None:
        loop.remove_reader(parent_pipe)
    await server.stop()


class _Workers:
    """The parent: starts the workers, passes signals on, ends when one ends unasked."""

    def __init__(self, settings: Settings, announce: Announce) -> None:
        self._settings = settings
        self._announce = announce
        self._pids: set[int] = set()
        self._stopping = False

    def run(self) -> None:
        """See serve."""
        # Bad settings are one clear error here, not one in each worker.
        tls_context(self._settings)
        create_app(self._settings)
        # Bound but never listening: it holds the port that was chosen for 0.
        with bind(self._settings) as reserved:
            settings = replace(self._settings, port=reserved.getsockname()[1])
            alive_read, alive_write = os.pipe()
            ready_read, ready_write = os.pipe()
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._stop)
            try:
                for _ in range(settings.workers):
                    if not self._stopping:
                        self._start(settings, reserved, alive_read, alive_write, ready_write)
                os.close(ready_write)
                ready = b""
                while len(ready) < settings.workers and (more := os.read(ready_read, 64)):
                    ready += more
                if len(ready) == settings.workers:
                    self._announce(f"listening on {address_of(reserved)}")
                self._wait()
            finally:
                for descriptor in (alive_read, alive_write, ready_read):
                    os.close(descriptor)

    def _start(
        self, settings: Settings, reserved: socket.socket, alive: int, alive_write: int, ready: int
    ) -> None:
        # A signal waits until the worker is in the list: else it would never hear of the end.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
        pid = os.fork()
        if pid:
            self._pids.add(pid)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            return
        status = 1
        try:
            # A signal before the loop takes over must end this process, not reach its siblings.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            reserved.close()
            os.close(alive_write)

            def tell_parent(_line: str) -> None:
                os.write(ready, b".")
                os.close(ready)

            asyncio.run(_run(settings, tell_parent, parent_pipe=alive))
            status = 0
        except ImagekitError as error:
            sys.stderr.write(f"error: {error.message}\n")
        finally:
            sys.stderr.flush()
            os._exit(status)

    def _wait(self) -> None:
        """Wait for all workers; one that ends unasked ends the others, and is an error."""
        failed = False
        while self._pids:
            pid, status = os.wait()
            self._pids.discard(pid)
            if not self._stopping:
                failed = failed or status != 0
                self._stop(signal.SIGTERM, None)
        if failed:
            raise ServerStartError("a worker of the registry ended unexpectedly")

    def _stop(self, number: int, frame: object) -> None:
        del number, frame
        self._stopping = True
        for pid in self._pids:
            # One that has ended just now is no longer there to be told.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)


def _arguments(defaults: Defaults) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="registry_server", description="Serve an OCI registry from a directory."
    )
    parser.add_argument(
        "--root",
        type=Path,
        default=defaults.root,
        required=defaults.root is None,
        metavar="DIR",
        help="where blobs and manifests are kept",
    )
    parser.add_argument(
        "--listen",
        default=defaults.listen,
        metavar="HOST:PORT",
        help="address; port 0 takes a free one (default %(default)s)",
    )
    parser.add_argument(
        "--htpasswd",
        type=Path,
        default=defaults.htpasswd,
        metavar="FILE",
        help="users with bcrypt passwords; without it everybody may do everything",
    )
    parser.add_argument(
        "--anonymous-pull", action="store_true", help="let everybody pull; pushing needs a user"
    )
    parser.add_argument("--read-only", action="store_true", help="refuse every change")
    parser.add_argument(
        "--tls-cert",
        type=Path,
        default=defaults.tls_cert,
        metavar="FILE",
        help="certificate chain (PEM)",
    )
    parser.add_argument(
        "--tls-key",
        type=Path,
        default=defaults.tls_key,
        metavar="FILE",
        help="its private key (PEM)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="processes that share the address (default 1)",
    )
    parser.add_argument(
        "--allow-sparse",
        action="store_true",
        help="take manifests whose layers or platforms are not here",
    )
    parser.add_argument(
        "--no-fsync",
        action="store_true",
        help="faster pushes; a power cut may lose the newest of them",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``python -m registry_server`` and return its exit code."""
    try:
        given = _arguments(Defaults.from_environment()).parse_args(arguments)
        host, port = parse_listen(given.listen)
        settings = Settings(
            root=given.root,
            host=host,
            port=port,
            htpasswd=given.htpasswd,
            anonymous_pull=given.anonymous_pull,
            read_only=given.read_only,
            tls_cert=given.tls_cert,
            tls_key=given.tls_key,
            workers=given.workers,
            durable=not given.no_fsync,
            allow_sparse=given.allow_sparse,
        )
        serve(settings)
    except ImagekitError as error:
        sys.stderr.write(f"error: {error.message}\n")
        if error.hint:
            sys.stderr.write(f"hint: {error.hint}\n")
        return error.exit_code
    return 0
