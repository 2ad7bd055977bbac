"""Attacks: each test names one and asserts that the outside is untouched."""

import contextlib
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imagekit.oci.digest import Digest

if TYPE_CHECKING:
    from tests.registry_server.conftest import Api, Eventually

CONTENT = b"content"
DIGEST = str(Digest.of(CONTENT))
UUID = "0f0f0f0f-0000-4000-8000-000000000000"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def tree(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


NAMES = [
    "..",
    "../outside",
    "a/../../outside",
    "a/./b",
    "%2e%2e/outside",
    "..%2foutside",
    "a%2f..%2f..%2foutside",
    "%252e%252e",
    "/etc",
    "a//b",
    "a/",
    "A",
    "a_",
    "_uploads",
    "a/_tags",
    ".hidden",
    "a%00b",
    "a%0ab",
    "a\\b",
    "-a",
    "a..b",
    "a___b",
    "%C3%A9",
    "a" * 256,
]


@pytest.mark.parametrize("name", NAMES)
def test_name_that_leaves_the_root_is_refused(disk_api: "Api", tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").mkdir()
    before = tree(tmp_path)

    for method, rest in (
        ("POST", f"/blobs/uploads/?digest={DIGEST}"),
        ("GET", f"/blobs/{DIGEST}"),
        ("PUT", "/manifests/v1"),
        ("GET", "/tags/list"),
        ("GET", f"/referrers/{DIGEST}"),
        ("DELETE", "/manifests/v1"),
        ("POST", f"/blobs/uploads/?mount={DIGEST}&from=a"),
    ):
        body = CONTENT if method in ("POST", "PUT") else None
        answer = disk_api(method, f"/v2/{name}{rest}", body, {"Content-Type": "a/b"})
        assert answer.status in (400, 404)

    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", NAMES[:12])
def test_mount_source_that_leaves_the_root_is_refused(
    disk_api: "Api", tmp_path: Path, name: str
) -> None:
    (tmp_path / "outside" / "_blobs" / "sha256").mkdir(parents=True)
    (tmp_path / "outside" / "_blobs" / "sha256" / Digest.of(CONTENT).hex).touch()

    answer = disk_api("POST", f"/v2/a/blobs/uploads/?mount={DIGEST}&from={name}")

    assert (answer.status, answer.error_code) == (400, "NAME_INVALID")


@pytest.mark.parametrize(
    "digest",
    [
        "sha256:../../../../etc/passwd",
        "sha256:..%2f..%2f..%2fetc%2fpasswd",
        f"../sha256:{'0' * 64}",
        f"sha256:{'0' * 63}/",
        f"sha256:{'0' * 62}..",
        f"sha256:{'A' * 64}",
        f"SHA256:{'0' * 64}",
        f"sha256:{'0' * 64}%0a",
        f"sha256:{'0' * 64}%00",
        f"sha512:{'0' * 64}",
        f"..:{'0' * 64}",
        "sha256:" + "%D9%A0" * 64,
    ],
)
@pytest.mark.parametrize("resource", ["blobs", "manifests", "referrers"])
def test_digest_that_is_a_path_is_refused(disk_api: "Api", resource: str, digest: str) -> None:
    answer = disk_api("GET", f"/v2/a/{resource}/{digest}")

    assert answer.status in (400, 404)
    assert b"root:" not in answer.body


@pytest.mark.parametrize(
    "upload",
    [
        "..%2f_tags%2fv1",
        "..",
        "%2e%2e%2fx",
        UUID.upper(),
        UUID + "%00",
        UUID + "%0a",
        UUID.replace("-", "/"),
        "x" * 36,
        f"{UUID}..",
    ],
)
@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
def test_upload_name_that_is_a_path_is_refused(
    disk_api: "Api", tmp_path: Path, method: str, upload: str
) -> None:
    disk_api.push_manifest("a", disk_api.image("a"), tag="v1")
    before = tree(tmp_path)

    body = CONTENT if method in ("PATCH", "PUT") else None
    answer = disk_api(method, f"/v2/a/blobs/uploads/{upload}?digest={DIGEST}", body)

    assert answer.status in (400, 404, 405)
    assert tree(tmp_path) == before


def test_tag_that_is_a_path_is_refused(disk_api: "Api", tmp_path: Path) -> None:
    disk_api.image("a")
    before = tree(tmp_path)

    for tag in ("..", "..%2fx", "%2e%2e%2f_blobs", ".x", "a%2fb", "a%00", "a%0a"):
        answer = disk_api(
            "PUT",
            f"/v2/a/manifests/{tag}",
            b'{"mediaType":"a/b"}',
            {"Content-Type": "a/b"},
        )
        assert answer.status in (400, 404)

    assert tree(tmp_path) == before


def test_symlink_in_the_root_is_no_repository(disk_api: "Api", tmp_path: Path) -> None:
    """The catalog does not walk out of the directory."""
    outside = tmp_path / "outside"
    disk_api.push_manifest("a", disk_api.image("a"), tag="v1")
    outside.mkdir()
    (tmp_path / "registry/repositories/a").rename(outside / "a")
    (tmp_path / "registry/repositories/link").symlink_to(outside)

    assert disk_api("GET", "/v2/_catalog").json() == {"repositories": []}


def test_header_cannot_be_split_by_a_media_type(disk_api: "Api") -> None:
    answer = disk_api(
        "PUT",
        "/v2/a/manifests/v1",
        b'{"mediaType":"a/b\\r\\nX-Evil: 1"}',
    )

    assert (answer.status, answer.error_code) == (400, "MANIFEST_INVALID")


@pytest.mark.parametrize("method", ["PATCH", "PUT", "POST"])
def test_cut_upload_leaves_nothing_visible(
    disk_api: "Api", tmp_path: Path, eventually: "Eventually", method: str
) -> None:
    location = disk_api.start("a") if method != "POST" else "/v2/a/blobs/uploads/"
    content = os.urandom(1 << 20)
    digest = Digest.of(content)
    host, _, port = disk_api.host.partition(":")

    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            f"{method} {location}?digest={digest} HTTP/1.1\r\nHost: {disk_api.host}\r\n"
            f"Content-Length: {len(content)}\r\n\r\n".encode()
            + content[:700_000]
        )
        connection.shutdown(socket.SHUT_WR)
        connection.recv(65536)

    assert disk_api("HEAD", f"/v2/a/blobs/{digest}").status == 404
    assert not list((tmp_path / "registry").glob("blobs/*/*/*"))
    if method == "POST":
        eventually(lambda: not list(tmp_path.glob("registry/repositories/a/_uploads/*")))
    else:
        eventually(lambda: disk_api("GET", location).header("Range") == "0-699999")
        rest = content[700_000:]
        # The cut connection holds the session until the server has noticed.
        eventually(lambda: disk_api.put(location, str(digest), rest).status == 201)
        assert disk_api("GET", f"/v2/a/blobs/{digest}").body == content


def test_cut_pull_is_no_failure_of_ours(disk_api: "Api", caplog: pytest.LogCaptureFixture) -> None:
    content = os.urandom(8 << 20)
    digest = disk_api.push_blob("a", content)
    host, _, port = disk_api.host.partition(":")

    for _ in range(3):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(f"GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            connection.recv(1000)

    assert disk_api("GET", f"/v2/a/blobs/{digest}").body == content
    assert not caplog.records


def test_truncated_blob_is_never_passed_off_as_whole(
    disk_api: "Api", tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    digest = disk_api.push_blob("a", bytes(48 << 20))
    (blob,) = (tmp_path / "registry/blobs/sha256").glob("*/*")
    host, _, port = disk_api.host.partition(":")

    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        received = len(connection.recv(1000))
        os.truncate(blob, 1 << 20)
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(1 << 20):
                received += len(part)

    assert received < 48 << 20
    assert "is shorter than" in caplog.text


def test_unauthenticated_giant_number_of_pages_is_bounded(disk_api: "Api") -> None:
    assert disk_api("GET", "/v2/_catalog?n=" + "9" * 400).status == 400


def test_request_smuggling_lengths_are_refused(disk_api: "Api") -> None:
    host, _, port = disk_api.host.partition(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            b"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        )
        assert b" 400 " in connection.recv(65536).partition(b"\r\n")[0]
