"""What refers to what: from tags, containers, leases and cache records to blobs and snapshots."""

from collections.abc import Container, Iterable, Iterator, Mapping

import msgspec

from imagekit.oci import mediatype
from imagekit.oci.descriptor import Descriptor, RawDescriptor
from imagekit.oci.digest import Digest
from imagekit.oci.documents import MAX_DOCUMENT_BYTES, decode
from imagekit.oci.errors import InvalidDocumentError, InvalidReferenceError
from imagekit.oci.image_config import ImageConfig, chain_ids
from imagekit.oci.manifest import Manifest, parse_document
from imagekit.store.blobs import BlobStore
from imagekit.store.errors import FSCK_HINT, ContentNotFoundError
from imagekit.store.metadata import Transaction

CONFIG_TYPES = (mediatype.OCI_CONFIG, mediatype.DOCKER_CONFIG)


class _AnyDocument(msgspec.Struct, rename={"media_type": "mediaType"}):
    media_type: str = ""
    config: RawDescriptor | None = None
    layers: list[RawDescriptor] | None = None
    manifests: list[RawDescriptor] | None = None


class Links(msgspec.Struct, frozen=True):
    """What one manifest or index refers to; all but ``children`` are of manifests only.

    ``config`` is None if it is not here, or not that of an image.
    """

    children: tuple[Descriptor, ...] = ()
    config_digest: Digest | None = None
    config: ImageConfig | None = None
    chains: tuple[str, ...] = ()


class Documents:
    """The manifests and indexes among the blobs, each read and parsed once.

    A blob never changes, so what was read stays true; make one for each operation, so that the
    memory goes with it.
    """

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._links: dict[str, Links] = {}

    def links(self, descriptor: Descriptor) -> Links:
        """Return what a document refers to, nothing if it is absent or no document.

        Raises:
            InvalidDocumentError: if it is not what its descriptor says.

        """
        if descriptor.media_type not in mediatype.DOCUMENT_TYPES:
            return Links()
        key = str(descriptor.digest)
        found = self._links.get(key)
        if found is None:
            try:
                raw = self._blobs.read(descriptor.digest)
            except ContentNotFoundError:
                return Links()
            try:
                found = self._links[key] = self._parsed(raw, descriptor.media_type)
            except InvalidDocumentError as error:
                error.locate(f"{descriptor.digest} in the store")
                error.hint = FSCK_HINT
                raise
        return found

    def manifests(self, descriptor: Descriptor) -> Iterator[Links]:
        """Yield the links of an image, or of every image that an index has here.

        Raises:
            InvalidDocumentError: if a document is not what its descriptor says.

        """
        pending = [descriptor]
        while pending:
            links = self.links(pending.pop())
            if links.config_digest is not None:
                yield links
            pending += links.children

    def descriptor(self, digest: Digest) -> Descriptor | None:
        """Return the descriptor of a manifest or index of unknown type, None for other blobs."""
        return document_descriptor(self._blobs, digest)

    def _parsed(self, raw: bytes, media_type: str) -> Links:
        document = parse_document(raw, media_type)
        if not isinstance(document, Manifest):
            return Links(tuple(document.children))
        children, config = tuple(document.children), document.config
        if config.media_type not in CONFIG_TYPES:
            return Links(children, config.digest)
        try:
            parsed = ImageConfig.parse(self._blobs.read(config.digest))
        except ContentNotFoundError:
            return Links(children, config.digest)
        chains = tuple(map(str, chain_ids(parsed.diff_ids)))
        return Links(children, config.digest, parsed, chains)


