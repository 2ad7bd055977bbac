"""Files that ADD fetches by HTTP.

Source: Dockerfile reference "ADD", remote files: mode 0600, owner 0:0, the server's time.
"""

import contextlib
import hashlib
import posixpath
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from imagekit.base.errors import RemoteError
from imagekit.base.streams import CHUNK_BYTES
from imagekit.base.tokens import token_hex
from imagekit.build.errors import BuildError
from imagekit.build.operations import CopyOperation

_TIMEOUT_S = 60
UNNAMED = "__unnamed__"


class FetchedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that ADD has downloaded: 0600, 0:0, with the server's time."""

    name: str
    path: Path
    mtime_ns: int


class FetchError(RemoteError):
    """A file for ADD could not be fetched."""

    code = "fetch"


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """A downloaded file and its digest."""

    file: FetchedFile
    digest: str


def is_url(source: str) -> bool:
    """Tell whether a source of ADD is a file on a web server."""
    return source.startswith(("http://", "https://"))


class RemoteFiles:
    """Downloads of one build, each URL once; they live in ``directory`` until the build ends."""

    def __init__(self, directory: Callable[[], Path]) -> None:
        self._directory = directory
        self._fetched: dict[str, Fetched] = {}
        self._lock = threading.Lock()

    def inputs(self, operation: CopyOperation) -> Iterator[tuple[str, str]]:
        """Yield what of the remote files enters the cache key: name, content, time."""
        for position, fetched in enumerate(self._all(operation)):
            file = fetched.file
            yield f"download {position}", f"{file.name} {fetched.digest} {file.mtime_ns}"

    def files(self, operation: CopyOperation) -> tuple[FetchedFile, ...]:
        """Return the remote files of an operation."""
        return tuple(fetched.file for fetched in self._all(operation))

    def _all(self, operation: CopyOperation) -> list[Fetched]:
        urls = [source for source in operation.sources if is_url(source)]
        if not operation.is_add:
            if urls:
                raise BuildError("source can't be a URL for COPY", hint="Use ADD.")
            return []
        if operation.checksum is not None and (len(operation.sources) > 1 or not urls):
            raise BuildError(
                "checksum can't be specified for multiple sources"
                if urls
                else "checksum requires HTTP(S) or Git sources"
            )
        return [self._fetch(url, operation.checksum) for url in urls]

    def _fetch(self, url: str, checksum: str | None) -> Fetched:
        with self._lock:
            fetched = self._fetched.get(url)
            if fetched is None:
                fetched = self._fetched[url] = self._download(url)
        if checksum is not None and checksum != fetched.digest:
            raise BuildError(
                f"checksum mismatch for {url}: it is {fetched.digest}, not {checksum}",
                hint="Check the file with its publisher before you change --checksum.",
            )
        return fetched

    def _download(self, url: str) -> Fetched:
        import requests
        import urllib3

        path = self._directory() / token_hex(8)
        digest = hashlib.sha256()
        try:
            # Identity, and the raw stream: an archive that is sent as "encoded" stays what it is.
            headers = {"Accept-Encoding": "identity"}
            with (
                requests.get(url, stream=True, timeout=_TIMEOUT_S, headers=headers) as response,
                path.open("wb") as file,
            ):
                response.raise_for_status()
                for data in response.raw.stream(CHUNK_BYTES, decode_content=False):
                    digest.update(data)
                    file.write(data)
                modified = response.headers.get("Last-Modified")
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise FetchError(
                f"cannot fetch {url}: {error}", hint="Check the address and the network."
            ) from error
        return Fetched(
            file=FetchedFile(name=_file_name(url), path=path, mtime_ns=_time_ns(modified)),
            digest=f"sha256:{digest.hexdigest()}",
        )


def _file_name(url: str) -> str:
    import urllib.parse

    name = posixpath.basename(urllib.parse.unquote(urllib.parse.urlsplit(url).path))
    return UNNAMED if name in ("", ".", "..") or "\0" in name else name


def _time_ns(header: str | None) -> int:
    if header is None:
        return 0
    import email.utils

    with contextlib.suppress(ValueError):
        return int(email.utils.parsedate_to_datetime(header).timestamp()) * 1_000_000_000
    return 0
