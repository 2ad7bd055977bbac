import contextlib
import datetime
import io
import os
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from imagekit.base.streams import DigestMismatchError
from imagekit.oci import mediatype
from imagekit.oci.content import BlobReader
from imagekit.oci.manifest import Manifest
from imagekit.oci.reference import Reference
from imagekit.registry.client import RegistryClient, RegistrySettings
from imagekit.registry.errors import CertificateError, ProtocolError, UnreachableError
from imagekit.registry.memory import MemoryContent
from imagekit.registry.plain_transport import PlainTransport
from imagekit.registry.requests import BytesReader, Request, Response, StreamBody, Transport
from imagekit.registry.requests_transport import RequestsTransport
from imagekit.registry.transfer import transfer
from imagekit.registry.transport import ByScheme, RedirectingTransport, bypasses_proxy
from registry_server.testing import running_registry

Serve = Callable[[Callable[[BaseHTTPRequestHandler], None]], str]


@pytest.fixture(params=["plain", "requests"])
def transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    made = (
        PlainTransport(read_timeout_s=5)
        if request.param == "plain"
        else RequestsTransport(read_timeout_s=5)
    )
    with contextlib.closing(made):
        yield made


def _echo(handler: BaseHTTPRequestHandler) -> None:
    body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
    handler.send_response(200)
    handler.send_header("X-Path", handler.path)
    handler.send_header("X-Port", str(handler.client_address[1]))
    handler.send_header("X-Encodings", handler.headers.get("Accept-Encoding", ""))
    handler.send_header("X-Length", handler.headers.get("Content-Length", "none"))
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


def test_bodies_of_every_kind_arrive(serve: Serve, transport: Transport, tmp_path: Path) -> None:
    url = f"http://{serve(_echo)}/a?b=c"
    data = os.urandom(3_000_003)
    (tmp_path / "file").write_bytes(b"skip" + data + b"more")

    def open_file() -> io.BufferedReader:
        file = (tmp_path / "file").open("rb")
        file.seek(4)
        return file

    for body in (
        data,
        b"",
        StreamBody(open=lambda: BytesReader(data), size=len(data)),
        StreamBody(open=open_file, size=len(data)),
    ):
        response = transport(Request(method="PUT", url=url, body=body))
        assert response.status == 200
        assert response.headers["x-path"] == "/a?b=c"
        assert response.headers["x-length"] == str(len(data) if body else 0)
        assert response.read_all() == (data if body else b"")


def test_a_connection_is_used_again(serve: Serve, transport: Transport) -> None:
    url = f"http://{serve(_echo)}/"
    ports = set()
    for method in ("GET", "HEAD", "PUT", "GET", "HEAD"):
        response = transport(Request(method=method, url=url, body=b"x" if method == "PUT" else b""))
        response.discard()
        ports.add(response.headers["x-port"])

    assert len(ports) == 1


def test_no_encoding_is_asked_for(serve: Serve, transport: Transport) -> None:
    response = transport(Request(method="GET", url=f"http://{serve(_echo)}/"))

    assert response.headers["x-encodings"] in ("", "identity")
    response.discard()


def test_chunked_answers_are_read(serve: Serve, transport: Transport) -> None:
    def handle(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"5\r\nhello\r\n7;x=y\r\n, world\r\n0\r\nTrailer: x\r\n\r\n")

    url = f"http://{serve(handle)}/"

    for _ in range(2):
        assert transport(Request(method="GET", url=url)).read_all() == b"hello, world"


