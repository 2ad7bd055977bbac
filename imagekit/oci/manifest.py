"""Manifests and indexes, with the bytes they were parsed from.

A digest is always of ``raw``; nothing re-serialises a document that came from elsewhere.

Source: OCI image-spec manifest.md and image-index.md; docker schema 2 has the same fields.
"""

from collections.abc import Mapping, Sequence
from typing import Self

import msgspec

from imagekit.oci import mediatype
from imagekit.oci.descriptor import Descriptor, RawDescriptor
from imagekit.oci.digest import Digest
from imagekit.oci.documents import decode, encode
from imagekit.oci.errors import InvalidDocumentError
from imagekit.oci.platform import Platform


class _RawDocument(
    msgspec.Struct,
    omit_defaults=True,
    rename={
        "schema_version": "schemaVersion",
        "media_type": "mediaType",
        "artifact_type": "artifactType",
    },
):
    schema_version: int
    media_type: str = ""
    artifact_type: str = ""
    config: RawDescriptor | None = None
    layers: list[RawDescriptor] | None = None
    manifests: list[RawDescriptor] | None = None
    subject: RawDescriptor | None = None
    annotations: dict[str, str] | None = None


class _RawManifest(_RawDocument, omit_defaults=True):
    pass


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One image for one platform, or an artifact: a config and its layers, bottom first."""

    raw: bytes
    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    artifact_type: str | None = None
    annotations: Mapping[str, str] = msgspec.field(default_factory=dict)

    @classmethod
    def parse(cls, raw: bytes, media_type: str | None = None) -> Self:
        """Return the manifest in ``raw``; ``media_type`` is what the transport said.

        Raises:
            InvalidDocumentError: if it is an index, or breaks the specification.

        """
        document = _decode(raw, "manifest")
        if document.manifests is not None:
            raise InvalidDocumentError("invalid manifest: it has the list of an index")
        if document.config is None:
            raise InvalidDocumentError("invalid manifest: it has no config")
        return cls(
            raw=raw,
            media_type=document.media_type or media_type or mediatype.OCI_MANIFEST,
            config=Descriptor.from_raw(document.config),
            layers=tuple(map(Descriptor.from_raw, document.layers or ())),
            subject=Descriptor.from_raw(document.subject) if document.subject else None,
            artifact_type=document.artifact_type or None,
            annotations=document.annotations or {},
        )

    @classmethod
    def build(
        cls,
        *,
        config: Descriptor,
        layers: Sequence[Descriptor],
        annotations: Mapping[str, str] | None = None,
    ) -> Self:
        """Return a new OCI manifest; equal arguments give equal bytes."""
        raw = encode(
            _RawManifest(
                schema_version=2,
                media_type=mediatype.OCI_MANIFEST,
                config=config.to_raw(),
                layers=[layer.to_raw() for layer in layers],
                annotations=dict(sorted((annotations or {}).items())) or None,
            )
        )
        return cls.parse(raw)

    @property
    def descriptor(self) -> Descriptor:
        """Where this manifest is found by content."""
        return Descriptor(
            media_type=self.media_type, digest=Digest.of(self.raw), size=len(self.raw)
        )

    @property
    def children(self) -> tuple[Descriptor, ...]:
        """Everything this manifest refers to, except its subject."""
        return (self.config, *self.layers)


class Index(msgspec.Struct, frozen=True, kw_only=True):
    """Several manifests, usually one for each platform."""

    raw: bytes
    media_type: str
    manifests: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    artifact_type: str | None = None
    annotations: Mapping[str, str] = msgspec.field(default_factory=dict)

    @classmethod
    def parse(cls, raw: bytes, media_type: str | None = None) -> Self:
        """Return the index in ``raw``.

        Raises:
            InvalidDocumentError: if it is a manifest, or breaks the specification.

        """
        document = _decode(raw, "index")
        if document.config is not None or document.layers is not None:
            raise InvalidDocumentError("invalid index: it has the fields of a manifest")
        return cls(
            raw=raw,
            media_type=document.media_type or media_type or mediatype.OCI_INDEX,
            manifests=tuple(map(Descriptor.from_raw, document.manifests or ())),
            subject=Descriptor.from_raw(document.subject) if document.subject else None,
            artifact_type=document.artifact_type or None,
            annotations=document.annotations or {},
        )

    @classmethod
    def build(
        cls, *, manifests: Sequence[Descriptor], annotations: Mapping[str, str] | None = None
    ) -> Self:
        """Return a new OCI index; equal arguments give equal bytes."""
        raw = encode(
            _RawDocument(
                schema_version=2,
                media_type=mediatype.OCI_INDEX,
                manifests=[manifest.to_raw() for manifest in manifests],
                annotations=dict(sorted((annotations or {}).items())) or None,
            )
        )
        return cls.parse(raw)

    @property
    def descriptor(self) -> Descriptor:
        """Where this index is found by content."""
        return Descriptor(
            media_type=self.media_type, digest=Digest.of(self.raw), size=len(self.raw)
        )

    @property
    def children(self) -> tuple[Descriptor, ...]:
        """The manifests it lists."""
        return self.manifests

    def select(self, platform: Platform) -> Descriptor | None:
        """Return the first manifest for ``platform``, an exact variant before a lesser one."""
        fitting = [m for m in self.manifests if m.platform and platform.matches(m.platform)]
        exact = [m for m in fitting if m.platform and m.platform.variant == platform.variant]
        return next(iter(exact or fitting), None)


Document = Manifest | Index


def parse_document(raw: bytes, media_type: str) -> Document:
    """Return the manifest or index in ``raw``; what the transport called it decides.

    Raises:
        InvalidDocumentError: if the media type is neither, or contradicts the document.

    """
    stated = _decode(raw, "document").media_type
    if stated and stated != media_type:
        raise InvalidDocumentError(
            f"document says it is {stated!r} but was delivered as {media_type!r}"
        )
    if mediatype.is_index(media_type):
        return Index.parse(raw, media_type)
    if mediatype.is_manifest(media_type):
        return Manifest.parse(raw, media_type)
    raise InvalidDocumentError(f"unsupported document type {media_type!r}")


def _decode(raw: bytes, what: str) -> _RawDocument:
    document = decode(raw, _RawDocument, what)
    if document.schema_version != 2:
        raise InvalidDocumentError(
            f"invalid {what}: schema version {document.schema_version} is not supported"
        )
    return document
