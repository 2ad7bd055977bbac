"""What the registry reads in a pushed manifest: media type, references, subject.

Unknown fields and unknown media types pass; the bytes themselves are never rewritten.

Source: image-spec manifest.md, image-index.md; distribution-spec 1.1, "Pushing Manifests" and
"Listing Referrers".
"""

import json
from dataclasses import dataclass

import msgspec

from imagekit.oci.digest import Digest
from imagekit.oci.mediatype import is_index, is_manifest
from registry_server import errors
from registry_server.errors import RegistryError
from registry_server.names import parse_digest
from registry_server.storage.interface import StorageBackend

_MEDIA_TYPE_MAX = 255


class _Descriptor(msgspec.Struct, rename="camel", frozen=True):
    digest: str
    size: int
    media_type: str = ""
    urls: list[str] | None = None


class _Document(msgspec.Struct, rename="camel", frozen=True):
    media_type: str | None = None
    artifact_type: str | None = None
    config: _Descriptor | None = None
    layers: list[_Descriptor] | None = None
    blobs: list[_Descriptor] | None = None
    # Go writes an empty list as null, so null and absence must be told apart.
    manifests: list[_Descriptor] | msgspec.UnsetType | None = msgspec.UNSET
    subject: _Descriptor | None = None
    annotations: dict[str, str] | None = None


_DECODER = msgspec.json.Decoder(_Document)


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestDocument:
    """The parts of a manifest that the registry acts on."""

    media_type: str
    artifact_type: str | None
    annotations: dict[str, str]
    subject: Digest | None
    blobs: tuple[Digest, ...]
    """Config and layers that must be in the repository; those with ``urls`` need not."""
    children: tuple[Digest, ...]
    """What an index lists."""

    @classmethod
    def parse(cls, raw: bytes, content_type: str | None) -> "ManifestDocument":
        """Read a manifest as pushed with this Content-Type.

        Raises:
            RegistryError: MANIFEST_INVALID when it is not JSON of the right shape, when header and
                document disagree on the media type, or when it could be read as an image and as an
                index (CVE-2021-41190); DIGEST_INVALID for a malformed digest in it.

        """
        try:
            document = _DECODER.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            # msgspec lets the last two through: invalid UTF-8 in a string, thousands of brackets.
            raise RegistryError(errors.MANIFEST_INVALID, str(error)) from error
        media_type = _media_type(content_type, document.media_type)
        is_list = document.manifests is not msgspec.UNSET
        if is_list and (document.layers is not None or document.config is not None):
            raise RegistryError(errors.MANIFEST_INVALID, "both an image and an index")
        if is_index(media_type) and not is_list:
            raise RegistryError(errors.MANIFEST_INVALID, "an index needs manifests")
        if is_manifest(media_type) and document.config is None:
            raise RegistryError(errors.MANIFEST_INVALID, "an image manifest needs a config")
        config = [document.config] if document.config is not None else []
        blobs = (*config, *(document.layers or ()), *(document.blobs or ()))
        artifact_type = document.artifact_type
        if not artifact_type and document.config is not None:
            artifact_type = document.config.media_type
        return cls(
            media_type=media_type,
            artifact_type=artifact_type or None,
            annotations=document.annotations or {},
            subject=parse_digest(document.subject.digest) if document.subject else None,
            blobs=tuple(parse_digest(blob.digest) for blob in blobs if not blob.urls),
            children=tuple(parse_digest(child.digest) for child in document.manifests or ()),
        )


def check_references(document: ManifestDocument, storage: StorageBackend, name: str) -> None:
    """Refuse a manifest whose content is not in the repository; a missing subject is allowed.

    The specification leaves this to the registry. A push that lost a layer is worth refusing.

    An index may list blobs too, as build caches do.

    Raises:
        RegistryError: MANIFEST_BLOB_UNKNOWN with every digest that is missing.

    """
    missing = [digest for digest in document.blobs if storage.blob(name, digest) is None]
    missing += [
        digest
        for digest in document.children
        if not storage.has_manifest(name, digest) and storage.blob(name, digest) is None
    ]
    if missing:
        detail = {"missing": [str(digest) for digest in dict.fromkeys(missing)]}
        raise RegistryError(errors.MANIFEST_BLOB_UNKNOWN, detail)


def referrer_descriptor(document: ManifestDocument, digest: Digest, size: int) -> bytes:
    """Return the descriptor, as JSON, under which a manifest is listed at its subject."""
    descriptor: dict[str, object] = {
        "mediaType": document.media_type,
        "digest": str(digest),
        "size": size,
    }
    if document.artifact_type is not None:
        descriptor["artifactType"] = document.artifact_type
    if document.annotations:
        descriptor["annotations"] = document.annotations
    return json.dumps(descriptor).encode()


def _media_type(content_type: str | None, declared: str | None) -> str:
    header = (content_type or "").partition(";")[0].strip()
    media_type = header or declared or ""
    if not media_type:
        raise RegistryError(errors.MANIFEST_INVALID, "no Content-Type and no mediaType")
    if declared and declared != media_type:
        detail = {"content-type": media_type[:_MEDIA_TYPE_MAX], "mediaType": declared[:255]}
        raise RegistryError(errors.MANIFEST_INVALID, detail)
    if (
        len(media_type) > _MEDIA_TYPE_MAX
        or not media_type.isascii()
        or not media_type.isprintable()
    ):
        raise RegistryError(errors.MANIFEST_INVALID, "unusable media type")
    return media_type
