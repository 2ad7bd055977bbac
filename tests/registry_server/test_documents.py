"""Reading pushed manifests: only the documented error comes out, whatever goes in."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.oci.digest import Digest
from registry_server.documents import ManifestDocument, referrer_descriptor
from registry_server.errors import RegistryError

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DIGEST = Digest.of(b"content")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["mediaType", "config", "layers", "manifests", "subject", "digest", "size"]
            )
            | st.text(max_size=3),
            children,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(json_values, st.sampled_from([OCI_MANIFEST, OCI_INDEX, "a/b", None, ""]))
def test_any_json_gives_a_document_or_the_documented_error(
    value: object, content_type: str | None
) -> None:
    with contextlib.suppress(RegistryError):
        ManifestDocument.parse(json.dumps(value).encode(), content_type)


@given(st.binary(), st.text())
def test_any_bytes_give_a_document_or_the_documented_error(raw: bytes, content_type: str) -> None:
    for data in (raw, b'{"mediaType":"' + raw + b'"}', b'{"x":' + raw):
        with contextlib.suppress(RegistryError):
            ManifestDocument.parse(data, content_type)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"x":' + b"[" * 100_000,
        b'{"x":' + b'{"x":' * 100_000,
        b'{"mediaType":"\xff"}',
        b'{"annotations":{"a":"\\ud800"}}',
        b"\xef\xbb\xbf{}",
    ],
    ids=["brackets", "braces", "utf-8", "surrogate", "byte order mark"],
)
def test_attack_on_the_parser_is_refused(raw: bytes) -> None:
    with pytest.raises(RegistryError) as caught:
        ManifestDocument.parse(raw, "a/b")

    assert caught.value.row.code == "MANIFEST_INVALID"


@pytest.mark.parametrize("media_type", ["a/b\r\nX: y", "a/\u00e9", "a/" + "b" * 300, "a/\x00"])
def test_media_type_that_is_no_header_value_is_refused(media_type: str) -> None:
    with pytest.raises(RegistryError):
        ManifestDocument.parse(b"{}", media_type)


def test_what_is_acted_on_is_read() -> None:
    descriptor = {"mediaType": "c/d", "digest": str(DIGEST), "size": 7}
    raw = json.dumps(
        {
            "mediaType": OCI_MANIFEST,
            "config": descriptor,
            "layers": [descriptor, {**descriptor, "urls": ["https://x.example"]}],
            "subject": descriptor,
            "annotations": {"k": "v"},
            "future": {"field": 1},
        }
    ).encode()

    document = ManifestDocument.parse(raw, OCI_MANIFEST + ";charset=utf-8")

    assert document.media_type == OCI_MANIFEST
    assert document.artifact_type == "c/d"
    assert document.blobs == (DIGEST, DIGEST)
    assert document.subject == DIGEST
    assert json.loads(referrer_descriptor(document, DIGEST, 9)) == {
        "mediaType": OCI_MANIFEST,
        "digest": str(DIGEST),
        "size": 9,
        "artifactType": "c/d",
        "annotations": {"k": "v"},
    }
