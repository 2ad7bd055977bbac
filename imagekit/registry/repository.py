"""One repository of a registry: a source and a sink of content.

Source: OCI distribution-spec 1.1.
"""

import contextlib
import json
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

from imagekit.base.streams import VerifiedReader
from imagekit.oci import mediatype
from imagekit.oci.content import BlobReader, OpenBlob
from imagekit.oci.descriptor import Descriptor
from imagekit.oci.digest import Digest
from imagekit.oci.documents import MAX_DOCUMENT_BYTES
from imagekit.oci.errors import InvalidReferenceError
from imagekit.oci.manifest import Index, parse_document
from imagekit.oci.reference import Reference
from imagekit.registry.auth import Scope, repository_scopes
from imagekit.registry.download import ResumingReader
from imagekit.registry.endpoints import Endpoints, next_page
from imagekit.registry.errors import (
    NotFoundError,
    ProtocolError,
    UnsupportedError,
    redacted,
)
from imagekit.registry.referrers import entry_of, fallback_tag, of_type, with_entry
from imagekit.registry.requests import Request, Response
from imagekit.registry.session import Session
from imagekit.registry.upload import Upload

ACCEPTED = ", ".join(mediatype.DOCUMENT_TYPES)
_MAX_PAGES = 10_000
_REMEMBERED = 64


