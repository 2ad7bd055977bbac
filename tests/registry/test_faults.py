"""A registry that fails in chosen ways, and what the client makes of it."""

import contextlib
import json
import os
import re
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

import pytest

from imagekit.base.clock import FixedClock
from imagekit.base.streams import DigestMismatchError, SizeMismatchError
from imagekit.oci import mediatype
from imagekit.oci.descriptor import Descriptor
from imagekit.oci.digest import Digest
from imagekit.oci.manifest import Manifest
from imagekit.oci.reference import Reference
from imagekit.registry.auth import Credentials
from imagekit.registry.client import RegistryClient
from imagekit.registry.errors import (
    DeniedError,
    ProtocolError,
    RateLimitedError,
    ServerFailedError,
    UnreachableError,
)
from imagekit.registry.memory import MemoryContent
from imagekit.registry.repository import Repository
from imagekit.registry.requests import BytesReader
from imagekit.registry.transfer import transfer

Serve = Callable[[Callable[[BaseHTTPRequestHandler], None]], str]
MakeClient = Callable[..., RegistryClient]

DATA = os.urandom(3 << 20)
BLOB = Descriptor(media_type=mediatype.OCI_LAYER, digest=Digest.of(DATA), size=len(DATA))


def _reply(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


def _reply_and_cut(handler: BaseHTTPRequestHandler, body: bytes, after: int) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[:after])
    handler.close_connection = True


