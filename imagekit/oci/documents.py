"""Strict decoding and canonical encoding of JSON documents.

msgspec checks types while it decodes; unknown fields are ignored here and survive because the raw
bytes are kept by whoever parsed them.
"""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from imagekit.oci.errors import InvalidDocumentError

MAX_DOCUMENT_BYTES = 16 << 20

T = TypeVar("T")


def decode(raw: bytes, kind: type[T], what: str) -> T:
    """Return ``raw`` as a value of ``kind``.

    Raises:
        InvalidDocumentError: with the path of the field that is wrong.

    """
    if len(raw) > MAX_DOCUMENT_BYTES:
        raise InvalidDocumentError(f"{what} has more than {MAX_DOCUMENT_BYTES} bytes")
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidDocumentError(f"invalid {what}: {error}") from error


def encode(value: object) -> bytes:
    """Return compact JSON, fields in the order of their declaration, empty ones left out."""
    return msgspec.json.encode(value)


def sorted_mapping(mapping: Mapping[str, str]) -> dict[str, str]:
    """Return a copy in key order, so that equal content has equal bytes."""
    return dict(sorted(mapping.items()))
