"""What refers to what: from tags, containers, leases and cache records to blobs and snapshots."""

from collections.abc import Iterable, Mapping

import msgspec

from imagekit.oci import mediatype
from imagekit.oci.descriptor import Descriptor, RawDescriptor
from imagekit.oci.digest import Digest
from imagekit.oci.documents import MAX_DOCUMENT_BYTES, decode
from imagekit.oci.errors import InvalidDocumentError, InvalidReferenceError
from imagekit.oci.image_config import ImageConfig, chain_ids
from imagekit.oci.manifest import Manifest, parse_document
from imagekit.store.blobs import BlobStore
from imagekit.store.metadata import Transaction

CONFIG_TYPES = (mediatype.OCI_CONFIG, mediatype.DOCKER_CONFIG)


class _AnyDocument(msgspec.Struct, rename={"media_type": "mediaType"}):
    media_type: str = ""
    config: RawDescriptor | None = None
    layers: list[RawDescriptor] | None = None
    manifests: list[RawDescriptor] | None = None


class Reach(msgspec.Struct):
    """Digests of blobs and chain ids of snapshots that something refers to, here or not."""

    blobs: set[str] = msgspec.field(default_factory=set)
    chains: set[str] = msgspec.field(default_factory=set)

    def add_image(self, blobs: BlobStore, descriptor: Descriptor) -> None:
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
            is_document = current.media_type in mediatype.DOCUMENT_TYPES
            if not is_document or not blobs.has(current.digest):
                continue
            document = parse_document(blobs.read(current.digest), current.media_type)
            pending += document.children
            if isinstance(document, Manifest):
                self.chains.update(image_chains(blobs, document))

    def add_blob(self, blobs: BlobStore, digest: Digest) -> None:
        """Add a blob of unknown kind; if it is a document, with all that it leads to."""
        descriptor = document_descriptor(blobs, digest)
        if descriptor is not None:
            self.add_image(blobs, descriptor)
        self.blobs.add(str(digest))

    def add_chain(self, chain_id: str, parents: Mapping[str, str | None]) -> None:
        """Add a snapshot and those below it; ``parents`` has every snapshot of the store."""
        current: str | None = chain_id
        while current is not None and current not in self.chains:
            self.chains.add(current)
            current = parents.get(current)


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


def image_chains(blobs: BlobStore, manifest: Manifest) -> Iterable[str]:
    """Return the chain ids of an image, none if its config is absent or of another kind."""
    if manifest.config.media_type not in CONFIG_TYPES or not blobs.has(manifest.config.digest):
        return ()
    config = ImageConfig.parse(blobs.read(manifest.config.digest))
    return map(str, chain_ids(config.diff_ids))


def roots(transaction: Transaction, blobs: BlobStore) -> Reach:
    """Return what tags, containers and leases reach: what no prune may take."""
    reach = Reach()
    for name, raw in transaction.rows("SELECT name, descriptor FROM images"):
        descriptor = Descriptor.from_raw(decode(raw, RawDescriptor, f"tag {name}"))
        reach.add_image(blobs, descriptor)
    for image, chain_id in transaction.rows("SELECT image, chain_id FROM containers"):
        if chain_id is not None:
            reach.chains.add(chain_id)
        digest = trailing_digest(str(image))
        if digest is not None:
            reach.add_blob(blobs, digest)
    for kind, value in transaction.rows("SELECT kind, value FROM lease_items"):
        if kind == "blob":
            reach.add_blob(blobs, Digest.parse(str(value)))
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


def trailing_digest(image: str) -> Digest | None:
    """Return the digest of the manifest in a container's ``image``, None if it has none."""
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
