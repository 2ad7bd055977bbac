"""Pulling, pushing and deleting manifests.

Source: distribution-spec 1.1, "Pulling manifests", "Pushing Manifests", "Deleting".
"""

import asyncio
from collections.abc import Sequence

from imagekit.oci.digest import Digest
from registry_server import errors
from registry_server.documents import ManifestDocument, check_references, referrer_descriptor
from registry_server.errors import RegistryError
from registry_server.handlers.service import Service
from registry_server.http import Request, Response
from registry_server.names import is_tag, parse_digest, parse_tag
from registry_server.storage.interface import Referrer, StoredManifest


async def get_manifest(service: Service, request: Request, name: str, reference: str) -> Response:
    """Answer GET and HEAD with the bytes and the media type as they were pushed."""
    digest = _resolve(service, name, reference)
    manifest = service.storage.manifest(name, digest)
    if manifest is None:
        raise _unknown(service, name, reference)
    tag = f'"{digest}"'
    headers = (
        ("Content-Type", manifest.media_type),
        ("Docker-Content-Digest", str(digest)),
        ("ETag", tag),
    )
    condition = request.headers.get("if-none-match")
    if condition is not None and (tag in condition or condition.strip() == "*"):
        return Response(status=304, headers=headers)
    if request.method == "HEAD":
        return Response(headers=headers, length=len(manifest.raw))
    return Response(headers=headers, content=manifest.raw)


async def put_manifest(service: Service, request: Request, name: str, reference: str) -> Response:
    """Store a manifest after its content, and point the named tags to it."""
    wanted = parse_digest(reference) if ":" in reference else None
    tags = [] if wanted is not None else [parse_tag(reference)]
    extra_tags = [parse_tag(tag) for tag in request.query.get("tag", ())]
    raw = await _read_limited(service, request)
    digest = Digest.of(raw, wanted.algorithm if wanted is not None else "sha256")
    if wanted is not None and digest != wanted:
        raise RegistryError(
            errors.DIGEST_INVALID, {"expected": str(wanted), "received": str(digest)}
        )
    document = ManifestDocument.parse(raw, request.headers.get("content-type"))
    if not service.allow_sparse:
        check_references(document, service.storage, name)
    manifest = StoredManifest(digest=digest, media_type=document.media_type, raw=raw)
    await asyncio.to_thread(_store, service, name, manifest, document, (*tags, *extra_tags))
    headers = [
        ("Location", f"/v2/{name}/manifests/{digest}"),
        ("Docker-Content-Digest", str(digest)),
        *(("OCI-Tag", tag) for tag in extra_tags),
    ]
    if document.subject is not None:
        headers.append(("OCI-Subject", str(document.subject)))
    return Response(status=201, headers=tuple(headers))


def _store(
    service: Service,
    name: str,
    manifest: StoredManifest,
    document: ManifestDocument,
    tags: Sequence[str],
) -> None:
    """Write the referrer's record first and the tags last: what can be found is complete."""
    storage = service.storage
    if document.subject is not None:
        descriptor = referrer_descriptor(document, manifest.digest, len(manifest.raw))
        referrer = Referrer(digest=manifest.digest, descriptor=descriptor)
        storage.add_referrer(name, document.subject, referrer)
    storage.put_manifest(name, manifest)
    for tag in tags:
        storage.set_tag(name, tag, manifest.digest)


async def delete_manifest(
    service: Service, request: Request, name: str, reference: str
) -> Response:
    """Drop a tag only, or a manifest with all of its tags."""
    del request
    storage = service.storage
    if ":" not in reference:
        known = is_tag(reference) and await asyncio.to_thread(storage.delete_tag, name, reference)
        if not known:
            raise _unknown(service, name, reference)
        return Response(status=202)
    digest = parse_digest(reference)
    manifest = storage.manifest(name, digest)
    if manifest is None or not await asyncio.to_thread(storage.delete_manifest, name, digest):
        raise _unknown(service, name, reference)
    subject = ManifestDocument.parse(manifest.raw, manifest.media_type).subject
    if subject is not None:
        await asyncio.to_thread(storage.delete_referrer, name, subject, digest)
    return Response(status=202)


def _resolve(service: Service, name: str, reference: str) -> Digest:
    if ":" in reference:
        return parse_digest(reference)
    digest = service.storage.tag(name, reference) if is_tag(reference) else None
    if digest is None:
        raise _unknown(service, name, reference)
    return digest


def _unknown(service: Service, name: str, reference: str) -> RegistryError:
    if not service.storage.has_repository(name):
        return RegistryError(errors.NAME_UNKNOWN, {"name": name})
    return RegistryError(errors.MANIFEST_UNKNOWN, {"reference": reference[:200]})


async def _read_limited(service: Service, request: Request) -> bytes:
    limit = service.manifest_max_bytes
    too_large = RegistryError(errors.MANIFEST_TOO_LARGE, {"limit": limit})
    if request.content_length is not None and request.content_length > limit:
        raise too_large
    parts = []
    size = 0
    while part := await request.body.read_some():
        parts.append(part)
        size += len(part)
        if size > limit:
            raise too_large
    return b"".join(parts)
