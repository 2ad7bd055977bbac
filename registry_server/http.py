"""The request and the response that handlers see: values without a web framework in them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from registry_server.errors import ErrorRow, error_body


class Body(Protocol):
    """The bytes of a request, taken once and in order.

    Implemented by the aiohttp adapter and by the tests' fake.
    """

    async def read_some(self) -> bytes:
        """Return the bytes that have arrived, at least one; b"" at the end.

        Raises:
            ConnectionError: when the client went away before the announced end.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request: the path decoded, header names in lower case, query values in order."""

    method: str
    path: str
    headers: Mapping[str, str]
    query: Mapping[str, tuple[str, ...]]
    body: Body
    content_length: int | None

    def query_value(self, name: str) -> str | None:
        """Return the first value of a query parameter."""
        values = self.query.get(name)
        return values[0] if values else None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSlice:
    """A part of a file that is to be sent; the adapter chooses how."""

    host_path: Path
    offset: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What to answer. ``length`` is given when a HEAD announces bytes that it does not carry."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = field(default=())
    content: bytes | FileSlice = b""
    length: int | None = None


def error_response(
    row: ErrorRow, detail: object = None, headers: tuple[tuple[str, str], ...] = ()
) -> Response:
    """Return the answer for a row of the error table."""
    return Response(
        status=row.status,
        headers=(("Content-Type", "application/json"), *headers),
        content=error_body(row, detail),
    )
