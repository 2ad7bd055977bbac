"""The client against a registry that is a function: no socket, no wait."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from imagekit.base.clock import FixedClock
from imagekit.oci import mediatype
from imagekit.oci.digest import Digest
from imagekit.oci.manifest import Manifest
from imagekit.oci.reference import Reference
from imagekit.registry.auth import Credentials
from imagekit.registry.client import RegistryClient, RegistrySettings
from imagekit.registry.errors import AuthenticationError, NotFoundError, ProtocolError
from imagekit.registry.memory import MemoryContent
from imagekit.registry.requests import BytesReader, Request, Response
from imagekit.registry.transfer import transfer

ANN = Credentials(username="ann", password="s3cret")


class TokenRegistry:
    """A registry of one repository that wants tokens, and its token service."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.documents: dict[str, tuple[str, bytes]] = {}
        self.tokens_asked: list[Request] = []
        self.lifetime_s = 300

    def __call__(self, request: Request) -> Response:
        if request.url.startswith("https://auth.example/"):
            return self._give_token(request)
        if not request.headers.get("authorization", "").startswith("Bearer good"):
            scope = 'scope="repository:library/app:pull"'
            challenge = f'Bearer realm="https://auth.example/token",service="r",{scope}'
            return self._answer(request, 401, headers={"www-authenticate": challenge})
        return self._serve(request, request.url.removeprefix("https://registry-1.docker.io/v2/"))

    def _give_token(self, request: Request) -> Response:
        self.tokens_asked.append(request)
        if request.headers.get("authorization") not in (None, ANN.basic):
            return self._answer(request, 401)
        return self._answer(request, 200, json.dumps({"token": "good", "expires_in": 300}).encode())

    def _serve(self, request: Request, path: str) -> Response:
        if not path:
            return self._answer(request, 200)
        name = path.rpartition("/")[2]
        body = request.body if isinstance(request.body, bytes) else _sent(request)
        match request.method:
            case "POST":
                return self._answer(request, 202, headers={"location": f"/v2/{path}1?state=s"})
            case "PUT" if "digest=" in name:
                self.blobs[str(Digest.of(body))] = body
                return self._answer(request, 201)
            case "PUT":
                self.documents[name] = (request.headers["content-type"], body)
                return self._answer(request, 201)
        if "/manifests/" in path:
            kind, raw = self.documents.get(name, ("", None))
        else:
            kind, raw = "application/octet-stream", self.blobs.get(name)
        if raw is None:
            return self._answer(request, 404)
        headers = {
            "content-type": kind,
            "content-length": str(len(raw)),
            "docker-content-digest": str(Digest.of(raw)),
        }
        return self._answer(request, 200, b"" if request.method == "HEAD" else raw, headers)

    def _answer(
        self,
        request: Request,
        status: int,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        return Response(
            status=status, headers=headers or {}, body=BytesReader(body), url=request.url
        )


def _sent(request: Request) -> bytes:
    assert not isinstance(request.body, bytes)
    return request.body.open().read()


@pytest.fixture
def registry() -> TokenRegistry:
    return TokenRegistry()


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(datetime(2026, 1, 1, tzinfo=UTC))


def _client(
    registry: TokenRegistry, clock: FixedClock, credentials: Credentials | None = None
) -> RegistryClient:
    given = {"docker.io": credentials} if credentials else {}
    return RegistryClient(RegistrySettings(credentials=given), transport=registry, clock=clock)


def test_an_image_moves_with_one_token_for_each_direction(
    registry: TokenRegistry, clock: FixedClock
) -> None:
    here, there = MemoryContent(), MemoryContent()
    manifest = Manifest.build(
        config=here.add(b"{}", mediatype.OCI_CONFIG),
        layers=[here.add(b"layer", mediatype.OCI_LAYER)],
    )
    here.add(manifest.raw, manifest.media_type)
    app = Reference.parse("app")

    pushing = _client(registry, clock, ANN).repository(app)
    transfer(here, pushing, manifest.descriptor, concurrency=1)
    pushing.tag(manifest.descriptor, "1")
    pulling = _client(registry, clock).repository(app)
    transfer(pulling, there, pulling.resolve("1"), concurrency=1)

    assert there.digests() == here.digests()
    assert [one.url.rpartition("scope=")[2] for one in registry.tokens_asked] == [
        "repository%3Alibrary%2Fapp%3Apull%2Cpush&account=ann",
        "repository%3Alibrary%2Fapp%3Apull",
    ]
    assert "authorization" not in registry.tokens_asked[1].headers


def test_a_long_transfer_renews_its_token(registry: TokenRegistry, clock: FixedClock) -> None:
    repository = _client(registry, clock).repository(Reference.parse("app"))

    for _ in range(3):
        repository.has(MemoryContent().add(b"x", mediatype.OCI_LAYER))
        clock.sleep(400)

    assert len(registry.tokens_asked) == 3


def test_wrong_credentials_are_told_without_them(
    registry: TokenRegistry, clock: FixedClock
) -> None:
    wrong = Credentials(username="ann", password="wr0ng")
    repository = _client(registry, clock, wrong).repository(Reference.parse("app"))

    with pytest.raises(AuthenticationError) as caught:
        repository.resolve("1")

    assert "wr0ng" not in f"{caught.value} {caught.value!r} {caught.value.hint}"
    assert caught.value.hint is not None


def test_a_missing_tag_is_told_by_its_name(registry: TokenRegistry, clock: FixedClock) -> None:
    repository = _client(registry, clock).repository(Reference.parse("app"))

    with pytest.raises(NotFoundError, match=r"docker\.io/library/app:absent is not at"):
        repository.resolve("absent")


def test_login_writes_the_hub_under_its_historic_key(
    registry: TokenRegistry, clock: FixedClock, tmp_path: Path
) -> None:
    settings = RegistrySettings(config_paths=(tmp_path / "config.json",))
    client = RegistryClient(settings, transport=registry, clock=clock)

    client.login("docker.io", ANN)

    assert "https://index.docker.io/v1/" in (tmp_path / "config.json").read_text()
    assert registry.tokens_asked[-1].headers["authorization"] == ANN.basic


def test_a_document_stored_under_another_digest_is_noticed(clock: FixedClock) -> None:
    def send(request: Request) -> Response:
        headers = {"docker-content-digest": str(Digest.of(b"other"))}
        return Response(status=201, headers=headers, body=BytesReader(), url=request.url)

    repository = RegistryClient(RegistrySettings(), transport=send, clock=clock).repository(
        Reference.parse("r.example/a")
    )

    with pytest.raises(ProtocolError, match="stored as"):
        repository.put_document(MemoryContent().add(b"{}", mediatype.OCI_MANIFEST), b"{}")


def test_a_head_that_tells_too_little_is_followed_by_a_get(clock: FixedClock) -> None:
    raw = Manifest.build(config=MemoryContent().add(b"{}", mediatype.OCI_CONFIG), layers=[]).raw
    asked = []

    def send(request: Request) -> Response:
        asked.append(request.method)
        body = BytesReader(b"" if request.method == "HEAD" else raw)
        headers = {"content-type": "text/plain; charset=utf-8"}
        return Response(status=200, headers=headers, body=body, url=request.url)

    found = (
        RegistryClient(RegistrySettings(), transport=send, clock=clock)
        .repository(Reference.parse("r.example/a"))
        .resolve("1")
    )

    assert asked == ["HEAD", "GET"]
    assert (found.media_type, found.digest) == (mediatype.OCI_MANIFEST, Digest.of(raw))