class Repository:
    """The content of one repository. Safe from several threads.

    A *reference* is a tag, a digest, or a whole reference that names this repository.
    ``mount_from`` are other repositories of the registry that may hold the same blobs: those are
    mounted from there instead of being sent.
    """

    def __init__(
        self,
        *,
        session: Session,
        base: str,
        reference: Reference,
        mount_from: tuple[str, ...] = (),
        chunk_bytes: int | None = None,
    ) -> None:
        self.domain = reference.domain
        self.path = reference.path
        self._session = session
        self._endpoints = Endpoints.of(base, reference.path)
        self._mount_from = tuple(path for path in mount_from if path != reference.path)
        self._chunk_bytes = chunk_bytes
        self._pull = repository_scopes(self.path, "pull")
        self._push = repository_scopes(self.path, "pull", "push")
        self._mount = self._push.union(
            *(repository_scopes(path, "pull") for path in self._mount_from)
        )
        self._lock = threading.Lock()
        self._index_lock = threading.Lock()
        self._documents: OrderedDict[Digest, bytes] = OrderedDict()

    def __str__(self) -> str:
        return f"{self.domain}/{self.path}"

    # ContentSource

    def resolve(self, reference: str) -> Descriptor:
        """Return the descriptor of what a reference names; nothing of the document is downloaded.

        Raises:
            NotFoundError: if there is none.

        """
        name = self._name_of(reference)
        try:
            response = self._send("HEAD", self._endpoints.manifest(name), self._pull, _ACCEPT)
        except NotFoundError as error:
            separator = "@" if isinstance(name, Digest) else ":"
            raise NotFoundError(
                f"{self}{separator}{name} is not at the registry",
                status=error.status,
                codes=error.codes,
            ) from error
        response.discard()
        found = _described(response, name)
        if found is not None:
            return found
        response = self._send("GET", self._endpoints.manifest(name), self._pull, _ACCEPT)
        raw = response.read_all(MAX_DOCUMENT_BYTES)
        digest = Digest.of(raw, name.algorithm if isinstance(name, Digest) else "sha256")
        if isinstance(name, Digest) and name != digest:
            raise ProtocolError(f"{self} answered {name} with other content")
        self._remember(digest, raw)
        return Descriptor(media_type=_media_type(response, raw), digest=digest, size=len(raw))

    def open(self, descriptor: Descriptor, offset: int = 0) -> BlobReader:
        """Open a blob, manifest or index; goes on by itself after broken connections.

        Raises:
            NotFoundError: if it is not there.

        """
        is_document = _is_document(descriptor)
        if is_document:
            url = self._endpoints.manifest(descriptor.digest)
        else:
            url = self._endpoints.blob(descriptor.digest)

        def fetch(position: int) -> Response:
            headers = {"accept": descriptor.media_type} if is_document else {}
            if position and not is_document:
                headers["range"] = f"bytes={position}-"
            request = Request(method="GET", url=url, headers=headers, repeatable=False)
            return self._session.send(request, self._pull)

        return ResumingReader(
            fetch,
            name=f"{self}@{descriptor.digest}",
            offset=offset,
            size=descriptor.size,
            retrier=self._session.retrier,
        )

    def read_document(self, descriptor: Descriptor) -> bytes:
        """Return the bytes of a manifest or index, verified.

        Raises:
            DigestMismatchError: if the registry sent others.

        """
        with self._lock:
            known = self._documents.get(descriptor.digest)
        if known is not None:
            return known
        if descriptor.size > MAX_DOCUMENT_BYTES:
            raise ProtocolError(f"{self}@{descriptor.digest} has {descriptor.size} bytes")
        with contextlib.closing(self.open(descriptor)) as source:
            reader = VerifiedReader(source, digest=str(descriptor.digest), size=descriptor.size)
            raw = b"".join(iter(lambda: reader.read(1 << 20), b""))
        self._remember(descriptor.digest, raw)
        return raw

    # ContentSink

    def has(self, descriptor: Descriptor) -> bool:
        """Tell whether the content is in this repository."""
        if _is_document(descriptor):
            url, headers = self._endpoints.manifest(descriptor.digest), _ACCEPT
        else:
            url, headers = self._endpoints.blob(descriptor.digest), {}
        try:
            self._send("HEAD", url, self._push, headers).discard()
        except NotFoundError:
            return False
        return True

    def write(self, descriptor: Descriptor, open_source: OpenBlob) -> None:
        """Upload a blob, or mount it from another repository; the registry verifies it.

        After a failure the upload goes on from where the registry says it is. Bytes of a plain file
        are not read into this process where the connection allows that.

        Raises:
            DigestMismatchError: if the content is not what the descriptor promises.

        """
        upload = Upload(
            endpoints=self._endpoints,
            descriptor=descriptor,
            open_source=open_source,
            mount_from=self._mount_from,
            chunk_bytes=self._chunk_bytes,
        )

        self._session.retrier.run(
            lambda: self._session.follow(upload.run(), self._mount),
            progress=lambda: upload.offset,
        )

    def put_document(self, descriptor: Descriptor, raw: bytes) -> None:
        """Push a manifest or index by its digest; what it refers to must be there.

        If it has a subject and the registry keeps no list of referrers, the list is kept in the
        tag that the specification names for that.
        """
        answer = self._put(descriptor.digest, descriptor, raw)
        self._remember(descriptor.digest, raw)
        document = parse_document(raw, descriptor.media_type) if b'"subject"' in raw else None
        if document is not None and document.subject and "oci-subject" not in answer:
            tag = fallback_tag(document.subject.digest)
            with self._index_lock:
                index = with_entry(self._index(tag), entry_of(document))
                if index is not None:
                    self._put(tag, index.descriptor, index.raw)

    def tag(self, descriptor: Descriptor, reference: str) -> None:
        """Make a tag name a manifest or index of this repository; no request if it does already."""
        name = self._name_of(reference)
        with contextlib.suppress(NotFoundError):
            if self.resolve(reference).digest == descriptor.digest:
                return
        if isinstance(name, Digest):
            raise InvalidReferenceError(f"{reference!r} is a digest and cannot be moved")
        self._put(name, descriptor, self.read_document(descriptor))

    # Beyond the Protocols

    def tags(self, *, page: int | None = None) -> Iterator[str]:
        """Yield the tags in the registry's order, asking for further pages as needed."""
        yield from self._paged(self._endpoints.tags(page=page), "tags", self._pull)

    def delete(self, reference: str) -> None:
        """Delete a tag, or with a digest a manifest and every tag on it.

        Raises:
            UnsupportedError: if the registry does not delete, or not by tag.

        """
        name = self._name_of(reference)
        scopes = self._pull | repository_scopes(self.path, "delete")
        self._send("DELETE", self._endpoints.manifest(name), scopes, {}).discard()

    def delete_blob(self, digest: Digest) -> None:
        """Delete a blob from this repository."""
        scopes = self._pull | repository_scopes(self.path, "delete")
        self._send("DELETE", self._endpoints.blob(digest), scopes, {}).discard()

    def referrers(
        self, subject: Digest, *, artifact_type: str | None = None
    ) -> tuple[Descriptor, ...]:
        """Return the manifests whose subject is ``subject``, from the registry or from its tag."""
        url: str | None = self._endpoints.referrers(subject, artifact_type=artifact_type)
        found: list[Descriptor] = []
        try:
            while url is not None:
                response = self._send("GET", url, self._pull, {"accept": mediatype.OCI_INDEX})
                asked, url = url, next_page(url, response.headers.get("link", ""))
                if url == asked or len(found) > _MAX_PAGES:
                    raise ProtocolError(f"answer of {redacted(asked)} never ends")
                found += Index.parse(response.read_all(MAX_DOCUMENT_BYTES)).manifests
        except NotFoundError:
            index = self._index(fallback_tag(subject))
            found = list(index.manifests) if index else []
        return of_type(tuple(found), artifact_type)

    def _index(self, tag: str) -> Index | None:
        try:
            descriptor = self.resolve(tag)
        except NotFoundError:
            return None
        return Index.parse(self.read_document(descriptor), descriptor.media_type)

    def _paged(self, url: str, field: str, scopes: frozenset[Scope]) -> Iterator[str]:
        return paged(self._session, url, field, scopes)

    def _put(self, name: str | Digest, descriptor: Descriptor, raw: bytes) -> Mapping[str, str]:
        """Send a document and return the headers of the answer."""
        url = self._endpoints.manifest(name)
        request = Request(
            method="PUT", url=url, headers={"content-type": descriptor.media_type}, body=raw
        )
        response = self._session.send(request, self._push)
        response.discard()
        stored = response.headers.get("docker-content-digest", str(descriptor.digest))
        if descriptor.digest.algorithm == "sha256" and stored != str(descriptor.digest):
            raise ProtocolError(f"{redacted(url)} was stored as {stored[:80]}")
        return response.headers

    def _send(
        self, method: str, url: str, scopes: frozenset[Scope], headers: Mapping[str, str]
    ) -> Response:
        return self._session.send(Request(method=method, url=url, headers=headers), scopes)

    def _name_of(self, reference: str) -> str | Digest:
        """Return the tag or digest; a digest counts more when a reference has both."""
        if reference.startswith(("sha256:", "sha512:")):
            return Digest.parse(reference)
        if ":" in reference or "/" in reference or "@" in reference:
            whole = Reference.parse(reference).with_default_tag()
            if (whole.domain, whole.path) != (self.domain, self.path):
                raise InvalidReferenceError(f"{reference!r} is not in {self}")
            return whole.digest or whole.tag or ""
        return Reference.parse(f"{self.domain}/{self.path}:{reference}").tag or ""

    def _remember(self, digest: Digest, raw: bytes) -> None:
        with self._lock:
            self._documents[digest] = raw
            while len(self._documents) > _REMEMBERED:
                self._documents.popitem(last=False)


