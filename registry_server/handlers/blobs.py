"""Pulling and deleting blobs.

Source: distribution-spec 1.1, "Pulling blobs", "Deleting Blobs"; RFC 9110 section 14.
"""

import asyncio
import os
from pathlib import Path

from registry_server import errors
from registry_server.errors import RegistryError
from registry_server.handlers.service import Service
from registry_server.http import FileSlice, Request, Response
from registry_server.names import parse_digest
from registry_server.ranges import parse_range
from registry_server.storage.interface import StoredBlob

# Up to here a read into memory beats sendfile, whose set-up costs more than the copy.
_INLINE_BYTES = 256 << 10


async def get_blob(service: Service, request: Request, name: str, digest: str) -> Response:
    """Answer GET and HEAD with the blob or the range that is asked for."""
    parsed = parse_digest(digest)
    blob = service.storage.blob(name, parsed)
    if blob is None:
        raise RegistryError(errors.BLOB_UNKNOWN, {"digest": digest})
    headers = [
        ("Content-Type", "application/octet-stream"),
        ("Docker-Content-Digest", digest),
        ("ETag", f'"{digest}"'),
        ("Accept-Ranges", "bytes"),
        ("Cache-Control", "max-age=31536000, immutable"),
    ]
    if _matches(request.headers.get("if-none-match"), digest):
        return Response(status=304, headers=tuple(headers))
    if request.method == "HEAD":
        return Response(headers=tuple(headers), length=blob.size)
    condition = request.headers.get("if-range")
    wanted = None
    if condition is None or condition == f'"{digest}"':
        wanted = parse_range(request.headers.get("range"), blob.size)
    if wanted is None:
        return Response(headers=tuple(headers), content=_content(blob, 0, blob.size))
    headers.append(("Content-Range", f"bytes {wanted.start}-{wanted.last}/{blob.size}"))
    return Response(
        status=206, headers=tuple(headers), content=_content(blob, wanted.start, wanted.length)
    )


async def delete_blob(service: Service, request: Request, name: str, digest: str) -> Response:
    """Take the blob out of the repository."""
    del request
    if not await asyncio.to_thread(service.storage.delete_blob, name, parse_digest(digest)):
        raise RegistryError(errors.BLOB_UNKNOWN, {"digest": digest})
    return Response(status=202)


def _matches(header: str | None, digest: str) -> bool:
    """Tell whether an If-None-Match names this content (RFC 9110 13.1.2)."""
    if header is None:
        return False
    tags = {part.strip().removeprefix("W/") for part in header.split(",")}
    return "*" in tags or f'"{digest}"' in tags


def _content(blob: StoredBlob, offset: int, length: int) -> bytes | FileSlice:
    if not isinstance(blob.content, Path):
        return blob.content[offset : offset + length]
    if length > _INLINE_BYTES:
        return FileSlice(host_path=blob.content, offset=offset, length=length)
    descriptor = os.open(blob.content, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(descriptor, length, offset)
    finally:
        os.close(descriptor)
