"""Rows 8 and 12 of the specification's table, and the catalog."""

from typing import TYPE_CHECKING, Any

import pytest

from imagekit.oci.digest import Digest

if TYPE_CHECKING:
    from tests.registry_server.conftest import Api

REPO = "team/app"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
ABSENT = str(Digest.of(b"never pushed"))


@pytest.fixture
def tagged(api: "Api") -> "Api":
    document = api.image(REPO)
    for tag in ("b", "a", "_x", "B", "1.0"):
        api.push_manifest(REPO, document, tag=tag)
    return api


def test_tags_are_listed_in_byte_order(tagged: "Api") -> None:
    answer = tagged("GET", f"/v2/{REPO}/tags/list")

    assert answer.status == 200
    assert answer.json() == {"name": REPO, "tags": ["1.0", "B", "_x", "a", "b"]}
    assert answer.headers["Link"] is None


def test_pages_are_followed_by_their_links_to_the_end(tagged: "Api") -> None:
    path, seen = f"/v2/{REPO}/tags/list?n=2", []
    while path:
        answer = tagged("GET", path)
        seen.append(answer.json()["tags"])
        link = answer.headers["Link"]
        path = link.partition(">")[0].removeprefix("<") if link else ""
        assert link is None or link.endswith('>; rel="next"')

    assert seen == [["1.0", "B"], ["_x", "a"], ["b"]]


@pytest.mark.parametrize(
    ("query", "tags"),
    [
        ("last=_x", ["a", "b"]),
        ("last=C", ["_x", "a", "b"]),
        ("last=zzz", []),
        ("last=B&n=1", ["_x"]),
        ("n=0", []),
        ("n=5", ["1.0", "B", "_x", "a", "b"]),
        ("n=500", ["1.0", "B", "_x", "a", "b"]),
    ],
)
def test_part_of_the_tags(tagged: "Api", query: str, tags: list[str]) -> None:
    answer = tagged("GET", f"/v2/{REPO}/tags/list?{query}")

    assert answer.json()["tags"] == tags
    assert (answer.headers["Link"] is not None) == (query == "last=B&n=1")


@pytest.mark.parametrize("count", ["-1", "x", "1.5", "99999999999999999999", "%D9%A1"])
def test_unusable_page_size_is_refused(tagged: "Api", count: str) -> None:
    answer = tagged("GET", f"/v2/{REPO}/tags/list?n={count}")

    assert (answer.status, answer.error_code) == (400, "PAGINATION_NUMBER_INVALID")


def test_tags_of_an_unknown_repository_are_not_found(api: "Api") -> None:
    answer = api("GET", "/v2/nothing/here/tags/list")

    assert (answer.status, answer.error_code) == (404, "NAME_UNKNOWN")


def test_repository_without_tags_has_an_empty_list(api: "Api") -> None:
    api.push_blob(REPO, b"only a blob")

    assert api("GET", f"/v2/{REPO}/tags/list").json() == {"name": REPO, "tags": []}


def test_catalog_lists_repositories_with_manifests(api: "Api") -> None:
    for name in ("b", "a", "a/nested/deep", "c"):
        api.push_manifest(name, api.image(name), tag="v1")
    api.push_blob("only-blobs", b"content")
    api("DELETE", "/v2/c/manifests/" + api("HEAD", "/v2/c/manifests/v1").headers["ETag"].strip('"'))

    answer = api("GET", "/v2/_catalog")

    assert answer.json() == {"repositories": ["a", "a/nested/deep", "b"]}


def test_catalog_comes_in_pages(api: "Api") -> None:
    for name in ("a", "b", "c"):
        api.push_manifest(name, api.image(name), tag="v1")

    first = api("GET", "/v2/_catalog?n=2")

    assert first.json() == {"repositories": ["a", "b"]}
    assert first.header("Link") == '</v2/_catalog?n=2&last=b>; rel="next"'


def test_empty_registry_has_an_empty_catalog(api: "Api") -> None:
    assert api("GET", "/v2/_catalog").json() == {"repositories": []}


def referrers(api: "Api", subject: str, query: str = "") -> tuple[list[Any], str | None]:
    answer = api("GET", f"/v2/{REPO}/referrers/{subject}{query}")
    assert answer.status == 200
    assert answer.header("Content-Type") == OCI_INDEX
    document = answer.json()
    assert (document["schemaVersion"], document["mediaType"]) == (2, OCI_INDEX)
    return document["manifests"], answer.headers["OCI-Filters-Applied"]


