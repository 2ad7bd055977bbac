"""A registry for tests: in this process, on a free port, in its own thread.

with running_registry(tmp_path) as registry:
    push_to(f"{registry.host}/team/app:1.0")
"""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from registry_server.app import create_app
from registry_server.config import Settings
from registry_server.server import ListeningServer
from registry_server.storage.interface import StorageBackend

# A test that waited without a limit would stand still where it should fail.
_PATIENCE_S = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningRegistry:
    """Where the registry listens; ``host`` is "127.0.0.1:PORT"."""

    host: str
    url: str
    storage_dir: Path


@contextlib.contextmanager
def running_registry(
    storage_dir: Path,
    *,
    htpasswd: Path | None = None,
    anonymous_pull: bool = False,
    read_only: bool = False,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    durable: bool = False,
    allow_sparse: bool = False,
    storage: StorageBackend | None = None,
) -> Iterator[RunningRegistry]:
    """Yield a registry that answers from now on and is stopped at the end of the block.

    ``storage_dir`` is created when absent and kept; with ``storage`` given it is not touched.
    """
    settings = Settings(
        root=storage_dir,
        port=0,
        htpasswd=htpasswd,
        anonymous_pull=anonymous_pull,
        read_only=read_only,
        tls_cert=tls_cert,
        tls_key=tls_key,
        durable=durable,
        allow_sparse=allow_sparse,
        shutdown_timeout_s=1.0,
    )
    app = create_app(settings, storage)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="registry", daemon=True)
    thread.start()
    try:
        server = asyncio.run_coroutine_threadsafe(
            ListeningServer.start(app, settings), loop
        ).result(_PATIENCE_S)
        try:
            scheme = "https" if settings.uses_tls else "http"
            yield RunningRegistry(
                host=server.address, url=f"{scheme}://{server.address}", storage_dir=storage_dir
            )
        finally:
            asyncio.run_coroutine_threadsafe(server.stop(), loop).result(_PATIENCE_S)
    finally:
        ended = asyncio.run_coroutine_threadsafe(loop.shutdown_default_executor(), loop)
        ended.result(_PATIENCE_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_PATIENCE_S)
        loop.close()
