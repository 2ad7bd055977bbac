"""Peers and doubles of the registry client's tests."""

import contextlib
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import bcrypt
import pytest

from imagekit.base.clock import FixedClock
from imagekit.registry.client import RegistryClient, RegistrySettings

Handler = Callable[[BaseHTTPRequestHandler], None]


class Server(ThreadingHTTPServer):
    """Takes it as nothing special that a client goes away in the middle of an answer."""

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type] # only passed on


CONFIG = """
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {storage}}}
  delete: {{enabled: true}}
http: {{addr: "{host}"}}
{auth}
"""


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def make_client(clock: FixedClock) -> Iterator[Callable[..., RegistryClient]]:
    """Clients that never really wait."""
    made: list[RegistryClient] = []

    def make(**settings: object) -> RegistryClient:
        client = RegistryClient(RegistrySettings(**settings), clock=clock)  # type: ignore[arg-type]  # by name
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


@pytest.fixture
def serve() -> Iterator[Callable[[Handler], str]]:
    """A server that is a function: returns ``host:port``; ends with the test."""
    servers: list[Server] = []

    def start(handle: Handler) -> str:
        class OneHandler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _handle(self) -> None:
                handle(self)

            do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _handle  # noqa: N815

            def log_message(self, *args: object) -> None:
                pass

        server = Server(("127.0.0.1", 0), OneHandler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _running(directory: Path, auth: str = "") -> Iterator[str]:
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is not installed")
    host = f"127.0.0.1:{_free_port()}"
    config = directory / "config.yml"
    config.write_text(CONFIG.format(storage=directory / "storage", host=host, auth=auth))
    process = subprocess.Popen(
        [program, "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 20
        while True:
            name, _, port = host.partition(":")
            try:
                socket.create_connection((name, int(port)), timeout=1).close()
                break
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
                time.sleep(0.05)
        yield host
    finally:
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture(scope="session")
def docker_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Debian's docker-registry, without authentication."""
    with _running(tmp_path_factory.mktemp("docker-registry")) as host:
        yield host


@pytest.fixture(scope="session")
def guarded_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Debian's docker-registry with the user ``ann`` and the password ``s3cret``."""
    directory = tmp_path_factory.mktemp("guarded-registry")
    hashed = bcrypt.hashpw(b"s3cret", bcrypt.gensalt(4)).decode()
    (directory / "htpasswd").write_text(f"ann:{hashed}\n")
    auth = f"auth: {{htpasswd: {{realm: test, path: {directory / 'htpasswd'}}}}}"
    with _running(directory, auth) as host:
        yield host


@pytest.fixture
def run_python() -> Callable[[str], str]:
    """Run a program in a fresh interpreter and return what it prints."""

    def run(program: str) -> str:
        root = Path(__file__).parents[2]
        ended = subprocess.run(
            [sys.executable, "-c", program], cwd=root, check=True, capture_output=True, text=True
        )
        return ended.stdout

    return run
