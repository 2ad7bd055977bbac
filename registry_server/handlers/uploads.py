"""Pushing blobs: in one request, in two, streamed, in chunks, or by mounting.

Source: distribution-spec 1.1, "Pushing blobs"; the session DELETE and ``digest-algorithm`` are in
its development version.
"""

import asyncio
from urllib.parse import quote

from imagekit.oci.digest import HEX_LENGTH, Digest
from registry_server import errors
from registry_server.errors import RegistryError
from registry_server.handlers.service import Service
from registry_server.http import Body, Request, Response
from registry_server.names import parse_digest, parse_repository, parse_upload
from registry_server.ranges import ByteRange, parse_chunk
from registry_server.storage.interface import (
    ContentMismatchError,
    UploadBusyError,
    UploadUnknownError,
    UploadWriter,
)

_BATCH_BYTES = 1 << 20
_DEFAULT_ALGORITHM = "sha256"


async def start_upload(service: Service, request: Request, name: str) -> Response:
    """Answer POST: mount a blob, take a whole one, or open a session."""
    mount = request.query_value("mount")
    if mount is not None:
        source = request.query_value("from")
        source = parse_repository(source) if source else None
        digest = parse_digest(mount)
        if await asyncio.to_thread(service.storage.mount_blob, name, digest, source):
            return _created(name, digest)
    digest_text = request.query_value("digest")
    algorithm = _algorithm(request)
    if mount is not None or digest_text is None:
        upload = service.storage.create_upload(name)
        return _session(name, upload, 0, algorithm=algorithm)
    digest = parse_digest(digest_text)
    upload = service.storage.create_upload(name)
    try:
        with _open(service, name, upload, digest.algorithm) as writer:
            await _receive(writer, request)
            await _commit(writer, digest)
    except BaseException:
        # Nobody was told the session's name, so nobody could go on with it.
        _drop(service, name, upload)
        raise
    return _created(name, digest)


async def append_upload(service: Service, request: Request, name: str, upload: str) -> Response:
    """Answer PATCH: append a chunk, or a stream without Content-Range."""
    parse_upload(upload)
    algorithm = _algorithm(request)
    with _open(service, name, upload, algorithm or _DEFAULT_ALGORITHM) as writer:
        _check_order(request, writer.offset, name, upload)
        await _receive(writer, request)
        return _session(name, upload, writer.offset, algorithm=algorithm)


async def finish_upload(service: Service, request: Request, name: str, upload: str) -> Response:
    """Answer PUT: append what comes with it, verify the digest, make the blob visible."""
    parse_upload(upload)
    digest_text = request.query_value("digest")
    if digest_text is None:
        raise RegistryError(errors.DIGEST_INVALID, "the digest parameter is missing")
    digest = parse_digest(digest_text)
    with _open(service, name, upload, digest.algorithm) as writer:
        _check_order(request, writer.offset, name, upload)
        await _receive(writer, request)
        await _commit(writer, digest)
    return _created(name, digest)


async def get_upload(service: Service, request: Request, name: str, upload: str) -> Response:
    """Answer GET with how far the session is."""
    parse_upload(upload)
    try:
        offset = service.storage.upload_offset(name, upload)
    except UploadUnknownError as error:
        raise RegistryError(errors.UPLOAD_UNKNOWN) from error
    return _session(name, upload, offset, status=204, algorithm=_algorithm(request))


async def delete_upload(service: Service, request: Request, name: str, upload: str) -> Response:
    """Answer DELETE: give the session up."""
    del request
    parse_upload(upload)
    try:
        service.storage.delete_upload(name, upload)
    except UploadUnknownError as error:
        raise RegistryError(errors.UPLOAD_UNKNOWN) from error
    return Response(status=204)


def _open(service: Service, name: str, upload: str, algorithm: str) -> UploadWriter:
    try:
        return service.storage.open_upload(name, upload, algorithm)
    except UploadUnknownError as error:
        raise RegistryError(errors.UPLOAD_UNKNOWN) from error
    except UploadBusyError as error:
        raise RegistryError(errors.UPLOAD_BUSY) from error


def _drop(service: Service, name: str, upload: str) -> None:
    try:
        service.storage.delete_upload(name, upload)
    except UploadUnknownError:
        return  # a wrong digest has dropped it already