class Reach(msgspec.Struct):
    """Digests of blobs and chain ids of snapshots that something refers to, here or not."""

    blobs: set[str] = msgspec.field(default_factory=set)
    chains: set[str] = msgspec.field(default_factory=set)

    def add_image(self, documents: Documents, descriptor: Descriptor) -> None:
        """Add a manifest or index with all that it leads to; absent children are passed over.

        Raises:
            InvalidDocumentError: if a document is not what its descriptor says.

        """
        pending = [descriptor]
        while pending:
            current = pending.pop()
            if str(current.digest) in self.blobs:
                continue
            self.blobs.add(str(current.digest))
            links = documents.links(current)
            pending += links.children
            self.chains.update(links.chains)

    def add_blob(self, documents: Documents, digest: Digest) -> None:
        """Add a blob of unknown kind; if it is a document, with all that it leads to."""
        descriptor = documents.descriptor(digest)
        if descriptor is not None:
            self.add_image(documents, descriptor)
        self.blobs.add(str(digest))

    def add_chain(self, chain_id: str, parents: Mapping[str, str | None]) -> None:
        """Add a snapshot and those below it; ``parents`` has every snapshot of the store."""
        self.chains.update(self.new_chains(chain_id, parents))

    def new_chains(self, chain_id: str | None, parents: Mapping[str, str | None]) -> list[str]:
        """Return which snapshots ``add_chain`` would add, topmost first."""
        found: dict[str, None] = {}  # in a damaged database the parents may be a circle
        while chain_id is not None and chain_id not in self.chains and chain_id not in found:
            found[chain_id] = None
            chain_id = parents.get(chain_id)
        return list(found)


def document_descriptor(blobs: BlobStore, digest: Digest) -> Descriptor | None:
    """Return the descriptor of a manifest or index of unknown type, None for any other blob."""
    raw = _document_bytes(blobs, digest)
    if raw is None:
        return None
    try:
        document = decode(raw, _AnyDocument, "document")
    except InvalidDocumentError:
        return None  # JSON of another shape: a config, an attestation
    kind = document.media_type
    if not kind and (document.config or document.manifests):
        kind = mediatype.OCI_INDEX if document.manifests else mediatype.OCI_MANIFEST
    if kind not in mediatype.DOCUMENT_TYPES:
        return None
    return Descriptor(media_type=kind, digest=digest, size=len(raw))


def roots(
    transaction: Transaction,
    documents: Documents,
    *,
    without: Container[str] = (),
    spared: Iterable[Digest] = (),
) -> Reach:
    """Return what tags, containers and leases reach: what no prune may take.

    ``without`` are names of tags that do not count, ``spared`` manifests that count as well.
    """
    reach = Reach()
    for manifest in spared:
        reach.add_blob(documents, manifest)
    for name, raw in transaction.rows("SELECT name, descriptor FROM images"):
        if name not in without:
            reach.add_image(documents, tag_descriptor(name, raw))
    for image, chain_id in transaction.rows("SELECT image, chain_id FROM containers"):
        if chain_id is not None:
            reach.chains.add(chain_id)
        digest = trailing_digest(str(image))
        if digest is not None:
            reach.add_blob(documents, digest)
    for kind, value in transaction.rows("SELECT kind, value FROM lease_items"):
        if kind == "blob":
            reach.add_blob(documents, Digest.parse(str(value)))
        elif kind == "chain":
            reach.chains.add(value)
    named, reach.chains = reach.chains, set()
    parents = snapshot_parents(transaction)
    for chain_id in named:
        reach.add_chain(chain_id, parents)
    return reach


def snapshot_parents(transaction: Transaction) -> dict[str, str | None]:
    """Return the parent of every snapshot, by chain id."""
    return dict(transaction.rows("SELECT chain_id, parent FROM snapshots"))


def tag_descriptor(name: str, raw: bytes) -> Descriptor:
    """Return what a row of the tags stands for."""
    return Descriptor.from_raw(decode(raw, RawDescriptor, f"tag {name}"))


def trailing_digest(image: str) -> Digest | None:
    """Return the digest at the end of a container's image, None if there is none."""
    try:
        return Digest.parse(image.rpartition("@")[2])
    except InvalidReferenceError:
        return None


def _document_bytes(blobs: BlobStore, digest: Digest) -> bytes | None:
    """Return the content if it may be a JSON document, None for anything else."""
    if not blobs.has(digest) or blobs.size(digest) > MAX_DOCUMENT_BYTES:
        return None
    with blobs.open(digest) as file:
        start = file.read(1)
        return start + file.read() if start == b"{" else None
