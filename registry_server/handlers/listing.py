"""What there is: the API root, tags, referrers and the catalog.

Source: distribution-spec 1.1, "Listing Tags", "Listing Referrers"; the catalog is docker's.
"""

import asyncio
import json
from collections.abc import Sequence
from urllib.parse import urlencode

from imagekit.oci.mediatype import OCI_INDEX
from registry_server import errors
from registry_server.errors import RegistryError
from registry_server.handlers.service import Service
from registry_server.http import Request, Response
from registry_server.names import parse_digest

_JSON = ("Content-Type", "application/json")


async def get_root(service: Service, request: Request) -> Response:
    """Say that this is a registry of the version 2 API."""
    del service, request
    return Response(
        headers=(_JSON, ("Docker-Distribution-Api-Version", "registry/2.0")), content=b"{}"
    )


async def list_tags(service: Service, request: Request, name: str) -> Response:
    """List a repository's tags, in pages when asked."""
    if not service.storage.has_repository(name):
        raise RegistryError(errors.NAME_UNKNOWN, {"name": name})
    page, link = _page(request, service.storage.tags(name))
    return _document({"name": name, "tags": page}, link)


async def list_repositories(service: Service, request: Request) -> Response:
    """List the repositories that hold a manifest, in pages when asked."""
    # In a thread: it walks the directories of all of them.
    page, link = _page(request, await asyncio.to_thread(service.storage.repositories))
    return _document({"repositories": page}, link)


async def list_referrers(service: Service, request: Request, name: str, digest: str) -> Response:
    """List the manifests whose subject is the digest; an empty index when there are none."""
    subject = parse_digest(digest)
    found = [
        json.loads(referrer.descriptor)
        for referrer in service.storage.referrers(name, subject)
        # The record is written before the manifest; a push cut between the two lists nothing.
        if service.storage.has_manifest(name, referrer.digest)
    ]
    wanted = request.query.get("artifactType", ())
    if wanted:
        found = [entry for entry in found if entry.get("artifactType") in wanted]
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found}
    headers = [("Content-Type", OCI_INDEX)]
    if wanted:
        headers.append(("OCI-Filters-Applied", "artifactType"))
    return Response(headers=tuple(headers), content=json.dumps(index).encode())


def _page(request: Request, names: Sequence[str]) -> tuple[Sequence[str], str | None]:
    """Return the part after ``last`` of at most ``n`` names, and the next page's link."""
    last = request.query_value("last")
    if last:
        names = [name for name in names if name > last]
    count_text = request.query_value("n")
    if count_text is None:
        return names, None
    if not (count_text.isascii() and count_text.isdigit() and len(count_text) < 10):
        raise RegistryError(errors.PAGE_INVALID, {"n": count_text[:50]})
    count = int(count_text)
    page = names[:count]
    if not page or len(page) == len(names):
        return page, None
    query = urlencode({"n": count, "last": page[-1]})
    return page, f'<{request.path}?{query}>; rel="next"'


def _document(content: dict[str, object], link: str | None) -> Response:
    headers = (_JSON,) if link is None else (_JSON, ("Link", link))
    return Response(headers=headers, content=json.dumps(content).encode())
