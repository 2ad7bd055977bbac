"""Rows 1 to 3 of the specification's table: the root, blobs with ranges, manifests."""

import json
from typing import TYPE_CHECKING

import pytest

from imagekit.oci.digest import Digest

if TYPE_CHECKING:
    from tests.registry_server.conftest import Api

ABSENT = str(Digest.of(b"never pushed"))
OCTETS = "application/octet-stream"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@pytest.mark.parametrize("path", ["/v2/", "/v2"])
def test_root_is_an_empty_object(api: "Api", path: str) -> None:
    answer = api("GET", path)

    assert (answer.status, answer.json()) == (200, {})
    assert answer.header("Docker-Distribution-Api-Version") == "registry/2.0"


def test_blob_comes_back_with_digest_and_length(api: "Api") -> None:
    digest = api.push_blob("team/app", b"content")

    answer = api("GET", f"/v2/team/app/blobs/{digest}")

    assert (answer.status, answer.body) == (200, b"content")
    assert answer.header("Docker-Content-Digest") == digest
    assert answer.header("Content-Length") == "7"
    assert answer.header("Content-Type") == OCTETS


@pytest.mark.parametrize("size", [0, 7, 300_000])
def test_blob_head_has_the_length_and_no_body(api: "Api", size: int) -> None:
    digest = api.push_blob("team/app", b"x" * size)

    answer = api("HEAD", f"/v2/team/app/blobs/{digest}")

    assert (answer.status, answer.body) == (200, b"")
    assert answer.header("Content-Length") == str(size)
    assert answer.header("Docker-Content-Digest") == digest


def test_blob_larger_than_the_inline_limit_is_sent_whole(api: "Api") -> None:
    content = bytes(range(256)) * 12_000

    digest = api.push_blob("team/app", content)

    assert api("GET", f"/v2/team/app/blobs/{digest}").body == content
    part = api("GET", f"/v2/team/app/blobs/{digest}", headers={"Range": "bytes=1000000-"})
    assert (part.status, part.body) == (206, content[1_000_000:])


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_unknown_blob_is_not_found(api: "Api", method: str) -> None:
    api.push_blob("team/app", b"content")

    answer = api(method, f"/v2/team/app/blobs/{ABSENT}")

    assert answer.status == 404
    if method == "GET":
        assert answer.error_code == "BLOB_UNKNOWN"


def test_blob_of_another_repository_is_not_found(api: "Api") -> None:
    digest = api.push_blob("team/app", b"content")

    assert api("GET", f"/v2/team/other/blobs/{digest}").error_code == "BLOB_UNKNOWN"


@pytest.mark.parametrize("digest", ["sha256:baddigeststring", "sha256:", "md5:00", "nonsense"])
def test_malformed_blob_digest_is_refused(api: "Api", digest: str) -> None:
    answer = api("GET", f"/v2/team/app/blobs/{digest}")

    assert (answer.status, answer.error_code) == (400, "DIGEST_INVALID")


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=500-1499", 500, 1500),
        ("bytes=500-", 500, 2048),
        ("bytes=-500", 1548, 2048),
        ("bytes=2000-5000", 2000, 2048),
        ("bytes=0-0", 0, 1),
        ("bytes=-5000", 0, 2048),
    ],
)
def test_range_is_answered_with_that_part(api: "Api", header: str, start: int, end: int) -> None:
    content = bytes(range(256)) * 8
    digest = api.push_blob("team/app", content)

    answer = api("GET", f"/v2/team/app/blobs/{digest}", headers={"Range": header})

    assert (answer.status, answer.body) == (206, content[start:end])
    assert answer.header("Content-Range") == f"bytes {start}-{end - 1}/2048"
    assert answer.header("Content-Length") == str(end - start)


@pytest.mark.parametrize("header", ["bytes=500-0", "bytes=5000-10000", "bytes=2048-", "bytes=-0"])
def test_range_outside_the_blob_is_unsatisfiable(api: "Api", header: str) -> None:
    digest = api.push_blob("team/app", bytes(2048))

    answer = api("GET", f"/v2/team/app/blobs/{digest}", headers={"Range": header})

    assert answer.status == 416
    assert answer.header("Content-Range") == "bytes */2048"


