"""Descriptors."""

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagekit.oci import mediatype
from imagekit.oci.descriptor import Descriptor, RawDescriptor
from imagekit.oci.digest import Digest
from imagekit.oci.documents import decode
from imagekit.oci.errors import InvalidDocumentError
from imagekit.oci.platform import Platform

# A busy machine makes a test slow, not wrong.
CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

PLATFORMS = st.builds(
    Platform.normalised,
    st.sampled_from(["linux", "windows"]),
    st.sampled_from(["amd64", "arm", "arm64"]),
    st.sampled_from([None, "v7"]),
    st.sampled_from([None, "10.0"]),
)
DESCRIPTORS = st.builds(
    Descriptor,
    media_type=st.sampled_from([mediatype.OCI_LAYER_GZIP, mediatype.OCI_MANIFEST]),
    digest=st.binary(max_size=8).map(Digest.of),
    size=st.integers(0, 2**62),
    annotations=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
    platform=st.none() | PLATFORMS,
    artifact_type=st.sampled_from([None, "application/x"]),
    urls=st.lists(st.just("https://r.io/x"), max_size=2).map(tuple),
    data=st.none() | st.binary(min_size=1, max_size=8),
)


def read(raw: bytes) -> Descriptor:
    return Descriptor.from_raw(decode(raw, RawDescriptor, "descriptor"))


@CALM
@given(DESCRIPTORS)
def test_json_is_read_back(descriptor: Descriptor) -> None:
    assert read(msgspec.json.encode(descriptor.to_raw())) == descriptor


def test_what_is_not_set_is_not_written() -> None:
    descriptor = Descriptor(media_type="a/b", digest=Digest.of(b""), size=0)

    assert set(msgspec.to_builtins(descriptor.to_raw())) == {"mediaType", "digest", "size"}


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"digest": "sha256:../../etc/passwd"}, "invalid digest"),
        ({"digest": "latest"}, "invalid digest"),
        ({"size": -1}, "size -1"),
        ({"size": "1"}, "$.size"),
        ({"size": 1.5}, "$.size"),
        ({"data": "***"}, "data"),
        ({"data": "ü"}, "data"),
        ({"annotations": {"a": 1}}, "$.annotations"),
        ({"platform": []}, "$.platform"),
    ],
)
def test_impossible_descriptors_are_refused(changes: dict[str, object], part: str) -> None:
    document = {"mediaType": "a/b", "digest": str(Digest.of(b"")), "size": 0, **changes}

    with pytest.raises(InvalidDocumentError) as caught:
        read(msgspec.json.encode(document))

    assert part in caught.value.message


def test_a_platform_without_a_system_is_none() -> None:
    document = {"mediaType": "a/b", "digest": str(Digest.of(b"")), "size": 0, "platform": {}}

    assert read(msgspec.json.encode(document)).platform is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
FIELDS = st.sampled_from(["mediaType", "digest", "size", "platform", "data", "urls", "annotations"])


@CALM
@given(st.dictionaries(FIELDS, JSON))
def test_any_json_is_a_descriptor_or_its_own_error(value: dict[str, object]) -> None:
    document = {"mediaType": "a/b", "digest": str(Digest.of(b"")), "size": 0, **value}
    try:
        read(msgspec.json.encode(document))
    except InvalidDocumentError:
        return