def subject_of(digest: str) -> dict[str, object]:
    return {"subject": {"mediaType": OCI_MANIFEST, "digest": digest, "size": 1}}


def test_referrers_of_an_unknown_subject_are_an_empty_index(api: "Api") -> None:
    assert referrers(api, ABSENT) == ([], None)
    assert referrers(api, ABSENT, "?artifactType=a/b") == ([], "artifactType")


def test_referrers_of_a_malformed_digest_are_refused(api: "Api") -> None:
    answer = api("GET", f"/v2/{REPO}/referrers/sha256:bad")

    assert (answer.status, answer.error_code) == (400, "DIGEST_INVALID")


def test_push_with_a_subject_says_so_and_is_listed(api: "Api") -> None:
    subject, _ = api.push_manifest(REPO, api.image(REPO), tag="v1")
    document = api.image(
        REPO, artifactType="text/sbom", annotations={"k": "v"}, **subject_of(subject)
    )

    digest, answer = api.push_manifest(REPO, document)

    assert answer.header("OCI-Subject") == subject
    size = int(api("HEAD", f"/v2/{REPO}/manifests/{digest}").header("Content-Length"))
    assert referrers(api, subject)[0] == [
        {
            "mediaType": OCI_MANIFEST,
            "digest": digest,
            "size": size,
            "artifactType": "text/sbom",
            "annotations": {"k": "v"},
        }
    ]


def test_artifact_type_falls_back_to_the_config(api: "Api") -> None:
    api.push_manifest(REPO, api.image(REPO, **subject_of(ABSENT)))

    (entry,) = referrers(api, ABSENT)[0]

    assert entry["artifactType"] == OCI_CONFIG
    assert "annotations" not in entry


@pytest.mark.parametrize("artifact_type", [None, "text/list"])
def test_index_can_be_a_referrer(api: "Api", artifact_type: str | None) -> None:
    extra = {"artifactType": artifact_type} if artifact_type else {}
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [],
        **extra,
        **subject_of(ABSENT),
    }

    _, answer = api.push_manifest(REPO, document)

    assert answer.header("OCI-Subject") == ABSENT
    (entry,) = referrers(api, ABSENT)[0]
    assert entry["mediaType"] == OCI_INDEX
    assert entry.get("artifactType") == artifact_type


def test_subject_may_come_later(api: "Api") -> None:
    document = api.image(REPO)
    raw_digest, _ = api.push_manifest("team/elsewhere", {**document, "layers": []})
    api.push_manifest(REPO, api.image(REPO, **subject_of(raw_digest)))

    assert len(referrers(api, raw_digest)[0]) == 1


def test_sha512_subject_has_its_own_list(api: "Api") -> None:
    subject = str(Digest.of(b"subject", "sha512"))

    _, answer = api.push_manifest(REPO, api.image(REPO, **subject_of(subject)))

    assert answer.header("OCI-Subject") == subject
    assert len(referrers(api, subject)[0]) == 1


def test_filter_leaves_the_wanted_type(api: "Api") -> None:
    for artifact_type in ("a/sbom", "a/signature"):
        api.push_manifest(REPO, api.image(REPO, artifactType=artifact_type, **subject_of(ABSENT)))

    everything, unfiltered = referrers(api, ABSENT)
    wanted, filtered = referrers(api, ABSENT, "?artifactType=a%2Fsbom")

    assert (len(everything), unfiltered) == (2, None)
    assert ([entry["artifactType"] for entry in wanted], filtered) == (["a/sbom"], "artifactType")


def test_pushing_a_referrer_twice_lists_it_once(api: "Api") -> None:
    document = api.image(REPO, **subject_of(ABSENT))
    for tag in (None, "t"):
        api.push_manifest(REPO, document, tag=tag)

    assert len(referrers(api, ABSENT)[0]) == 1


def test_deleted_referrer_is_not_listed(api: "Api") -> None:
    digest, _ = api.push_manifest(REPO, api.image(REPO, **subject_of(ABSENT)))

    api("DELETE", f"/v2/{REPO}/manifests/{digest}")

    assert referrers(api, ABSENT)[0] == []


def test_referrers_stay_in_their_repository(api: "Api") -> None:
    api.push_manifest("team/other", api.image("team/other", **subject_of(ABSENT)))

    assert referrers(api, ABSENT)[0] == []
