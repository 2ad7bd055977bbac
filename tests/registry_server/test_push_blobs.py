"""Rows 4 to 6, 10, 11, 13 and 14 of the specification's table: every way to push a blob."""

import gzip
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from imagekit.oci.digest import Digest

if TYPE_CHECKING:
    from tests.registry_server.conftest import Answer, Api

Way = Callable[["Api", bytes, str], "Answer"]
REPO = "team/app"
CONTENT = bytes(range(256)) * 12
ABSENT = str(Digest.of(b"never pushed"))
OTHER = str(Digest.of(b"other content"))


def of(content: bytes, algorithm: str = "sha256") -> str:
    return str(Digest.of(content, algorithm))


def post_only(api: "Api", content: bytes, digest: str) -> "Answer":
    return api("POST", f"/v2/{REPO}/blobs/uploads/?digest={digest}", content)


def post_put(api: "Api", content: bytes, digest: str) -> "Answer":
    return api.put(api.start(REPO), digest, content)


def streamed(api: "Api", content: bytes, digest: str) -> "Answer":
    answer = api("PATCH", api.start(REPO), iter([content[:1000], content[1000:]]))
    assert answer.status == 202
    return api.put(answer.location, digest)


def streamed_with_length(api: "Api", content: bytes, digest: str) -> "Answer":
    answer = api("PATCH", api.start(REPO), content)
    assert answer.status == 202
    return api.put(answer.location, digest)


def chunked(api: "Api", content: bytes, digest: str) -> "Answer":
    location = api.start(REPO)
    for start in range(0, len(content), 1024):
        answer = chunk(api, location, content, start, 1024)
        assert answer.status == 202
        location = answer.location
    return api.put(location, digest)


def chunked_with_last_in_put(api: "Api", content: bytes, digest: str) -> "Answer":
    location = api.start(REPO)
    if not content:
        return api.put(location, digest)
    answer = chunk(api, location, content, 0, 1024)
    assert answer.status == 202
    last = content[1024:]
    span = {"Content-Range": f"1024-{len(content) - 1}"} if last else {}
    return api.put(answer.location, digest, last, span)


def chunk(api: "Api", location: str, content: bytes, start: int, size: int) -> "Answer":
    part = content[start : start + size]
    span = f"{start}-{start + len(part) - 1}"
    return api("PATCH", location, part, {"Content-Range": span})


WAYS = [
    post_only,
    post_put,
    streamed,
    streamed_with_length,
    chunked,
    chunked_with_last_in_put,
]
each_way = pytest.mark.parametrize("way", WAYS)


@each_way
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("content", [b"", b"{}", CONTENT], ids=["empty", "json", "some"])
def test_blob_can_be_pulled_after_each_way(
    api: "Api", way: Way, algorithm: str, content: bytes
) -> None:
    digest = of(content, algorithm)

    answer = way(api, content, digest)

    assert answer.status == 201, answer.body
    assert answer.header("Docker-Content-Digest") == digest
    assert api("GET", answer.location).body == content


@each_way
def test_wrong_digest_is_refused_and_leaves_nothing(api: "Api", way: Way) -> None:
    answer = way(api, CONTENT, OTHER)

    assert (answer.status, answer.error_code) == (400, "DIGEST_INVALID")
    assert api("HEAD", f"/v2/{REPO}/blobs/{OTHER}").status == 404
    assert api("HEAD", f"/v2/{REPO}/blobs/{of(CONTENT)}").status == 404


@pytest.mark.parametrize("digest", ["sha256:baddigeststring", "", "md5:" + "0" * 32])
def test_malformed_digest_is_refused(api: "Api", digest: str) -> None:
    assert post_only(api, CONTENT, digest).error_code == "DIGEST_INVALID"
    assert api.put(api.start(REPO), digest, CONTENT).error_code == "DIGEST_INVALID"


def test_put_without_a_digest_is_refused(api: "Api") -> None:
    answer = api("PUT", api.start(REPO), CONTENT)

    assert (answer.status, answer.error_code) == (400, "DIGEST_INVALID")


def test_new_session_names_itself(api: "Api") -> None:
    answer = api("POST", f"/v2/{REPO}/blobs/uploads/")

    assert answer.status == 202
    assert answer.header("Range") == "0-0"
    assert answer.location.endswith(answer.header("Docker-Upload-UUID"))