def test_an_answer_without_length_ends_with_the_connection(
    serve: Serve, transport: Transport
) -> None:
    def handle(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(b"until the end")
        handler.close_connection = True

    url = f"http://{serve(handle)}/"

    assert transport(Request(method="GET", url=url)).read_all() == b"until the end"


def test_an_idle_connection_that_was_closed_is_replaced(serve: Serve) -> None:
    def handle(handler: BaseHTTPRequestHandler) -> None:
        _echo(handler)
        handler.close_connection = True

    url = f"http://{serve(handle)}/"

    with contextlib.closing(PlainTransport()) as transport:
        for _ in range(5):
            transport(Request(method="GET", url=url)).discard()


def test_a_cut_body_is_an_error(serve: Serve, transport: Transport) -> None:
    def handle(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"x" * 10)
        handler.close_connection = True

    response = transport(Request(method="GET", url=f"http://{serve(handle)}/"))

    with pytest.raises(UnreachableError):
        response.read_all()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
    ],
)
def test_answers_that_are_no_http_are_errors(answer: bytes, transport: Transport) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection, contextlib.suppress(OSError):
                        connection.recv(65536)
                        connection.sendall(answer)

        threading.Thread(target=run, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"

        with pytest.raises((UnreachableError, ProtocolError)):
            transport(Request(method="GET", url=url)).read_all()
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    "lines",
    [
        b"HTTP/1.1 200 OK\r\nno colon",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1",
        b"HTTP/1.1 200 OK\r\nbad name: x",
        b"HTTP/2 200",
        b"HTTP/1.1 20 OK",
    ],
)
def test_a_malformed_head_is_refused(lines: bytes, serve: Serve) -> None:
    def handle(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(lines + b"\r\n\r\n")
        handler.close_connection = True

    with contextlib.closing(PlainTransport()) as transport, pytest.raises(ProtocolError):
        transport(Request(method="GET", url=f"http://{serve(handle)}/"))


def test_an_address_or_header_cannot_end_its_line(serve: Serve) -> None:
    url = f"http://{serve(_echo)}"
    with contextlib.closing(PlainTransport()) as transport:
        for request in (
            Request(method="GET", url=f"{url}/a b"),
            Request(method="GET", url=f"{url}/", headers={"x": "y\r\nz: 1"}),
        ):
            with pytest.raises(ProtocolError, match="not allowed"):
                transport(request)


def test_a_silent_server_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        with (
            contextlib.closing(PlainTransport(read_timeout_s=0.1)) as transport,
            pytest.raises(UnreachableError, match="timed out"),
        ):
            transport(Request(method="GET", url=url))


def test_an_early_refusal_of_a_large_body_is_read(serve: Serve) -> None:
    def handle(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(413)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        handler.rfile.read(int(handler.headers["Content-Length"]))

    body = StreamBody(open=lambda: BytesReader(bytes(8 << 20)), size=8 << 20)
    with contextlib.closing(PlainTransport()) as transport:
        response = transport(Request(method="PUT", url=f"http://{serve(handle)}/", body=body))

    assert response.status == 413


def test_a_body_that_ends_early_is_told(serve: Serve, transport: Transport, tmp_path: Path) -> None:
    url = f"http://{serve(_echo)}/"
    (tmp_path / "file").write_bytes(b"x" * 100)
    sources: list[Callable[[], BlobReader]] = [
        lambda: BytesReader(b"x" * 100),
        lambda: (tmp_path / "file").open("rb"),
    ]
    for source in sources:
        body = StreamBody(open=source, size=200)
        with pytest.raises(DigestMismatchError, match="100 of 200"):
            transport(Request(method="PUT", url=url, body=body))


def _fake(*answers: tuple[int, dict[str, str]]) -> tuple[Transport, list[Request]]:
    seen: list[Request] = []
    left = iter(answers)

    def send(request: Request) -> Response:
        seen.append(request)
        status, headers = next(left)
        return Response(status=status, headers=headers, body=BytesReader(), url=request.url)

    return send, seen


def test_redirects_drop_credentials_for_other_origins_only() -> None:
    send, seen = _fake(
        (307, {"location": "/b"}), (307, {"location": "https://cdn.example/c"}), (200, {})
    )

    RedirectingTransport(send)(
        Request(
            method="GET", url="https://r.example/a", headers={"authorization": "x", "range": "y"}
        )
    )

    assert [(one.url, dict(one.headers)) for one in seen] == [
        ("https://r.example/a", {"authorization": "x", "range": "y"}),
        ("https://r.example/b", {"authorization": "x", "range": "y"}),
        ("https://cdn.example/c", {"range": "y"}),
    ]


def test_a_redirect_from_https_to_http_is_refused() -> None:
    send, _ = _fake((302, {"location": "http://r.example/a"}))

    with pytest.raises(ProtocolError, match="plain http"):
        RedirectingTransport(send)(Request(method="GET", url="https://r.example/a"))


def test_requests_is_made_for_https_only_and_once() -> None:
    plain, plain_seen = _fake(*[(200, {})] * 3)
    other, other_seen = _fake(*[(200, {})] * 3)
    made = []

    def make() -> Transport:
        made.append(1)
        return other

    choosing = ByScheme(plain=plain, other=make, proxied=lambda host: host == "far.example")
    for url in ("http://near.example/", "https://near.example/", "http://far.example/"):
        choosing(Request(method="GET", url=url))

    assert [one.url for one in plain_seen] == ["http://near.example/"]
    assert [one.url for one in other_seen] == ["https://near.example/", "http://far.example/"]
    assert made == [1]


@pytest.mark.parametrize(
    ("host", "expected"),
    [("r.example", True), ("a.r.example", True), ("xr.example", False), ("b.corp", True)],
)
def test_no_proxy_names_hosts_and_domains(host: str, expected: bool) -> None:
    assert bypasses_proxy(host, ("r.example", ".corp", "")) is expected
    assert bypasses_proxy(host, ("*",))


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return tmp_path / "cert.pem", tmp_path / "key.pem"


def test_tls_is_verified_by_a_given_ca_or_not_at_all(
    certificate: tuple[Path, Path], tmp_path: Path, make_client: Callable[..., RegistryClient]
) -> None:
    here = MemoryContent()
    manifest = Manifest.build(
        config=here.add(b"{}", mediatype.OCI_CONFIG),
        layers=[here.add(os.urandom(3 << 20), mediatype.OCI_LAYER)],
    )
    here.add(manifest.raw, manifest.media_type)
    cert, key = certificate
    with running_registry(tmp_path / "store", tls_cert=cert, tls_key=key) as registry:
        host = registry.host.replace("127.0.0.1", "localhost")
        reference = Reference.parse(f"{host}/a/b")
        tls = frozenset({host})

        wary, trusting, careless = (
            make_client(tls=tls, **more) for more in ({}, {"ca_file": cert}, {"insecure": tls})
        )
        with pytest.raises(CertificateError, match="certificate"):
            wary.repository(reference).resolve("1")
        transfer(here, trusting.repository(reference), manifest.descriptor)
        there = MemoryContent()
        transfer(careless.repository(reference), there, manifest.descriptor)
        for client in (wary, trusting, careless):
            client.close()

    assert there.digests() == here.digests()


def test_a_server_without_tls_is_told_and_an_insecure_one_is_tried_without(
    serve: Serve,
) -> None:
    url = f"https://{serve(_echo)}/"

    with (
        contextlib.closing(RequestsTransport()) as transport,
        pytest.raises(UnreachableError, match="TLS") as caught,
    ):
        transport(Request(method="GET", url=url))

    assert not isinstance(caught.value, CertificateError)
    assert caught.value.hint is not None
    assert "insecure" in caught.value.hint


def test_an_insecure_host_is_asked_once_whether_it_has_tls() -> None:
    seen: list[str] = []

    def send(request: Request) -> Response:
        seen.append(request.url)
        if request.url.startswith("https:"):
            raise UnreachableError("no TLS")
        return Response(status=200, headers={}, body=BytesReader(), url=request.url)

    client = RegistryClient(
        RegistrySettings(insecure=frozenset({"r.example:5000"})), transport=send
    )
    for _ in range(2):
        client.check("r.example:5000")

    assert seen == [
        "https://r.example:5000/v2/",
        "http://r.example:5000/v2/",
        "http://r.example:5000/v2/",
    ]
