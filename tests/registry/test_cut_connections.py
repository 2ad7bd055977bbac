"""Real registries behind a wire that breaks: everything arrives, and nothing wrong does."""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagekit.oci import mediatype
from imagekit.oci.manifest import Manifest
from imagekit.oci.reference import Reference
from imagekit.registry.client import RegistryClient, RegistrySettings
from imagekit.registry.memory import MemoryContent
from imagekit.registry.transfer import transfer
from registry_server.testing import running_registry

CUT_AFTER = 1_500_000


class CuttingProxy:
    """Passes bytes on, and cuts a connection after some of them, as often as it is told."""

    def __init__(self, host: str, cuts: int) -> None:
        name, _, port = host.partition(":")
        self._target = (name, int(port))
        self._left = cuts
        self._lock = threading.Lock()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._server.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def cuts_left(self) -> int:
        return self._left

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                far = socket.create_connection(self._target)
                for one, other in ((near, far), (far, near)):
                    thread = threading.Thread(target=self._pass, args=(one, other), daemon=True)
                    thread.start()
                    self._threads.append(thread)

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
                passed += len(data)
                if passed > CUT_AFTER and self._may_cut():
                    break
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        one.close()

    def _may_cut(self) -> bool:
        with self._lock:
            self._left -= 1
            return self._left >= 0


@contextlib.contextmanager
def bundled(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with running_registry(tmp_path / "registry") as registry:
        yield registry.host


@contextlib.contextmanager
def docker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    yield request.getfixturevalue("docker_registry")


@pytest.fixture(params=[bundled, pytest.param(docker, marks=pytest.mark.peer)])
def proxy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CuttingProxy]:
    with request.param(request, tmp_path) as host:
        made = CuttingProxy(host, cuts=4)
        yield made
        made.close()


def test_an_image_moves_over_a_wire_that_breaks(
    proxy: CuttingProxy,
) -> None:
    here, there = MemoryContent(), MemoryContent()
    manifest = Manifest.build(
        config=here.add(b"{}", mediatype.OCI_CONFIG),
        layers=[here.add(os.urandom(5_000_000), mediatype.OCI_LAYER) for _ in range(2)],
    )
    here.add(manifest.raw, manifest.media_type)
    client = RegistryClient(RegistrySettings())  # which really waits: registries need it
    repository = client.repository(Reference.parse(f"{proxy.host}/broken/wire"))

    transfer(here, repository, manifest.descriptor, concurrency=1)
    pushed_with = proxy.cuts_left
    transfer(repository, there, manifest.descriptor, concurrency=1)
    client.close()

    assert there.digests() == here.digests()
    assert pushed_with < 4
