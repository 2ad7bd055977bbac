"""Digests: an algorithm and the hex of its value, parsed strictly before any use as a path."""

import hashlib
from typing import Self

import msgspec

from imagekit.oci.errors import InvalidReferenceError

HEX_LENGTH = {"sha256": 64, "sha512": 128}
_HEX_DIGITS = "0123456789abcdef"


class Digest(msgspec.Struct, frozen=True, order=True):
    """A content address. ``str()`` gives ``algorithm:hex``.

    Source: OCI image-spec, descriptor.md "Digests". Only the registered algorithms are taken.
    """

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the digest written as ``algorithm:hex``.

        Raises:
            InvalidReferenceError: for other text; the hex is lower case, of full length.

        """
        algorithm, _, value = text.partition(":")
        length = HEX_LENGTH.get(algorithm)
        if length is None or len(value) != length or value.strip(_HEX_DIGITS):
            raise InvalidReferenceError(
                f"invalid digest {text[:200]!r}", hint="Write it as sha256: and 64 hex digits."
            )
        return cls(algorithm, value)

    @classmethod
    def of(cls, data: bytes, algorithm: str = "sha256") -> Self:
        """Return the digest of ``data``."""
        return cls(algorithm, hashlib.new(algorithm, data).hexdigest())

    @property
    def short(self) -> str:
        """The first 12 hex digits, as users know image ids."""
        return self.hex[:12]

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"
