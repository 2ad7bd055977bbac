"""Decoding of JSON documents."""

import msgspec
import pytest

from imagekit.oci.documents import MAX_DOCUMENT_BYTES, decode, encode, sorted_mapping
from imagekit.oci.errors import InvalidDocumentError


class Document(msgspec.Struct, omit_defaults=True):
    name: str
    sizes: list[int] = []


def test_what_was_encoded_is_decoded() -> None:
    raw = encode(Document("a", [1]))

    assert raw == b'{"name":"a","sizes":[1]}'
    assert decode(raw, Document, "document") == Document("a", [1])
    assert encode(Document("a")) == b'{"name":"a"}'


@pytest.mark.parametrize(
    ("raw", "part"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"[]", "Expected `object`"),
        (b"null", "Expected `object`"),
        (b'{"name":1}', "$.name"),
        (b'{"name":"a","sizes":[1,"2"]}', "$.sizes[1]"),
        (b'{"sizes":[]}', "missing required field `name`"),
        (b'{"name":"\xff"}', "invalid document"),
        (b'{"name":"a"} trailing', "invalid document"),
        (b'{"other":' + b"[" * 100_000, "invalid document"),
    ],
)
def test_wrong_documents_say_where(raw: bytes, part: str) -> None:
    with pytest.raises(InvalidDocumentError) as caught:
        decode(raw, Document, "document")

    assert part in caught.value.message


def test_a_document_has_a_largest_size() -> None:
    with pytest.raises(InvalidDocumentError, match="more than"):
        decode(b" " * (MAX_DOCUMENT_BYTES + 1), Document, "document")


def test_mappings_are_sorted() -> None:
    assert list(sorted_mapping({"b": "1", "a": "2"})) == ["a", "b"]
