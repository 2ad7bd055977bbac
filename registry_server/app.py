"""The registry as an aiohttp application: the only module that knows the web framework.

A file is sent by sendfile on a plain connection. Under TLS asyncio would fall back to 16 KiB reads
through a thread (12 times slower, measured), so there the file is read in mebibytes, one ahead.
"""

import asyncio
import contextlib
import errno
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError

from imagekit.base.errors import ImagekitError
from registry_server import errors
from registry_server.auth import Access, Htpasswd
from registry_server.config import Settings
from registry_server.errors import RegistryError
from registry_server.handlers.service import Service
from registry_server.http import FileSlice, Request, Response, error_response
from registry_server.routes import dispatch
from registry_server.storage.filesystem import FilesystemStorage
from registry_server.storage.interface import StorageBackend

_LOG = logging.getLogger("registry_server")
_HTTP_LOG = logging.getLogger("registry_server.http")
_READ_BUFFER_BYTES = 1 << 20
_TLS_READ_BYTES = 1 << 20
_PURGE_INTERVAL_S = 3600.0


class InFlight:
    """Counts the requests that are being answered, so that a stop can wait for them."""

    def __init__(self) -> None:
        self._count = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.is_draining = False

    def __enter__(self) -> None:
        self._count += 1
        self._idle.clear()

    def __exit__(self, *exception: object) -> None:
        self._count -= 1
        if self._count == 0:
            self._idle.set()

    async def drained(self, patience_s: float) -> None:
        """Return when nothing is being answered, or after ``patience_s`` all the same."""
        self.is_draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self._idle.wait()


IN_FLIGHT = web.AppKey("in_flight", InFlight)


def create_app(settings: Settings, storage: StorageBackend | None = None) -> web.Application:
    """Return the registry over ``settings.root``, or over another storage that is given.

    Raises:
        SettingsError: when the password file cannot be used.

    """
    backend = storage or FilesystemStorage(settings.root, durable=settings.durable)
    service = Service(
        storage=backend,
        manifest_max_bytes=settings.manifest_max_bytes,
        allow_sparse=settings.allow_sparse,
    )
    htpasswd = Htpasswd(settings.htpasswd) if settings.htpasswd is not None else None
    access = Access(
        htpasswd=htpasswd, anonymous_pull=settings.anonymous_pull, read_only=settings.read_only
    )
    _HTTP_LOG.addFilter(_is_our_failure)
    app = web.Application(
        # A blob's bytes are its identity: a Content-Encoding must not be undone.
        handler_args={
            "auto_decompress": False,
            "read_bufsize": _READ_BUFFER_BYTES,
            "access_log": None,
            "logger": _HTTP_LOG,
        }
    )
    in_flight = app[IN_FLIGHT] = InFlight()
    app.router.add_route("*", "/{path:.*}", _handler(service, access, in_flight))
    if not settings.read_only:
        app.cleanup_ctx.append(_purging(backend, settings.upload_lifetime_s))
    return app


def _is_our_failure(record: logging.LogRecord) -> bool:
    """Keep a client's malformed request, which is answered 400, from filling the log."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def _handler(
    service: Service, access: Access, in_flight: InFlight
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(http_request: web.Request) -> web.StreamResponse:
        with in_flight:
            response = await _answer(service, access, _request(http_request))
            return await _send(http_request, response, last=in_flight.is_draining)

    return handle


async def _answer(service: Service, access: Access, request: Request) -> Response:
    """Turn every failure that has a row in the error table into that answer."""
    try:
        await access.check(request)
        return await dispatch(service, request)
    except RegistryError as error:
        return error_response(error.row, error.detail, error.headers)
    except ConnectionError:
        # The client is gone; the answer reaches nobody, and aiohttp needs one.
        return error_response(errors.UPLOAD_INVALID, "the connection was cut")
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return error_response(errors.STORAGE_FULL)
        _LOG.exception("%s %s failed", request.method, request.path)
        return error_response(errors.INTERNAL)
    except ImagekitError:
        _LOG.exception("%s %s failed", request.method, request.path)
        return error_response(errors.INTERNAL)


class _StreamBody:
    """The body of an aiohttp request; see http.Body."""

    def __init__(self, stream: StreamReader) -> None:
        self._stream = stream

    async def read_some(self) -> bytes:
        try:
            return await self._stream.readany()
        except web.RequestPayloadError as error:
            raise ConnectionError(str(error)) from error


def _request(http_request: web.Request) -> Request:
    query: dict[str, tuple[str, ...]] = {}
    for name, value in http_request.query.items():
        query[name] = (*query.get(name, ()), value)
    return Request(
        method=http_request.method,
        path=http_request.path,
        headers={name.lower(): value for name, value in http_request.headers.items()},
        query=query,
        body=_StreamBody(http_request.content),
        content_length=http_request.content_length,
    )


async def _send(http_request: web.Request, response: Response, *, last: bool) -> web.StreamResponse:
    """Send a file, or return the small answer for aiohttp to send; ``last`` ends the connection."""
    content = response.content
    if isinstance(content, FileSlice):
        return await _send_file(http_request, response, content, last=last)
    answer = web.Response(status=response.status, body=content)
    for name, value in response.headers:
        answer.headers.add(name, value)
    if response.length is not None:
        answer.headers["Content-Length"] = str(response.length)
    if last:
        answer.force_close()
    return answer


async def _send_file(
    http_request: web.Request, response: Response, part: FileSlice, *, last: bool
) -> web.StreamResponse:
    answer = web.StreamResponse(status=response.status)
    if last:
        answer.force_close()
    for name, value in response.headers:
        answer.headers.add(name, value)
    answer.content_length = part.length
    transport = http_request.transport
    with part.host_path.open("rb") as file:
        try:
            await answer.prepare(http_request)
            if transport is None:
                raise ConnectionResetError("the client went away")
            if transport.get_extra_info("sslcontext") is None:
                loop = asyncio.get_running_loop()
                sent = await loop.sendfile(transport, file, part.offset, part.length)
            else:
                sent = await _stream(answer, file.fileno(), part)
            if sent == part.length:
                await answer.write_eof()
                return answer
            _LOG.error("%s is shorter than its size when it was opened", part.host_path)
        except ConnectionError:
            pass  # a client that goes away while pulling is no failure of ours
    # Part of the body is out, so only the end of the connection can say that it is not all.
    answer.force_close()
    if transport is not None:
        transport.abort()
    return answer


async def _stream(answer: web.StreamResponse, descriptor: int, part: FileSlice) -> int:
    """Write the slice in mebibytes while a thread reads the next one; return how many bytes."""
    offset, end = part.offset, part.offset + part.length

    def read(position: int) -> bytes:
        return os.pread(descriptor, min(_TLS_READ_BYTES, end - position), position)

    loop = asyncio.get_running_loop()
    pending = loop.run_in_executor(None, read, offset)
    try:
        while data := await asyncio.shield(pending):
            offset += len(data)
            pending = loop.run_in_executor(None, read, offset)
            await answer.write(data)
    finally:
        # The file must stay open until the thread has left it.
        await asyncio.wait([pending])
    return offset - part.offset


def _purging(
    storage: StorageBackend, lifetime_s: float
) -> Callable[[web.Application], AsyncIterator[None]]:
    """Drop forgotten upload sessions at the start and once an hour."""

    async def purge_forever() -> None:
        while True:
            await asyncio.to_thread(storage.purge_uploads, time.time() - lifetime_s)
            await asyncio.sleep(_PURGE_INTERVAL_S)

    async def context(app: web.Application) -> AsyncIterator[None]:
        del app
        task = asyncio.create_task(purge_forever())
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    return context