def test_trailing_slash_of_uploads_may_be_left_out(api: "Api") -> None:
    assert api("POST", f"/v2/{REPO}/blobs/uploads").status == 202


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_chunk_out_of_order_is_refused_and_the_session_goes_on(api: "Api", method: str) -> None:
    location = api.start(REPO)
    chunk(api, location, CONTENT, 0, 1024)
    query = f"?digest={of(CONTENT)}" if method == "PUT" else ""

    for start in (2048, 0):
        span = {"Content-Range": f"{start}-{start + 1023}"}
        refused = api(method, location + query, CONTENT[start : start + 1024], span)
        assert refused.status == 416
        assert refused.header("Range") == "0-1023"

    status = api("GET", location)
    assert (status.status, status.header("Range"), status.body) == (204, "0-1023", b"")
    answer = chunk(api, status.location, CONTENT, 1024, 4096)
    assert (answer.status, answer.header("Range")) == (202, f"0-{len(CONTENT) - 1}")
    assert api.put(answer.location, of(CONTENT)).status == 201


def test_first_chunk_must_begin_at_zero(api: "Api") -> None:
    answer = chunk(api, api.start(REPO), CONTENT, 1024, 1024)

    assert answer.status == 416
    assert answer.error_code == "BLOB_UPLOAD_INVALID"


@pytest.mark.parametrize("span", ["nonsense", "5-1", "-5", "a-b", "1-"])
def test_unreadable_content_range_is_refused(api: "Api", span: str) -> None:
    answer = api("PATCH", api.start(REPO), CONTENT, {"Content-Range": span})

    assert answer.status == 416


def test_chunk_of_another_length_than_its_range_is_refused(api: "Api") -> None:
    location = api.start(REPO)

    answer = api("PATCH", location, CONTENT, {"Content-Range": "0-99"})

    assert (answer.status, answer.error_code) == (400, "SIZE_INVALID")
    assert api("GET", location).header("Range") == "0-0"


def test_streamed_chunk_of_nothing_is_refused(api: "Api") -> None:
    answer = api("PATCH", api.start(REPO), iter([]), {"Content-Range": "0-99"})

    assert (answer.status, answer.error_code) == (400, "SIZE_INVALID")


def test_empty_chunk_may_come_as_0_0(api: "Api") -> None:
    answer = api("PATCH", api.start(REPO), b"", {"Content-Range": "0-0"})

    assert answer.status == 202
    assert api.put(answer.location, of(b"")).status == 201


def test_streamed_chunk_of_another_length_than_its_range_is_dropped(api: "Api") -> None:
    location = api.start(REPO)

    answer = api("PATCH", location, iter([b"12345"]), {"Content-Range": "0-99"})

    assert (answer.status, answer.error_code) == (400, "SIZE_INVALID")
    assert api.put(location, of(b"67890"), b"67890").status == 201


def test_two_streams_follow_each_other(api: "Api") -> None:
    first = api("PATCH", api.start(REPO), CONTENT[:100])
    second = api("PATCH", first.location, CONTENT[100:])

    assert second.header("Range") == f"0-{len(CONTENT) - 1}"
    assert api.put(second.location, of(CONTENT)).status == 201


def test_announced_algorithm_is_kept_through_the_session(api: "Api") -> None:
    location = api.start(REPO, "?digest-algorithm=sha512")
    answer = api("PATCH", location, CONTENT)

    assert "digest-algorithm=sha512" in answer.location
    assert api.put(answer.location, of(CONTENT, "sha512")).status == 201


def test_announced_algorithm_may_turn_out_otherwise(api: "Api") -> None:
    answer = api("PATCH", api.start(REPO, "?digest-algorithm=sha512"), CONTENT)

    assert api.put(answer.location, of(CONTENT)).status == 201


