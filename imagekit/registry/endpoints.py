"""The addresses of the registry API.

Source: OCI distribution-spec 1.1, "Endpoints"; the catalog is from docker's API.
"""

import ipaddress
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote, urlencode, urljoin, urlsplit

from imagekit.oci.digest import Digest
from imagekit.oci.reference import HUB_DOMAIN
from imagekit.registry.errors import ProtocolError, redacted

HUB_API_HOST = "registry-1.docker.io"


def api_host(domain: str) -> str:
    """Return the host that serves the API of ``domain``; only docker.io has another one."""
    return HUB_API_HOST if domain == HUB_DOMAIN else domain


def is_loopback(host: str) -> bool:
    """Tell whether ``host`` (with or without a port) is this machine by its name or address."""
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """URLs of one repository. ``base`` is ``scheme://host`` without a path."""

    base: str
    path: str

    @property
    def root(self) -> str:
        """The repository's part of the API."""
        return f"{self.base}/v2/{self.path}"

    def manifest(self, reference: str | Digest) -> str:
        """Address of a manifest by tag or digest."""
        return f"{self.root}/manifests/{reference}"

    def blob(self, digest: Digest) -> str:
        """Address of a blob."""
        return f"{self.root}/blobs/{digest}"

    def uploads(self, **query: str) -> str:
        """Address that begins an upload; ``mount`` and ``from`` may be given."""
        return _with_query(f"{self.root}/blobs/uploads/", query)

    def tags(self, *, page: int | None = None) -> str:
        """Address of the tag list."""
        return _with_query(f"{self.root}/tags/list", {"n": str(page)} if page else {})

    def referrers(self, digest: Digest, *, artifact_type: str | None = None) -> str:
        """Address of the list of manifests whose subject is ``digest``."""
        query = {"artifactType": artifact_type} if artifact_type else {}
        return _with_query(f"{self.root}/referrers/{digest}", query)

    @classmethod
    def of(cls, base: str, path: str) -> Self:
        """Return the endpoints of ``path``, whose grammar has been checked."""
        return cls(base=base, path=quote(path))


def catalog(base: str, *, page: int | None = None) -> str:
    """Address of the list of repositories."""
    return _with_query(f"{base}/v2/_catalog", {"n": str(page)} if page else {})


def resolve_location(request_url: str, location: str) -> str:
    """Return the absolute address that a Location or Link header means.

    Raises:
        ProtocolError: if it is empty, or not http or https.

    """
    if not location:
        raise ProtocolError(f"answer of {redacted(request_url)} names no location")
    url = urljoin(request_url, location)
    if urlsplit(url).scheme not in ("http", "https"):
        raise ProtocolError(f"answer of {redacted(request_url)} points to {redacted(url)}")
    return url


def with_digest(location: str, digest: Digest) -> str:
    """Return an upload's address with the digest that ends it; a query in it is kept."""
    return f"{location}{'&' if '?' in location else '?'}digest={quote(str(digest))}"


def next_page(request_url: str, link: str) -> str | None:
    """Return the address of the next page in a Link header, None on the last page.

    Source: RFC 8288.
    """
    target, _, parameters = link.partition(">")
    if 'rel="next"' not in parameters.replace(" ", "") and "rel=next" not in parameters:
        return None
    return resolve_location(request_url, target.strip().removeprefix("<"))


def same_origin(one: str, other: str) -> bool:
    """Tell whether two addresses have scheme, host and port in common."""
    first, second = urlsplit(one), urlsplit(other)
    return (first.scheme, first.netloc) == (second.scheme, second.netloc)


def _with_query(url: str, query: dict[str, str]) -> str:
    return f"{url}?{urlencode(query)}" if query else url