def _algorithm(request: Request) -> str | None:
    """Return the algorithm that the client said it will finish with, when it did."""
    algorithm = request.query_value("digest-algorithm")
    if algorithm is not None and algorithm not in HEX_LENGTH:
        raise RegistryError(errors.DIGEST_INVALID, {"digest-algorithm": algorithm[:100]})
    return algorithm


def _check_order(request: Request, offset: int, name: str, upload: str) -> None:
    """Refuse a chunk that does not begin where the session ends, before reading any of it."""
    chunk = parse_chunk(request.headers.get("content-range"))
    if chunk is None:
        return
    if chunk.start != offset:
        raise RegistryError(
            errors.UPLOAD_OUT_OF_ORDER,
            {"offset": offset, "start": chunk.start},
            headers=_session(name, upload, offset).headers,
        )
    length = request.content_length
    if length is not None and not _fits(chunk, length):
        raise RegistryError(
            errors.SIZE_INVALID, {"content-length": length, "content-range": chunk.length}
        )


def _fits(chunk: ByteRange, length: int) -> bool:
    """Tell whether a body is as long as its range; none at all may come as "0-0"."""
    return length == chunk.length or (length == 0 and chunk.last == 0)


async def _receive(writer: UploadWriter, request: Request) -> None:
    """Append the request's body, hashing and writing one batch while the next arrives.

    What arrived before the client was cut off is kept, so that it can go on from there; a chunk
    of another length than it announced is not.

    Raises:
        ConnectionError: the client went away.
        RegistryError: SIZE_INVALID.

    """
    loop = asyncio.get_running_loop()
    before = writer.offset
    pending: asyncio.Future[None] | None = None
    cut: ConnectionError | None = None
    try:
        while cut is None:
            parts: list[bytes] = []
            try:
                await _fill(parts, request.body)
            except ConnectionError as error:
                cut = error
            if pending is not None:
                await _finished(pending)
            if not parts:
                break
            pending = loop.run_in_executor(None, writer.write, parts)
    finally:
        # Also when cancelled: the writer must not be closed under the thread.
        if pending is not None:
            await _finished(pending)
    if cut is not None:
        raise cut
    chunk = parse_chunk(request.headers.get("content-range"))
    received = writer.offset - before
    if chunk is not None and not _fits(chunk, received):
        writer.rollback()
        raise RegistryError(
            errors.SIZE_INVALID, {"received": received, "content-range": chunk.length}
        )


async def _fill(parts: list[bytes], body: Body) -> None:
    """Collect about a mebibyte of what arrives; nothing at the end of the body."""
    size = 0
    while size < _BATCH_BYTES and (part := await body.read_some()):
        parts.append(part)
        size += len(part)


async def _finished(future: asyncio.Future[None]) -> None:
    """Wait for a thread's work, through any cancellation, and raise what it raised."""
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            # Unlike a bare await, this does not mark the future done when we are cancelled.
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    failure = future.exception()
    if cancelled is not None:
        raise cancelled
    if failure is not None:
        raise failure


async def _commit(writer: UploadWriter, digest: Digest) -> None:
    loop = asyncio.get_running_loop()
    try:
        await _finished(loop.run_in_executor(None, writer.commit, digest))
    except ContentMismatchError as error:
        raise RegistryError(
            errors.DIGEST_INVALID, {"expected": str(error.expected), "received": str(error.actual)}
        ) from error
    except UploadUnknownError as error:
        raise RegistryError(errors.UPLOAD_UNKNOWN) from error


def _session(
    name: str, upload: str, offset: int, *, status: int = 202, algorithm: str | None = None
) -> Response:
    location = f"/v2/{name}/blobs/uploads/{upload}"
    if algorithm is not None:
        location += f"?digest-algorithm={quote(algorithm)}"
    return Response(
        status=status,
        headers=(
            ("Location", location),
            ("Range", f"0-{max(offset - 1, 0)}"),
            ("Docker-Upload-UUID", upload),
        ),
    )


def _created(name: str, digest: Digest) -> Response:
    return Response(
        status=201,
        headers=(
            ("Location", f"/v2/{name}/blobs/{digest}"),
            ("Docker-Content-Digest", str(digest)),
        ),
    )
