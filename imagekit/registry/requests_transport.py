"""HTTP and HTTPS through ``requests``: TLS settings and proxies as users know them."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from imagekit.base.streams import CHUNK_BYTES
from imagekit.registry.errors import CertificateError, UnreachableError, redacted
from imagekit.registry.requests import Request, Response, StreamBody, body_chunks
from imagekit.registry.transport import bypasses_proxy

if TYPE_CHECKING:
    import requests
    import urllib3


class RequestsTransport:
    """A Transport over one ``requests`` session with a pool of connections for each host.

    ``unverified`` names hosts whose certificate is not checked. Nothing is taken from the process
    environment: proxies are given by scheme (``{"https": "http://proxy:3128"}``), and ``~/.netrc``
    is never read.
    """

    def __init__(
        self,
        *,
        ca_file: Path | None = None,
        client_cert: tuple[Path, Path] | None = None,
        unverified: frozenset[str] = frozenset(),
        proxies: Mapping[str, str] | None = None,
        no_proxy: tuple[str, ...] = (),
        connections: int = 8,
        connect_timeout_s: float = 10.0,
        read_timeout_s: float = 60.0,
    ) -> None:
        import requests
        import urllib3
        from requests.adapters import HTTPAdapter

        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = str(ca_file) if ca_file else True
        self._session.cert = (str(client_cert[0]), str(client_cert[1])) if client_cert else None
        self._unverified = unverified
        if unverified:
            # The user asked for it by name; a warning at each request says nothing new.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        self._proxies = dict(proxies or {})
        self._no_proxy = no_proxy
        self._timeouts = (connect_timeout_s, read_timeout_s)
        adapter = HTTPAdapter(pool_connections=connections, pool_maxsize=connections)
        # The default of 16 KiB for reading request bodies makes 64 times as many calls.
        adapter.poolmanager.connection_pool_kw["blocksize"] = CHUNK_BYTES
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def __call__(self, request: Request, /) -> Response:
        """Send ``request`` and return its answer, with the body unread."""
        import requests

        body = request.body
        try:
            if isinstance(body, StreamBody):
                with closing(body.open()) as source:
                    answer = self._send(request, _Iterable(body_chunks(body, source), body.size))
            else:
                answer = self._send(request, body)
        except requests.exceptions.SSLError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                message = _message(request, "its certificate is not trusted")
                raise CertificateError(message) from error
            raise UnreachableError(
                _message(request, "it does not speak TLS"),
                hint="If the registry has no TLS, allow it as insecure.",
            ) from error
        except (requests.exceptions.RequestException, OSError) as error:
            raise UnreachableError(_message(request, _reason(error))) from error
        return Response(
            status=answer.status_code,
            headers={name.lower(): value for name, value in answer.headers.items()},
            body=_Body(answer.raw, request),
            url=request.url,
        )

    def close(self) -> None:
        """Close the pooled connections."""
        self._session.close()

    def _send(self, request: Request, body: "bytes | _Iterable") -> "requests.Response":
        import requests

        parts = urlsplit(request.url)
        # "identity", so that no server compresses a blob on the way and breaks its digest.
        headers = {"accept-encoding": "identity", **request.headers}
        prepared = requests.Request(request.method, request.url, headers=headers).prepare()
        if isinstance(body, bytes):
            if body:
                prepared.prepare_body(body, None)
        else:
            prepared.body = body  # type: ignore[assignment]  # the stubs know no iterables
            prepared.headers["content-length"] = str(body.size)
        bypass = bypasses_proxy(parts.hostname or "", self._no_proxy)
        return self._session.send(
            prepared,
            stream=True,
            timeout=self._timeouts,
            allow_redirects=False,
            verify=False if parts.netloc in self._unverified else self._session.verify,
            cert=self._session.cert,
            proxies={} if bypass else self._proxies,
        )


class _Iterable:
    """A request body as urllib3 takes it: an iterable that is no file."""

    def __init__(self, source: Iterator[bytes], size: int) -> None:
        self._source = source
        self.size = size

    def __iter__(self) -> Iterator[bytes]:
        return self._source

    def __len__(self) -> int:
        return self.size


class _Body:
    """The body of an answer, as it is on the wire."""

    def __init__(self, raw: "urllib3.HTTPResponse", request: Request) -> None:
        self._raw = raw
        self._request = request

    def read(self, size: int = -1, /) -> bytes:
        import urllib3

        try:
            data: Any = self._raw.read(None if size < 0 else size, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise UnreachableError(_message(self._request, _reason(error))) from error
        return bytes(data)

    def close(self) -> None:
        self._raw.close()


def _message(request: Request, reason: str) -> str:
    return f"{request.method} {redacted(request.url)} failed: {reason}"


def _reason(error: Exception) -> str:
    """Return the innermost cause in a few words; outer texts repeat the address and its query."""
    seen: BaseException = error
    for _ in range(8):
        inner = getattr(seen, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((one for one in seen.args if isinstance(one, BaseException)), None)
        if inner is None:
            inner = seen.__cause__
        if inner is None:
            break
        seen = inner
    text = getattr(seen, "strerror", None)
    return str(text) if text else type(seen).__name__