def test_unknown_algorithm_is_refused(api: "Api") -> None:
    answer = api("POST", f"/v2/{REPO}/blobs/uploads/?digest-algorithm=md5")

    assert (answer.status, answer.error_code) == (400, "DIGEST_INVALID")


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE", "PUT"])
def test_unknown_session_is_not_found(api: "Api", method: str) -> None:
    path = f"/v2/{REPO}/blobs/uploads/0f0f0f0f-0000-4000-8000-000000000000"

    answer = api(method, f"{path}?digest={ABSENT}", b"" if method != "GET" else None)

    assert (answer.status, answer.error_code) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_session_belongs_to_its_repository(api: "Api") -> None:
    location = api.start(REPO)

    answer = api("GET", location.replace(REPO, "team/other"))

    assert answer.error_code == "BLOB_UPLOAD_UNKNOWN"


def test_finished_session_is_gone(api: "Api") -> None:
    location = api.start(REPO)
    api.put(location, of(CONTENT), CONTENT)

    assert api("GET", location).error_code == "BLOB_UPLOAD_UNKNOWN"


def test_cancelled_session_is_gone(api: "Api") -> None:
    location = api.start(REPO)
    chunk(api, location, CONTENT, 0, 1024)

    assert api("DELETE", location).status == 204
    assert api("GET", location).error_code == "BLOB_UPLOAD_UNKNOWN"


def test_pushing_a_blob_again_is_no_error(api: "Api") -> None:
    for _ in range(2):
        assert post_put(api, CONTENT, of(CONTENT)).status == 201


def test_content_encoding_does_not_change_the_bytes(api: "Api") -> None:
    packed = gzip.compress(b"content", mtime=0)
    location = api.start(REPO)

    answer = api.put(location, of(packed), packed, {"Content-Encoding": "gzip"})

    assert answer.status == 201
    assert api("GET", answer.location).body == packed


def test_blob_is_mounted_from_another_repository(api: "Api") -> None:
    digest = api.push_blob("team/base", CONTENT)

    answer = api("POST", f"/v2/{REPO}/blobs/uploads/?mount={digest}&from=team/base")

    assert (answer.status, answer.header("Docker-Content-Digest")) == (201, digest)
    assert api("GET", answer.location).body == CONTENT


def test_blob_is_mounted_from_anywhere(api: "Api") -> None:
    digest = api.push_blob("team/base", CONTENT, "sha512")

    answer = api("POST", f"/v2/{REPO}/blobs/uploads/?mount={digest}")

    assert answer.status == 201
    assert api("GET", answer.location).body == CONTENT


@pytest.mark.parametrize("source", ["&from=team/base", "&from=team/none", ""])
def test_mount_of_a_missing_blob_opens_a_session(api: "Api", source: str) -> None:
    api.push_blob("team/base", b"another blob")

    answer = api("POST", f"/v2/{REPO}/blobs/uploads/?mount={of(CONTENT)}{source}")

    assert answer.status == 202
    assert api.put(answer.location, of(CONTENT), CONTENT).status == 201


def test_mount_does_not_look_past_the_named_repository(api: "Api") -> None:
    digest = api.push_blob("team/private", CONTENT)

    answer = api("POST", f"/v2/{REPO}/blobs/uploads/?mount={digest}&from=team/base")

    assert answer.status == 202
    assert api("HEAD", f"/v2/{REPO}/blobs/{digest}").status == 404


def test_mount_does_not_revive_a_deleted_blob(api: "Api") -> None:
    digest = api.push_blob("team/base", CONTENT)
    api("DELETE", f"/v2/team/base/blobs/{digest}")

    assert api("POST", f"/v2/{REPO}/blobs/uploads/?mount={digest}").status == 202


def test_blob_is_deleted_from_its_repository_only(api: "Api") -> None:
    digest = api.push_blob(REPO, CONTENT)
    api.push_blob("team/other", CONTENT)

    answer = api("DELETE", f"/v2/{REPO}/blobs/{digest}")

    assert answer.status == 202
    assert api("HEAD", f"/v2/{REPO}/blobs/{digest}").status == 404
    assert api("GET", f"/v2/team/other/blobs/{digest}").body == CONTENT
    assert api("DELETE", f"/v2/{REPO}/blobs/{digest}").error_code == "BLOB_UNKNOWN"


def test_deleted_blob_can_be_pushed_again(api: "Api") -> None:
    digest = api.push_blob(REPO, CONTENT)
    api("DELETE", f"/v2/{REPO}/blobs/{digest}")

    api.push_blob(REPO, CONTENT)

    assert api("GET", f"/v2/{REPO}/blobs/{digest}").body == CONTENT
