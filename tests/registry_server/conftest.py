"""A registry over each storage, and a client that sends exactly what a test says."""

import hashlib
import http.client
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from registry_server.storage.memory import MemoryStorage
from registry_server.testing import running_registry

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


Eventually = Callable[[Callable[[], bool]], None]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def header(self, name: str) -> str:
        value = self.headers[name]
        assert value is not None, f"no {name} in {self.headers}"
        return str(value)

    @property
    def location(self) -> str:
        return self.header("Location")

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error_code(self) -> str:
        assert self.headers["Content-Type"] == "application/json"
        (error,) = self.json()["errors"]
        assert error["message"]
        return cast("str", error["code"])


class Api:
    """Requests to one registry; paths go out as they are, without any normalisation."""

    def __init__(self, host: str) -> None:
        self.host = host

    def __call__(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        connection = http.client.HTTPConnection(self.host, timeout=30)
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def start(self, name: str, query: str = "") -> str:
        answer = self("POST", f"/v2/{name}/blobs/uploads/{query}")
        assert answer.status == 202
        return answer.location

    def put(
        self,
        location: str,
        digest: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        join = "&" if "?" in location else "?"
        return self("PUT", f"{location}{join}digest={digest}", body, headers)

    def push_blob(self, name: str, content: bytes, algorithm: str = "sha256") -> str:
        digest = digest_of(content, algorithm)
        answer = self("POST", f"/v2/{name}/blobs/uploads/?digest={digest}", content)
        assert answer.status == 201, answer.body
        return digest

    def push_manifest(
        self, name: str, document: Mapping[str, object], tag: str | None = None, query: str = ""
    ) -> tuple[str, Answer]:
        raw = json.dumps(document).encode()
        digest = digest_of(raw)
        media_type = str(document.get("mediaType", OCI_MANIFEST))
        answer = self(
            "PUT",
            f"/v2/{name}/manifests/{tag or digest}{query}",
            raw,
            {"Content-Type": media_type},
        )
        return digest, answer

    def image(self, name: str, **extra: object) -> dict[str, object]:
        """Push a config and a layer, and return a manifest of them."""
        config, layer = b'{"architecture":"amd64","os":"linux"}', b"layer of " + name.encode()
        return {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {
                "mediaType": OCI_CONFIG,
                "digest": self.push_blob(name, config),
                "size": len(config),
            },
            "layers": [
                {
                    "mediaType": OCI_LAYER,
                    "digest": self.push_blob(name, layer),
                    "size": len(layer),
                }
            ],
            **extra,
        }


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


@pytest.fixture(params=["filesystem", "memory"])
def api(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Api]:
    storage = MemoryStorage() if request.param == "memory" else None
    with running_registry(tmp_path / "registry", storage=storage) as registry:
        yield Api(registry.host)


@pytest.fixture
def disk_api(tmp_path: Path) -> Iterator[Api]:
    """A registry over tmp_path/"registry"."""
    with running_registry(tmp_path / "registry") as registry:
        yield Api(registry.host)


@pytest.fixture
def make_api() -> type[Api]:
    """The client's class, for tests that start a registry of their own kind."""
    return Api


@pytest.fixture
def eventually() -> Eventually:
    """Wait until a condition holds, for what another thread or process is about to do."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline
            os.sched_yield()

    return wait
