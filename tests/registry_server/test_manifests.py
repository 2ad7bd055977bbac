"""Rows 7 and 9 of the specification's table: pushing and deleting manifests."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests

from imagekit.oci.digest import Digest
from registry_server.testing import running_registry

if TYPE_CHECKING:
    from tests.registry_server.conftest import Answer, Api

REPO = "team/app"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
ABSENT = str(Digest.of(b"never pushed"))


def put_raw(
    api: "Api", raw: bytes, reference: str = "v1", media_type: str | None = OCI_MANIFEST
) -> "Answer":
    headers = {"Content-Type": media_type} if media_type else {}
    return api("PUT", f"/v2/{REPO}/manifests/{reference}", raw, headers)


def index_of(*digests: str, **extra: object) -> dict[str, object]:
    entries = [{"mediaType": OCI_MANIFEST, "digest": digest, "size": 1} for digest in digests]
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries, **extra}


def test_pushed_manifest_is_at_its_location(api: "Api") -> None:
    document = api.image(REPO)

    digest, answer = api.push_manifest(REPO, document, tag="v1")

    assert answer.status == 201
    assert answer.header("Docker-Content-Digest") == digest
    assert answer.headers["OCI-Subject"] is None
    assert api("GET", answer.location).json() == document


def test_content_type_parameters_are_dropped(api: "Api") -> None:
    raw = json.dumps(api.image(REPO)).encode()

    assert put_raw(api, raw, media_type=f"{OCI_MANIFEST}; charset=utf-8").status == 201
    assert api("GET", f"/v2/{REPO}/manifests/v1").header("Content-Type") == OCI_MANIFEST


def test_content_type_may_be_left_to_the_document(api: "Api") -> None:
    raw = json.dumps(api.image(REPO)).encode()

    assert put_raw(api, raw, media_type=None).status == 201
    assert api("GET", f"/v2/{REPO}/manifests/v1").header("Content-Type") == OCI_MANIFEST


def test_any_media_type_is_stored(api: "Api") -> None:
    answer = put_raw(api, b'{"hello":1}', media_type="application/vnd.example+json")

    assert answer.status == 201
    got = api("GET", f"/v2/{REPO}/manifests/v1")
    assert (got.body, got.header("Content-Type")) == (
        b'{"hello":1}',
        "application/vnd.example+json",
    )


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"no json",
        b"[]",
        b'{"schemaVersion":2}',
        b'{"config":"text"}',
        b'{"config":{"digest":"sha256:00","size":"big"}}',
    ],
)
def test_document_of_the_wrong_shape_is_refused(api: "Api", raw: bytes) -> None:
    answer = put_raw(api, raw)

    assert (answer.status, answer.error_code) == (400, "MANIFEST_INVALID")


def test_malformed_digest_inside_is_refused(api: "Api") -> None:
    raw = b'{"config":{"mediaType":"a/b","digest":"sha256:../../etc/passwd","size":2}}'

    answer = put_raw(api, raw)

    assert (answer.status, answer.error_code) == (400, "DIGEST_INVALID")


def test_manifest_without_any_media_type_is_refused(api: "Api") -> None:
    assert put_raw(api, b"{}", media_type=None).error_code == "MANIFEST_INVALID"


def test_attack_media_type_of_header_and_document_differ(api: "Api") -> None:
    raw = json.dumps(api.image(REPO)).encode()

    answer = put_raw(api, raw, media_type=OCI_INDEX)

    assert (answer.status, answer.error_code) == (400, "MANIFEST_INVALID")


def test_attack_document_is_image_and_index_at_once(api: "Api") -> None:
    document = {**api.image(REPO), "manifests": []}

    _, answer = api.push_manifest(REPO, document, tag="v1")

    assert (answer.status, answer.error_code) == (400, "MANIFEST_INVALID")


def test_digest_of_another_document_is_refused(api: "Api") -> None:
    raw = json.dumps(api.image(REPO)).encode()

    answer = put_raw(api, raw + b"  ", reference=str(Digest.of(raw)))

    assert (answer.status, answer.error_code) == (400, "DIGEST_INVALID")
    assert api("HEAD", f"/v2/{REPO}/manifests/{Digest.of(raw)}").status == 404


@pytest.mark.parametrize(
    ("reference", "code"),
    [
        ("sha256:baddigeststring", "DIGEST_INVALID"),
        (".hidden", "TAG_INVALID"),
        ("a" * 129, "TAG_INVALID"),
        ("-dash", "TAG_INVALID"),
    ],
)
def test_unusable_reference_is_refused(api: "Api", reference: str, code: str) -> None:
    answer = put_raw(api, json.dumps(api.image(REPO)).encode(), reference=reference)

    assert (answer.status, answer.error_code) == (400, code)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_manifest_is_kept_under_the_digest_it_was_pushed_with(api: "Api", algorithm: str) -> None:
    raw = json.dumps(api.image(REPO)).encode()
    digest = str(Digest.of(raw, algorithm))

    answer = put_raw(api, raw, reference=f"{digest}?tag=one&tag=two")

    assert answer.status == 201
    assert answer.headers.get_all("OCI-Tag") == ["one", "two"]
    for reference in ("one", "two", digest):
        got = api("GET", f"/v2/{REPO}/manifests/{reference}")
        assert (got.body, got.header("Docker-Content-Digest")) == (raw, digest)


def test_one_bad_tag_parameter_stores_nothing(api: "Api") -> None:
    raw = json.dumps(api.image(REPO)).encode()

    answer = put_raw(api, raw, reference=f"{Digest.of(raw)}?tag=good&tag=.bad")

    assert (answer.status, answer.error_code) == (400, "TAG_INVALID")
    assert api("HEAD", f"/v2/{REPO}/manifests/good").status == 404


def test_layer_that_was_not_pushed_is_named(api: "Api") -> None:
    document = api.image(REPO)
    layers = [{"mediaType": "a/b", "digest": ABSENT, "size": 1}]

    _, answer = api.push_manifest(REPO, {**document, "layers": layers}, tag="v1")

    assert (answer.status, answer.error_code) == (400, "MANIFEST_BLOB_UNKNOWN")
    assert ABSENT in answer.json()["errors"][0]["detail"]["missing"]


def test_layer_of_another_repository_does_not_count(api: "Api") -> None:
    document = api.image("team/other")

    _, answer = api.push_manifest(REPO, document, tag="v1")

    assert answer.error_code == "MANIFEST_BLOB_UNKNOWN"


def test_layer_with_urls_need_not_be_here(api: "Api") -> None:
    layer = {"mediaType": "a/b", "digest": ABSENT, "size": 1, "urls": ["https://x.example/y"]}

    _, answer = api.push_manifest(REPO, {**api.image(REPO), "layers": [layer]}, tag="v1")

    assert answer.status == 201


@pytest.mark.parametrize("layers", [[], None])
def test_image_without_layers_is_taken(api: "Api", layers: object) -> None:
    _, answer = api.push_manifest(REPO, {**api.image(REPO), "layers": layers}, tag="v1")

    assert answer.status == 201


@pytest.mark.parametrize("entries", [[], None])
def test_empty_index_is_taken(api: "Api", entries: object) -> None:
    _, answer = api.push_manifest(REPO, {**index_of(), "manifests": entries}, tag="v1")

    assert answer.status == 201


def test_index_of_an_index_is_taken(api: "Api") -> None:
    image, _ = api.push_manifest(REPO, api.image(REPO))
    inner, _ = api.push_manifest(REPO, index_of(image))

    _, answer = api.push_manifest(REPO, index_of(inner), tag="v1")

    assert answer.status == 201


def test_docker_list_is_taken(api: "Api") -> None:
    image, _ = api.push_manifest(REPO, api.image(REPO))

    _, answer = api.push_manifest(REPO, {**index_of(image), "mediaType": DOCKER_LIST}, tag="v1")

    assert answer.status == 201
    assert api("GET", f"/v2/{REPO}/manifests/v1").header("Content-Type") == DOCKER_LIST


def test_index_may_list_blobs_as_build_caches_do(api: "Api") -> None:
    _, answer = api.push_manifest(REPO, index_of(api.push_blob(REPO, b"layer")), tag="cache")

    assert answer.status == 201


def test_index_with_a_missing_platform_is_refused(api: "Api") -> None:
    _, answer = api.push_manifest(REPO, index_of(ABSENT), tag="v1")

    assert (answer.status, answer.error_code) == (400, "MANIFEST_BLOB_UNKNOWN")


def test_sparse_index_is_taken_when_allowed(tmp_path: Path) -> None:
    raw = json.dumps(index_of(ABSENT)).encode()
    with running_registry(tmp_path, allow_sparse=True) as registry:
        answer = requests.put(
            f"{registry.url}/v2/{REPO}/manifests/v1",
            data=raw,
            headers={"Content-Type": OCI_INDEX},
            timeout=10,
        )

    assert answer.status_code == 201


def test_manifest_of_several_mebibytes_is_taken(api: "Api") -> None:
    document = api.image(REPO, annotations={f"key-{n}": "A" * 10_000 for n in range(450)})

    digest, answer = api.push_manifest(REPO, document, tag="large")

    assert answer.status == 201
    assert len(api("GET", f"/v2/{REPO}/manifests/{digest}").body) > 4 << 20


@pytest.mark.parametrize("streamed", [False, True])
def test_manifest_over_the_limit_is_refused(api: "Api", *, streamed: bool) -> None:
    raw = b'{"annotations":{"a":"' + b"A" * (16 << 20) + b'"}}'
    pieces = (raw[n : n + 65536] for n in range(0, len(raw), 65536))

    try:
        answer = api(
            "PUT",
            f"/v2/{REPO}/manifests/v1",
            pieces if streamed else raw,
            {"Content-Type": OCI_MANIFEST},
        )
    except (BrokenPipeError, ConnectionResetError):
        return  # refused so early that the client was still sending

    assert (answer.status, answer.error_code) == (413, "MANIFEST_INVALID")


def test_moving_a_tag_keeps_the_old_manifest(api: "Api") -> None:
    old, _ = api.push_manifest(REPO, api.image(REPO), tag="latest")

    new, _ = api.push_manifest(REPO, api.image(REPO, annotations={"n": "2"}), tag="latest")

    got = api("HEAD", f"/v2/{REPO}/manifests/latest")
    assert got.header("Docker-Content-Digest") == new != old
    assert api("HEAD", f"/v2/{REPO}/manifests/{old}").status == 200


def test_deleting_a_tag_leaves_manifest_and_siblings(api: "Api") -> None:
    document = api.image(REPO)
    digest, _ = api.push_manifest(REPO, document, tag="one")
    api.push_manifest(REPO, document, tag="two")

    assert api("DELETE", f"/v2/{REPO}/manifests/one").status == 202

    assert api("GET", f"/v2/{REPO}/manifests/one").error_code == "MANIFEST_UNKNOWN"
    assert api("HEAD", f"/v2/{REPO}/manifests/two").status == 200
    assert api("HEAD", f"/v2/{REPO}/manifests/{digest}").status == 200


def test_deleting_a_manifest_takes_its_tags_only(api: "Api") -> None:
    document = api.image(REPO)
    digest, _ = api.push_manifest(REPO, document, tag="one")
    api.push_manifest(REPO, document, tag="two")
    api.push_manifest(REPO, api.image(REPO, annotations={"n": "2"}), tag="three")

    assert api("DELETE", f"/v2/{REPO}/manifests/{digest}").status == 202

    assert api("HEAD", f"/v2/{REPO}/manifests/{digest}").status == 404
    assert api("GET", f"/v2/{REPO}/tags/list").json()["tags"] == ["three"]


@pytest.mark.parametrize(
    ("reference", "status", "code"),
    [
        ("absent", 404, "MANIFEST_UNKNOWN"),
        (ABSENT, 404, "MANIFEST_UNKNOWN"),
        ("sha256:bad", 400, "DIGEST_INVALID"),
        (".bad", 404, "MANIFEST_UNKNOWN"),
    ],
)
def test_deleting_what_is_not_there(api: "Api", reference: str, status: int, code: str) -> None:
    api.push_manifest(REPO, api.image(REPO), tag="v1")

    answer = api("DELETE", f"/v2/{REPO}/manifests/{reference}")

    assert (answer.status, answer.error_code) == (status, code)
