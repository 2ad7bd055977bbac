"""What tags and containers stand for, read without believing that it is whole.

``reach`` answers what to keep and gives up on a document that it cannot read; here every document
that is missing or unreadable becomes a fault with the names of the images that it hits.
"""

from collections.abc import Container, Iterable, Iterator, Mapping

import msgspec

from imagekit.base.errors import ImagekitError
from imagekit.oci import mediatype
from imagekit.oci.descriptor import Descriptor
from imagekit.oci.digest import Digest
from imagekit.oci.image_config import ImageConfig, chain_ids
from imagekit.oci.manifest import Manifest, parse_document
from imagekit.store.blobs import BlobStore
from imagekit.store.errors import DAMAGED_MEDIUM, ContentNotFoundError
from imagekit.store.reach import CONFIG_TYPES

MISSING = "it is missing"


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A manifest that is here. ``config`` is None for an artifact, or when it is not here."""

    manifest: Manifest
    config: ImageConfig | None = None

    @property
    def layers(self) -> Iterator[tuple[Descriptor, Digest, Digest]]:
        """Yield descriptor, diff id and chain id of each layer of an image, bottom first."""
        if self.config is not None:
            diff_ids = self.config.diff_ids
            yield from zip(self.manifest.layers, diff_ids, chain_ids(diff_ids), strict=False)

    def runs(self, blobs: BlobStore, chains: Container[str]) -> bool:
        """Tell whether a container can be made: each layer is unpacked, or can be."""
        if self.config is None or len(self.manifest.layers) != len(self.config.diff_ids):
            return False
        return all(str(chain) in chains or blobs.has(one.digest) for one, _, chain in self.layers)


class StoredImage(msgspec.Struct, frozen=True, kw_only=True):
    """What one manifest or index leads to; ``faults`` are documents, and what is wrong with each.

    ``names`` are its tags, ``containers`` those that were made from it, as ids.
    """

    root: Descriptor
    names: tuple[str, ...]
    containers: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    faults: Mapping[Digest, str] = msgspec.field(default_factory=dict)

    @property
    def blobs(self) -> frozenset[Digest]:
        """Every blob that it names, here or not."""
        return frozenset(
            (
                self.root.digest,
                *self.faults,
                *(part.manifest.descriptor.digest for part in self.parts),
                *(child.digest for part in self.parts for child in part.manifest.children),
            )
        )

    @property
    def chains(self) -> frozenset[str]:
        """The chain id of every layer."""
        return frozenset(str(chain) for part in self.parts for _, _, chain in part.layers)

    @property
    def shown(self) -> tuple[str, ...]:
        """Its names, or its digest if it has none."""
        return self.names or (str(self.root.digest),)

    def is_usable(self, blobs: BlobStore, chains: Container[str]) -> bool:
        """Tell whether it can be run, or, if it is no file system, whether all of it is here."""
        return any(
            part.runs(blobs, chains)
            if part.manifest.config.media_type in CONFIG_TYPES
            else all(blobs.has(child.digest) for child in part.manifest.children)
            for part in self.parts
        )

    def absent(self, blobs: BlobStore) -> tuple[Descriptor, ...]:
        """Return the configs and layers that are not here."""
        children = (child for part in self.parts for child in part.manifest.children)
        return tuple(child for child in children if not blobs.has(child.digest))


def read_image(
    blobs: BlobStore, root: Descriptor, names: Iterable[str], containers: Iterable[str]
) -> StoredImage:
    """Return what ``root`` leads to. An index may list manifests that were never fetched."""
    parts: list[Part] = []
    faults: dict[Digest, str] = {}
    pending = [root]
    seen: set[Digest] = set()
    while pending:
        current = pending.pop()
        if current.digest in seen or (current is not root and not blobs.has(current.digest)):
            continue
        seen.add(current.digest)
        raw = _read(blobs, current.digest, faults)
        if raw is None:
            continue
        try:
            document = parse_document(raw, current.media_type)
        except ImagekitError as error:
            faults[current.digest] = error.message
            continue
        if isinstance(document, Manifest):
            parts.append(_part(blobs, document, faults))
        else:
            pending += [one for one in document.manifests if _is_document(one)]
    return StoredImage(
        root=root,
        names=tuple(sorted(names)),
        containers=tuple(sorted(containers)),
        parts=tuple(parts),
        faults=faults,
    )


def _part(blobs: BlobStore, manifest: Manifest, faults: dict[Digest, str]) -> Part:
    config = manifest.config
    if config.media_type not in CONFIG_TYPES:
        return Part(manifest=manifest)
    raw = _read(blobs, config.digest, faults)
    if raw is None:
        return Part(manifest=manifest)
    try:
        parsed = ImageConfig.parse(raw)
    except ImagekitError as error:
        faults[config.digest] = error.message
        return Part(manifest=manifest)
    if len(parsed.diff_ids) != len(manifest.layers):
        layers = len(manifest.layers)
        faults[config.digest] = f"it has {len(parsed.diff_ids)} diff ids for {layers} layers"
    return Part(manifest=manifest, config=parsed)


def _read(blobs: BlobStore, digest: Digest, faults: dict[Digest, str]) -> bytes | None:
    try:
        return blobs.read(digest)
    except ContentNotFoundError:
        faults[digest] = MISSING
    except OSError as error:
        if error.errno not in DAMAGED_MEDIUM:
            raise
        faults[digest] = f"it cannot be read: {(error.strerror or '').lower()}"
    return None


def _is_document(descriptor: Descriptor) -> bool:
    return descriptor.media_type in mediatype.DOCUMENT_TYPES