def paged(session: Session, url: str, field: str, scopes: frozenset[Scope]) -> Iterator[str]:
    """Yield the texts of a paged list.

    Raises:
        ProtocolError: if a page is no such list, or pages never end.

    """
    following: str | None = url
    for _ in range(_MAX_PAGES):
        if following is None:
            return
        response = session.send(Request(method="GET", url=following), scopes)
        names = _json_object(response).get(field)
        if names is not None and not isinstance(names, list):
            raise ProtocolError(f"answer of {redacted(url)} has no list of {field}")
        yield from (name for name in names or () if isinstance(name, str))
        asked, following = following, next_page(following, response.headers.get("link", ""))
        if following == asked:
            raise ProtocolError(f"answer of {redacted(url)} names the same page as the next")
    raise ProtocolError(f"answer of {redacted(url)} has more than {_MAX_PAGES} pages")


_ACCEPT = {"accept": ACCEPTED}


def _is_document(descriptor: Descriptor) -> bool:
    kind = descriptor.media_type
    return mediatype.is_manifest(kind) or mediatype.is_index(kind)


def _json_object(response: Response) -> dict[str, Any]:
    try:
        document = json.loads(response.read_all())
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"answer of {redacted(response.url)} is not JSON") from error
    if not isinstance(document, dict):
        raise ProtocolError(f"answer of {redacted(response.url)} is not a JSON object")
    return document


def _described(response: Response, name: str | Digest) -> Descriptor | None:
    """Return the descriptor told by the headers of a manifest, None if they do not tell enough."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip()
    length = response.headers.get("content-length", "")
    stated = response.headers.get("docker-content-digest", "")
    if kind not in mediatype.DOCUMENT_TYPES or not length.isascii() or not length.isdigit():
        return None
    if isinstance(name, Digest):
        return Descriptor(media_type=kind, digest=name, size=int(length))
    try:
        return Descriptor(media_type=kind, digest=Digest.parse(stated), size=int(length))
    except InvalidReferenceError:
        return None


def _media_type(response: Response, raw: bytes) -> str:
    kind = response.headers.get("content-type", "").partition(";")[0].strip()
    if kind in mediatype.DOCUMENT_TYPES:
        return kind
    with contextlib.suppress(ValueError, RecursionError, AttributeError):
        stated = json.loads(raw).get("mediaType")
        if stated in mediatype.DOCUMENT_TYPES:
            return str(stated)
    raise UnsupportedError(
        f"{redacted(response.url)} has the unsupported type {kind[:80]!r}",
        hint="Old schema 1 images must be pushed anew with a current tool.",
    )
