"""Manifests and indexes."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagekit.oci import mediatype
from imagekit.oci.descriptor import Descriptor
from imagekit.oci.digest import Digest
from imagekit.oci.errors import InvalidDocumentError
from imagekit.oci.manifest import Index, Manifest, parse_document
from imagekit.oci.platform import Platform

# A busy machine makes a test slow, not wrong.
CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def descriptor(content: bytes = b"", media_type: str = mediatype.OCI_LAYER_GZIP) -> Descriptor:
    return Descriptor(media_type=media_type, digest=Digest.of(content), size=len(content))


CONFIG = descriptor(b"config", mediatype.OCI_CONFIG)
RAW: dict[str, Any] = {"mediaType": "a/b", "digest": str(Digest.of(b"")), "size": 0}


def as_json(**fields: object) -> bytes:
    return json.dumps({"schemaVersion": 2, **fields}).encode()


def entry(platform: str) -> Descriptor:
    named = descriptor(platform.encode(), mediatype.OCI_MANIFEST)
    return Descriptor(
        media_type=named.media_type,
        digest=named.digest,
        size=named.size,
        platform=Platform.parse(platform),
    )


@CALM
@given(
    contents=st.lists(st.binary(max_size=5), max_size=4),
    annotations=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
)
def test_a_built_manifest_is_read_back(contents: list[bytes], annotations: dict[str, str]) -> None:
    layers = [descriptor(content) for content in contents]

    manifest = Manifest.build(config=CONFIG, layers=layers, annotations=annotations)

    assert Manifest.parse(manifest.raw) == manifest
    assert manifest.config == CONFIG
    assert manifest.layers == tuple(layers)
    assert manifest.annotations == annotations
    assert manifest.children == (CONFIG, *layers)
    assert manifest.descriptor == descriptor(manifest.raw, mediatype.OCI_MANIFEST)


def test_equal_arguments_give_equal_bytes() -> None:
    one = Manifest.build(config=CONFIG, layers=[], annotations={"a": "1", "b": "2"})
    other = Manifest.build(config=CONFIG, layers=[], annotations={"b": "2", "a": "1"})

    assert one.raw == other.raw
    assert b'"layers":[]' in one.raw


def test_the_bytes_of_another_author_are_kept() -> None:
    raw = as_json(config=RAW, layers=[RAW], unknown={"x": 1}, mediaType=mediatype.OCI_MANIFEST)

    manifest = Manifest.parse(raw)

    assert manifest.raw == raw
    assert manifest.descriptor.digest == Digest.of(raw)


def test_what_the_transport_says_stands_in_for_a_missing_type() -> None:
    raw = as_json(config=RAW, layers=[])

    assert Manifest.parse(raw).media_type == mediatype.OCI_MANIFEST
    assert Manifest.parse(raw, mediatype.DOCKER_MANIFEST).media_type == mediatype.DOCKER_MANIFEST


def test_an_artifact_keeps_its_subject() -> None:
    subject = {**RAW, "mediaType": mediatype.OCI_MANIFEST}
    raw = as_json(config=RAW, layers=[], subject=subject, artifactType="application/x")

    manifest = Manifest.parse(raw)

    assert manifest.subject == descriptor(b"", mediatype.OCI_MANIFEST)
    assert manifest.artifact_type == "application/x"
    assert manifest.subject not in manifest.children


@pytest.mark.parametrize(
    ("raw", "part"),
    [
        (as_json(), "it has no config"),
        (as_json(config=RAW, manifests=[]), "the list of an index"),
        (as_json(config=RAW, layers={}), "$.layers"),
        (as_json(config=RAW, layers=[{**RAW, "digest": "x"}]), "invalid digest"),
        (as_json(config={"mediaType": "a/b"}), "missing required field"),
        (b'{"schemaVersion":1,"config":{}}', "manifest"),
        (b'{"schemaVersion":1}', "schema version 1"),
        (b'{"schemaVersion":true}', "schemaVersion"),
        (b"{}", "schemaVersion"),
        (b"not json", "invalid manifest"),
    ],
)
def test_what_is_no_manifest_says_why(raw: bytes, part: str) -> None:
    with pytest.raises(InvalidDocumentError) as caught:
        Manifest.parse(raw)

    assert part in caught.value.message


def test_a_built_index_is_read_back() -> None:
    entries = [entry("linux/amd64"), entry("linux/arm/v6")]

    index = Index.build(manifests=entries, annotations={"b": "2", "a": "1"})

    assert Index.parse(index.raw) == index
    assert index.children == index.manifests == tuple(entries)
    assert index.descriptor == descriptor(index.raw, mediatype.OCI_INDEX)
    assert index.annotations == {"a": "1", "b": "2"}


@pytest.mark.parametrize("fields", [{"config": RAW}, {"layers": []}])
def test_a_manifest_is_no_index(fields: dict[str, object]) -> None:
    with pytest.raises(InvalidDocumentError, match="fields of a manifest"):
        Index.parse(as_json(manifests=[], **fields))


def test_an_index_may_have_a_subject_and_a_type() -> None:
    raw = as_json(manifests=[], subject=RAW, artifactType="application/x")

    index = Index.parse(raw, mediatype.DOCKER_LIST)

    assert (index.media_type, index.artifact_type) == (mediatype.DOCKER_LIST, "application/x")
    assert index.subject is not None


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/arm/v7", "linux/arm/v7"),
        ("linux/arm/v6", "linux/arm/v6"),
        ("linux/arm/v5", None),
        ("linux/arm64", "linux/arm64"),
        ("linux/s390x", None),
    ],
)
def test_an_exact_variant_comes_before_a_lesser_one(wanted: str, chosen: str | None) -> None:
    names = ["linux/arm/v6", "linux/arm/v7", "linux/amd64", "linux/amd64/v2", "linux/arm64"]
    index = Index.build(manifests=[descriptor(b"no platform"), *map(entry, names)])

    found = index.select(Platform.parse(wanted))

    assert found == (None if chosen is None else entry(chosen))


def test_a_lesser_variant_will_do() -> None:
    index = Index.build(manifests=[entry("linux/arm/v6")])

    assert index.select(Platform.parse("linux/arm/v7")) == entry("linux/arm/v6")


@pytest.mark.parametrize(
    ("media_type", "kind"),
    [
        (mediatype.OCI_MANIFEST, Manifest),
        (mediatype.DOCKER_MANIFEST, Manifest),
        (mediatype.OCI_INDEX, Index),
        (mediatype.DOCKER_LIST, Index),
    ],
)
def test_the_transport_decides_what_a_document_is(media_type: str, kind: type) -> None:
    fields = {"config": RAW, "layers": []} if kind is Manifest else {"manifests": []}

    document = parse_document(as_json(**fields), media_type)

    assert type(document) is kind
    assert document.media_type == media_type


def test_a_document_that_contradicts_the_transport_is_refused() -> None:
    raw = as_json(mediaType=mediatype.OCI_INDEX, manifests=[])

    with pytest.raises(InvalidDocumentError, match="was delivered as"):
        parse_document(raw, mediatype.OCI_MANIFEST)


def test_other_documents_are_refused() -> None:
    with pytest.raises(InvalidDocumentError, match="unsupported document type 'text/html'"):
        parse_document(as_json(), "text/html")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.just(RAW),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)
FIELDS = ("config", "layers", "manifests", "mediaType", "subject", "annotations", "schemaVersion")


@CALM
@given(
    fields=st.dictionaries(st.sampled_from(FIELDS), JSON),
    media_type=st.sampled_from(mediatype.DOCUMENT_TYPES),
)
def test_any_json_is_a_document_or_its_own_error(
    fields: dict[str, object], media_type: str
) -> None:
    raw = json.dumps({"schemaVersion": 2, **fields}).encode()
    try:
        document = parse_document(raw, media_type)
    except InvalidDocumentError:
        return
    assert document.raw == raw


@CALM
@given(st.binary(max_size=40))
def test_any_bytes_are_a_document_or_its_own_error(raw: bytes) -> None:
    with pytest.raises(InvalidDocumentError):
        parse_document(raw, mediatype.OCI_MANIFEST)
