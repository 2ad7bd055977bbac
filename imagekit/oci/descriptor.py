"""Descriptors: what a piece of content is, its address and its size."""

import binascii
from collections.abc import Mapping
from typing import Self

import msgspec

from imagekit.oci.digest import Digest
from imagekit.oci.errors import InvalidDocumentError, InvalidReferenceError
from imagekit.oci.platform import Platform


class RawPlatform(msgspec.Struct, omit_defaults=True, rename={"os_version": "os.version"}):
    """The platform object of an index, as in JSON."""

    architecture: str = ""
    os: str = ""
    os_version: str = ""
    variant: str = ""


class RawDescriptor(
    msgspec.Struct,
    omit_defaults=True,
    rename={"media_type": "mediaType", "artifact_type": "artifactType"},
):
    """A descriptor, as in JSON."""

    media_type: str
    digest: str
    size: int
    urls: list[str] | None = None
    annotations: dict[str, str] | None = None
    data: str = ""
    platform: RawPlatform | None = None
    artifact_type: str = ""


class Descriptor(msgspec.Struct, frozen=True, kw_only=True):
    """A typed, sized content address; ``size`` is in bytes, ``data`` embedded content.

    Source: OCI image-spec descriptor.md.
    """

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = msgspec.field(default_factory=dict)
    platform: Platform | None = None
    artifact_type: str | None = None
    urls: tuple[str, ...] = ()
    data: bytes | None = None

    @classmethod
    def from_raw(cls, raw: RawDescriptor) -> Self:
        """Return the value of a decoded descriptor.

        Raises:
            InvalidDocumentError: if the digest, the size or the embedded content is impossible.

        """
        try:
            digest = Digest.parse(raw.digest)
        except InvalidReferenceError as error:
            raise InvalidDocumentError(f"invalid descriptor: {error.message}") from error
        if raw.size < 0:
            raise InvalidDocumentError(f"invalid descriptor {digest}: size {raw.size}")
        return cls(
            media_type=raw.media_type,
            digest=digest,
            size=raw.size,
            annotations=raw.annotations or {},
            platform=_platform_of(raw.platform),
            artifact_type=raw.artifact_type or None,
            urls=tuple(raw.urls or ()),
            data=_decoded(raw.data, digest) if raw.data else None,
        )

    def to_raw(self) -> RawDescriptor:
        """Return the JSON shape."""
        platform = self.platform
        return RawDescriptor(
            media_type=self.media_type,
            digest=str(self.digest),
            size=self.size,
            urls=list(self.urls) or None,
            annotations=dict(sorted(self.annotations.items())) or None,
            data=binascii.b2a_base64(self.data, newline=False).decode() if self.data else "",
            platform=None
            if platform is None
            else RawPlatform(
                architecture=platform.architecture,
                os=platform.os,
                os_version=platform.os_version or "",
                variant=platform.variant or "",
            ),
            artifact_type=self.artifact_type or "",
        )


def _decoded(text: str, digest: Digest) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:
        raise InvalidDocumentError(f"invalid descriptor {digest}: data: {error}") from error


def _platform_of(raw: RawPlatform | None) -> Platform | None:
    if raw is None or not raw.os:
        return None
    return Platform.normalised(raw.os, raw.architecture, raw.variant, raw.os_version or None)