def test_range_with_an_old_validator_gives_the_whole_blob(api: "Api") -> None:
    digest = api.push_blob("team/app", b"content")

    answer = api(
        "GET",
        f"/v2/team/app/blobs/{digest}",
        headers={"Range": "bytes=2-", "If-Range": '"something else"'},
    )

    assert (answer.status, answer.body) == (200, b"content")


def test_known_blob_is_not_sent_again(api: "Api") -> None:
    digest = api.push_blob("team/app", b"content")
    tag = api("GET", f"/v2/team/app/blobs/{digest}").header("ETag")

    answer = api("GET", f"/v2/team/app/blobs/{digest}", headers={"If-None-Match": tag})

    assert (answer.status, answer.body) == (304, b"")


def test_gzip_is_never_applied_to_a_blob(api: "Api") -> None:
    digest = api.push_blob("team/app", b"content" * 1000)

    answer = api("GET", f"/v2/team/app/blobs/{digest}", headers={"Accept-Encoding": "gzip"})

    assert answer.headers["Content-Encoding"] is None
    assert answer.body == b"content" * 1000


@pytest.mark.parametrize("by", ["tag", "digest"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_manifest_comes_back_as_pushed(api: "Api", by: str, method: str) -> None:
    document = api.image("team/app", annotations={"a": "b"}, unknown={"kept": [1, 2]})
    digest, pushed = api.push_manifest("team/app", document, tag="v1")
    assert pushed.status == 201

    answer = api(method, f"/v2/team/app/manifests/{'v1' if by == 'tag' else digest}")

    raw = json.dumps(document).encode()
    assert answer.status == 200
    assert answer.body == (raw if method == "GET" else b"")
    assert answer.header("Content-Type") == OCI_MANIFEST
    assert answer.header("Content-Length") == str(len(raw))
    assert answer.header("Docker-Content-Digest") == digest


def test_manifest_is_sent_whatever_accept_says(api: "Api") -> None:
    api.push_manifest("team/app", api.image("team/app"), tag="v1")

    answer = api("GET", "/v2/team/app/manifests/v1", headers={"Accept": "text/html"})

    assert (answer.status, answer.header("Content-Type")) == (200, OCI_MANIFEST)


def test_known_manifest_is_not_sent_again(api: "Api") -> None:
    api.push_manifest("team/app", api.image("team/app"), tag="v1")
    tag = api("GET", "/v2/team/app/manifests/v1").header("ETag")

    answer = api("GET", "/v2/team/app/manifests/v1", headers={"If-None-Match": tag})

    assert (answer.status, answer.body) == (304, b"")


@pytest.mark.parametrize("reference", ["absent", ".INVALID_MANIFEST_NAME", ABSENT])
def test_unknown_manifest_is_not_found(api: "Api", reference: str) -> None:
    api.push_manifest("team/app", api.image("team/app"), tag="v1")

    answer = api("GET", f"/v2/team/app/manifests/{reference}")

    assert (answer.status, answer.error_code) == (404, "MANIFEST_UNKNOWN")


def test_manifest_of_an_unknown_repository_names_the_repository(api: "Api") -> None:
    answer = api("GET", "/v2/nothing/here/manifests/v1")

    assert (answer.status, answer.error_code) == (404, "NAME_UNKNOWN")


def test_malformed_manifest_digest_is_refused(api: "Api") -> None:
    answer = api("GET", "/v2/team/app/manifests/sha256:baddigeststring")

    assert (answer.status, answer.error_code) == (400, "DIGEST_INVALID")


def test_unknown_path_is_not_found(api: "Api") -> None:
    assert api("GET", "/v1/").status == 404
    assert api("GET", "/").status == 404
    assert api("GET", "/v2/team/app/nothing/x").status == 404


def test_wrong_method_names_the_right_ones(api: "Api") -> None:
    answer = api("POST", "/v2/team/app/tags/list")

    assert (answer.status, answer.error_code) == (405, "UNSUPPORTED")
    assert answer.header("Allow") == "GET, HEAD"
