"""The routes, one row each, and the choice among them.

A repository's name may hold slashes and words like "blobs", so the rows are tried in order and
each is anchored at both ends.

Source: distribution-spec 1.1, "Endpoints"; the ids in the rows are those of its table.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from registry_server import errors
from registry_server.errors import RegistryError
from registry_server.handlers import blobs, listing, manifests, uploads
from registry_server.handlers.service import Service
from registry_server.http import Request, Response
from registry_server.names import parse_repository

Handler = Callable[..., Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A path pattern, whose groups become the handler's arguments, and a handler per method."""

    pattern: re.Pattern[str]
    methods: dict[str, Handler]


def _route(pattern: str, **methods: Handler) -> Route:
    if "GET" in methods:
        methods.setdefault("HEAD", methods["GET"])
    return Route(pattern=re.compile(pattern + r"\Z", re.DOTALL), methods=methods)


ROUTES = (
    # end-3, end-7, end-9
    _route(
        r"/v2/(?P<name>.+)/manifests/(?P<reference>[^/]+)",
        GET=manifests.get_manifest,
        PUT=manifests.put_manifest,
        DELETE=manifests.delete_manifest,
    ),
    # end-4, end-11
    _route(r"/v2/(?P<name>.+)/blobs/uploads/?", POST=uploads.start_upload),
    # end-5, end-6, end-13, end-14
    _route(
        r"/v2/(?P<name>.+)/blobs/uploads/(?P<upload>[^/]+)",
        GET=uploads.get_upload,
        PATCH=uploads.append_upload,
        PUT=uploads.finish_upload,
        DELETE=uploads.delete_upload,
    ),
    # end-2, end-10
    _route(
        r"/v2/(?P<name>.+)/blobs/(?P<digest>[^/]+)",
        GET=blobs.get_blob,
        DELETE=blobs.delete_blob,
    ),
    # end-8
    _route(r"/v2/(?P<name>.+)/tags/list", GET=listing.list_tags),
    # end-12
    _route(r"/v2/(?P<name>.+)/referrers/(?P<digest>[^/]+)", GET=listing.list_referrers),
    _route(r"/v2/_catalog", GET=listing.list_repositories),
    # end-1
    _route(r"/v2/?", GET=listing.get_root),
)


async def dispatch(service: Service, request: Request) -> Response:
    """Answer a request by the first row that fits.

    Raises:
        RegistryError: NAME_INVALID for a name outside the grammar, 405 for a method that the
            resource does not have, 404 for a path that is no resource.

    """
    for route in ROUTES:
        match = route.pattern.match(request.path)
        if match is None:
            continue
        handler = route.methods.get(request.method)
        if handler is None:
            allowed = ", ".join(sorted(route.methods))
            raise RegistryError(errors.UNSUPPORTED, headers=(("Allow", allowed),))
        groups = match.groupdict()
        if "name" in groups:
            parse_repository(groups["name"])
        return await handler(service, request, **groups)
    raise RegistryError(errors.NOT_FOUND)
