from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from imagekit.oci import mediatype
from imagekit.oci.descriptor import Descriptor
from imagekit.oci.digest import Digest
from imagekit.oci.image_config import ContainerConfig, ImageConfig, chain_ids
from imagekit.oci.manifest import Manifest
from imagekit.oci.mediatype import Compression
from imagekit.oci.platform import Platform
from imagekit.store.layout import Store
from imagekit.store.leases import Lease
from imagekit.store.snapshots import CommittedSnapshot


@dataclass(frozen=True)
class StoredImage:
    """An image in the store: every blob and every chain id it has, bottom first."""

    manifest: Manifest
    blobs: tuple[Digest, ...]
    chains: tuple[Digest, ...]


class ImageMaker:
    """Writes images of given layers, with snapshots, as the images room does."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def image(
        self,
        *layers: bytes,
        tag: str | None = None,
        unpack: bool = True,
        labels: dict[str, str] | None = None,
    ) -> StoredImage:
        blobs = self.store.blobs
        with self.store.leases.hold("make an image") as lease:
            descriptors = []
            for layer in layers:
                digest = blobs.put(layer)
                descriptors.append(
                    Descriptor(media_type=mediatype.OCI_LAYER, digest=digest, size=len(layer))
                )
                self.store.layers.record(
                    diff_id=digest,
                    digest=digest,
                    compression=Compression.NONE,
                    size=len(layer),
                    uncompressed_size=len(layer),
                )
            diff_ids = tuple(d.digest for d in descriptors)
            raw = ImageConfig(
                platform=Platform("linux", "amd64"),
                diff_ids=diff_ids,
                config=ContainerConfig(labels=labels),
            ).to_json()
            config = Descriptor(
                media_type=mediatype.OCI_CONFIG, digest=blobs.put(raw), size=len(raw)
            )
            manifest = Manifest.build(config=config, layers=descriptors)
            blobs.put(manifest.raw)
            chains = chain_ids(diff_ids)
            if unpack:
                parent = None
                for chain_id, diff_id in zip(chains, diff_ids, strict=True):
                    self.snapshot(lease, chain_id, parent, diff_id)
                    parent = chain_id
            if tag is not None:
                self.store.images.set(tag, manifest.descriptor)
        return StoredImage(
            manifest=manifest,
            blobs=(*diff_ids, config.digest, manifest.descriptor.digest),
            chains=chains,
        )

    def snapshot(
        self, lease: Lease, chain_id: Digest, parent: Digest | None, diff_id: Digest
    ) -> CommittedSnapshot:
        prepared = self.store.snapshots.prepare(lease)
        (prepared.fs / "content").write_bytes(diff_id.hex.encode() * 100)
        return self.store.snapshots.commit(
            prepared, chain_id=chain_id, parent_chain_id=parent, diff_id=diff_id
        )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def make(store: Store) -> ImageMaker:
    return ImageMaker(store)