def _start_of(handler: BaseHTTPRequestHandler) -> int:
    match = re.match(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    return int(match.group(1)) if match else 0


def _repository(client: RegistryClient, host: str) -> Repository:
    return client.repository(Reference.parse(f"{host}/a/b"))


def _read(repository: Repository, descriptor: Descriptor = BLOB) -> bytes:
    with contextlib.closing(repository.open(descriptor)) as source:
        return b"".join(iter(lambda: source.read(100_000), b""))


def _json(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def test_a_cut_download_goes_on_by_range(serve: Serve, make_client: MakeClient) -> None:
    starts = []

    def handle(handler: BaseHTTPRequestHandler) -> None:
        start = _start_of(handler)
        starts.append(start)
        if start < 2_500_000:
            handler.send_response(206 if start else 200)
            handler.send_header("Content-Length", str(len(DATA) - start))
            handler.send_header("Content-Range", f"bytes {start}-{len(DATA) - 1}/{len(DATA)}")
            handler.end_headers()
            handler.wfile.write(DATA[start : start + 500_000])
            handler.close_connection = True
        else:
            last = f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"
            _reply(handler, 206, DATA[start:], Content_Range=last)

    assert _read(_repository(make_client(), serve(handle))) == DATA
    assert len(starts) > 5
    assert starts == sorted(starts)


def test_a_server_without_ranges_is_read_again_from_the_start(
    serve: Serve, make_client: MakeClient
) -> None:
    cuts = iter([1_000_000])

    def handle(handler: BaseHTTPRequestHandler) -> None:
        if (after := next(cuts, None)) is not None:
            _reply_and_cut(handler, DATA, after)
        else:
            _reply(handler, 200, DATA)

    assert _read(_repository(make_client(), serve(handle))) == DATA


def test_another_range_than_asked_for_is_refused(serve: Serve, make_client: MakeClient) -> None:
    def handle(handler: BaseHTTPRequestHandler) -> None:
        if _start_of(handler):
            _reply(handler, 206, DATA[5:], Content_Range=f"bytes 5-{len(DATA) - 1}/{len(DATA)}")
        else:
            _reply_and_cut(handler, DATA, 1_000_000)

    with pytest.raises(ProtocolError, match="another range"):
        _read(_repository(make_client(), serve(handle)))


def test_a_download_that_never_gets_further_ends(serve: Serve, make_client: MakeClient) -> None:
    calls = []

    def handle(handler: BaseHTTPRequestHandler) -> None:
        calls.append(1)
        _reply_and_cut(handler, DATA, 0)

    with pytest.raises(UnreachableError):
        _read(_repository(make_client(), serve(handle)))

    assert len(calls) == 5


def test_wrong_bytes_are_found_and_nothing_is_kept(serve: Serve, make_client: MakeClient) -> None:
    manifest = Manifest.build(
        config=MemoryContent().add(b"{}", mediatype.OCI_CONFIG), layers=[BLOB]
    )

    def handle(handler: BaseHTTPRequestHandler) -> None:
        if "/manifests/" in handler.path:
            _reply(handler, 200, manifest.raw, Content_Type=manifest.media_type)
        elif str(BLOB.digest) in handler.path:
            _reply(handler, 200, DATA[:-1] + b"?")
        else:
            _reply(handler, 200, b"{}")

    sink = MemoryContent()
    with pytest.raises(DigestMismatchError):
        transfer(_repository(make_client(), serve(handle)), sink, manifest.descriptor)

    assert manifest.descriptor.digest not in sink.digests()
    assert BLOB.digest not in sink.digests()


def test_more_bytes_than_announced_are_found(serve: Serve, make_client: MakeClient) -> None:
    def handle(handler: BaseHTTPRequestHandler) -> None:
        _reply(handler, 200, b"{}" + DATA, Content_Type=mediatype.OCI_MANIFEST)

    document = MemoryContent().add(b"{}", mediatype.OCI_MANIFEST)
    with pytest.raises(SizeMismatchError, match="not the announced 2"):
        _repository(make_client(), serve(handle)).read_document(document)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_passing_failures_are_tried_again(
    status: int, serve: Serve, make_client: MakeClient, clock: FixedClock
) -> None:
    statuses = iter([status, status])

    def handle(handler: BaseHTTPRequestHandler) -> None:
        if (now := next(statuses, None)) is not None:
            _reply(handler, now, Retry_After="3")
        else:
            _reply(handler, 200)

    assert _repository(make_client(), serve(handle)).has(BLOB)
    assert [wait // 1 for wait in clock.slept] == [3, 3]


def test_a_lasting_failure_is_told_with_the_servers_words(
    serve: Serve, make_client: MakeClient
) -> None:
    body = _json(errors=[{"code": "TOOMANYREQUESTS", "message": "slow\x1b[31m down"}])

    def handle(handler: BaseHTTPRequestHandler) -> None:
        _reply(handler, 429, body)

    with pytest.raises(RateLimitedError) as caught:
        _read(_repository(make_client(), serve(handle)))

    assert caught.value.codes == ("TOOMANYREQUESTS",)
    assert "slow [31m down (TOOMANYREQUESTS)" in str(caught.value)
    assert caught.value.status == 429


def test_a_refusal_is_told_at_once(serve: Serve, make_client: MakeClient) -> None:
    calls = []

    def handle(handler: BaseHTTPRequestHandler) -> None:
        calls.append(1)
        _reply(handler, 403, _json(errors=[{"code": "DENIED"}]))

    with pytest.raises(DeniedError):
        _read(_repository(make_client(), serve(handle)))

    assert len(calls) == 1


def test_credentials_stay_behind_at_a_redirect_to_another_host(
    serve: Serve, make_client: MakeClient
) -> None:
    seen = []

    def store(handler: BaseHTTPRequestHandler) -> None:
        seen.append(handler.headers.get("Authorization"))
        _reply(handler, 200, DATA)

    store_host = serve(store)

    def handle(handler: BaseHTTPRequestHandler) -> None:
        if handler.headers.get("Authorization") is None:
            _reply(handler, 401, WWW_Authenticate='Basic realm="x"')
        elif "again" in handler.path:
            _reply(handler, 307, Location=f"http://{store_host}/blob?signature=x")
        else:
            _reply(handler, 307, Location=f"{handler.path}?again")

    host = serve(handle)
    ann = Credentials(username="ann", password="s3cret")
    client = make_client(credentials={host: ann})

    assert _read(_repository(client, host)) == DATA
    assert seen == [None]


def test_endless_redirects_end(serve: Serve, make_client: MakeClient) -> None:
    def handle(handler: BaseHTTPRequestHandler) -> None:
        _reply(handler, 307, Location=handler.path)

    with pytest.raises(ProtocolError, match="redirects more than"):
        _read(_repository(make_client(), serve(handle)))


class FailingUploads:
    """Takes one upload and fails at it as the test says."""

    def __init__(self, fail: Callable[["FailingUploads", BaseHTTPRequestHandler], bool]) -> None:
        self.fail = fail
        self.received = b""
        self.stored = b""
        self.log: list[str] = []

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        self.log.append(handler.command)
        if self.fail(self, handler):
            return
        length = int(handler.headers.get("Content-Length", 0))
        match handler.command:
            case "HEAD":
                _reply(handler, 200 if self.stored else 404)
            case "POST":
                self.received = b""
                _reply(handler, 202, Location="/v2/a/b/blobs/uploads/1?state=x")
            case "GET":
                last = max(len(self.received) - 1, 0)
                _reply(handler, 204, Range=f"0-{last}", Location="/v2/a/b/blobs/uploads/1?state=y")
            case "PATCH":
                start = int(handler.headers["Content-Range"].partition("-")[0])
                body = handler.rfile.read(length)
                if start != len(self.received):
                    _reply(handler, 416)
                    return
                self.received += body
                _reply(handler, 202, Location="/v2/a/b/blobs/uploads/1?state=z")
            case "PUT":
                assert "?state=" in handler.path
                assert "&digest=sha256%3A" in handler.path
                self.received += handler.rfile.read(length)
                self.stored = self.received
                _reply(handler, 201)


def _write(repository: Repository) -> None:
    repository.write(BLOB, lambda at: BytesReader(DATA[at:]))


def test_a_cut_upload_goes_on_where_the_registry_is(serve: Serve, make_client: MakeClient) -> None:
    def fail(uploads: FailingUploads, handler: BaseHTTPRequestHandler) -> bool:
        if handler.command == "PUT" and not uploads.received:
            uploads.received += handler.rfile.read(1_000_000)
            handler.close_connection = True
            return True
        return False

    uploads = FailingUploads(fail)
    _write(_repository(make_client(), serve(uploads)))

    assert uploads.stored == DATA
    assert uploads.log == ["POST", "PUT", "GET", "PATCH", "PUT"]


def test_a_lost_session_is_begun_anew(serve: Serve, make_client: MakeClient) -> None:
    def fail(uploads: FailingUploads, handler: BaseHTTPRequestHandler) -> bool:
        if handler.command == "PUT" and uploads.log.count("PUT") == 1:
            handler.rfile.read(1_000_000)
            handler.close_connection = True
            return True
        if handler.command == "GET":
            _reply(handler, 404)
            return True
        return False

    uploads = FailingUploads(fail)
    _write(_repository(make_client(), serve(uploads)))

    assert uploads.stored == DATA
    assert uploads.log == ["POST", "PUT", "GET", "HEAD", "POST", "PUT"]


def test_an_upload_whose_answer_was_lost_is_not_sent_twice(
    serve: Serve, make_client: MakeClient
) -> None:
    def fail(uploads: FailingUploads, handler: BaseHTTPRequestHandler) -> bool:
        if handler.command == "PUT":
            uploads.stored = handler.rfile.read(int(handler.headers["Content-Length"]))
            handler.close_connection = True
            return True
        if handler.command == "GET":
            _reply(handler, 404, _json(errors=[{"code": "BLOB_UPLOAD_UNKNOWN"}]))
            return True
        return False

    uploads = FailingUploads(fail)
    _write(_repository(make_client(), serve(uploads)))

    assert uploads.log == ["POST", "PUT", "GET", "HEAD"]


def test_a_body_too_large_goes_up_in_chunks(
    serve: Serve, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagekit.registry.upload.FALLBACK_CHUNK_BYTES", 1_000_000)

    def fail(uploads: FailingUploads, handler: BaseHTTPRequestHandler) -> bool:
        length = int(handler.headers.get("Content-Length", 0))
        if length > 1_000_000:
            handler.rfile.read(length)
            _reply(handler, 413)
            return True
        return False

    uploads = FailingUploads(fail)
    _write(_repository(make_client(), serve(uploads)))

    assert uploads.stored == DATA
    assert uploads.log == ["POST", "PUT", "HEAD", "POST", *["PATCH"] * 4, "PUT"]


def test_a_registry_that_always_fails_ends_the_upload(
    serve: Serve, make_client: MakeClient
) -> None:
    def fail(uploads: FailingUploads, handler: BaseHTTPRequestHandler) -> bool:
        if handler.command == "PUT":
            handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
            _reply(handler, 503)
            return True
        return False

    uploads = FailingUploads(fail)
    with pytest.raises(ServerFailedError):
        _write(_repository(make_client(), serve(uploads)))

    assert uploads.log.count("PUT") == 5


def test_a_web_server_that_is_no_registry_is_told(serve: Serve, make_client: MakeClient) -> None:
    def handle(handler: BaseHTTPRequestHandler) -> None:
        _reply(handler, 200, b"<html>", Content_Type="text/html")

    repository = _repository(make_client(), serve(handle))
    with pytest.raises(ProtocolError):
        list(repository.tags())
    with pytest.raises(ProtocolError):
        _write(repository)


def test_lists_are_read_page_by_page(serve: Serve, make_client: MakeClient) -> None:
    asked = []

    def handle(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        if "last=" in handler.path:
            _reply(handler, 200, _json(tags=["c"]))
        else:
            link = '</v2/a/b/tags/list?n=2&last=b>; rel="next"'
            _reply(handler, 200, _json(tags=["a", "b"]), Link=link)

    assert list(_repository(make_client(), serve(handle)).tags(page=2)) == ["a", "b", "c"]
    assert asked == ["/v2/a/b/tags/list?n=2", "/v2/a/b/tags/list?n=2&last=b"]


def test_endless_pages_end(serve: Serve, make_client: MakeClient) -> None:
    def handle(handler: BaseHTTPRequestHandler) -> None:
        _reply(handler, 200, _json(tags=["a"]), Link=f'<{handler.path}>; rel="next"')

    with pytest.raises(ProtocolError, match="same page"):
        list(_repository(make_client(), serve(handle)).tags())


def test_one_request_is_not_tried_more_often_than_the_policy_says(
    serve: Serve, make_client: MakeClient
) -> None:
    calls = []

    def handle(handler: BaseHTTPRequestHandler) -> None:
        calls.append(handler.command)
        _reply(handler, 503)

    repository = _repository(make_client(), serve(handle))
    for attempt in (lambda: _read(repository), lambda: _write(repository)):
        with pytest.raises(ServerFailedError):
            attempt()

    assert calls.count("GET") == 5
    assert calls.count("POST") == 5


def test_mounting_tries_each_candidate_and_leaves_no_session(
    serve: Serve, make_client: MakeClient
) -> None:
    log = []

    def handle(handler: BaseHTTPRequestHandler) -> None:
        source = re.search(r"from=(\w+)", handler.path)
        log.append((handler.command, source.group(1) if source else handler.path[-1]))
        if handler.command == "DELETE":
            _reply(handler, 204)
        elif source is None or source.group(1) == "denied":
            _reply(handler, 403)
        elif source.group(1) == "present":
            _reply(handler, 201)
        else:
            _reply(handler, 202, Location="/v2/a/b/blobs/uploads/7")

    reference = Reference.parse(f"{serve(handle)}/a/b")
    candidates = ("absent", "denied", "gone", "present", "never")
    make_client().repository(reference, mount_from=candidates).write(
        BLOB, lambda at: BytesReader(DATA[at:])
    )

    assert log == [
        ("POST", "absent"),
        ("POST", "denied"),
        ("POST", "gone"),
        ("DELETE", "7"),
        ("POST", "present"),
        ("DELETE", "7"),
    ]


def test_a_busy_session_is_waited_for(serve: Serve, make_client: MakeClient) -> None:
    def fail(uploads: FailingUploads, handler: BaseHTTPRequestHandler) -> bool:
        if handler.command == "PUT" and uploads.log.count("PUT") < 3:
            handler.rfile.read(int(handler.headers["Content-Length"]))
            _reply(handler, 409)
            return True
        return False

    uploads = FailingUploads(fail)
    _write(_repository(make_client(), serve(uploads)))

    assert uploads.stored == DATA
    assert uploads.log == ["POST", "PUT", "GET", "PUT", "GET", "PUT"]


def test_a_session_out_of_step_is_begun_anew(serve: Serve, make_client: MakeClient) -> None:
    def fail(uploads: FailingUploads, handler: BaseHTTPRequestHandler) -> bool:
        if handler.command == "PUT" and uploads.log.count("PUT") == 1:
            uploads.received += handler.rfile.read(1_000_000)
            handler.close_connection = True
            return True
        if handler.command == "PATCH":
            handler.rfile.read(int(handler.headers["Content-Length"]))
            _reply(handler, 416)
            return True
        if handler.command == "HEAD":
            _reply(handler, 404)
            return True
        return False

    uploads = FailingUploads(fail)
    _write(_repository(make_client(), serve(uploads)))

    assert uploads.stored == DATA
    assert uploads.log == ["POST", "PUT", "GET", "PATCH", "HEAD", "POST", "PUT"]
