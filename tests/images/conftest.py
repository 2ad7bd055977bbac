"""A store and images in it, made of layers that are written by hand."""

import io
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from imagekit.images.commit import store_image
from imagekit.images.local import LocalImage, LocalImages
from imagekit.oci.descriptor import Descriptor
from imagekit.oci.digest import Digest
from imagekit.oci.image_config import ContainerConfig, History, ImageConfig
from imagekit.oci.mediatype import OCI_LAYER
from imagekit.oci.platform import Platform
from imagekit.store.layout import Store
from imagekit.store.leases import Lease

CREATED = "2024-01-02T03:04:05Z"
Tar = Callable[..., bytes]


def make_tar(**files: bytes) -> bytes:
    """Return an archive; ``__`` in a name stands for a slash, ``_wh_`` for a whiteout's prefix."""
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for key, content in files.items():
            member = tarfile.TarInfo(key.replace("__", "/").replace("_wh_", ".wh."))
            member.size, member.mode, member.mtime = len(content), 0o644, 1_000_000_000
            tar.addfile(member, io.BytesIO(content))
    return output.getvalue()


@dataclass
class Shelf:
    """A store, a lease in it, and what tests put there."""

    store: Store
    lease: Lease
    images: LocalImages

    def layer(self, content: bytes, media_type: str = OCI_LAYER) -> Descriptor:
        digest = self.store.blobs.put(content)
        self.lease.add("blob", str(digest))
        return Descriptor(media_type=media_type, digest=digest, size=len(content))

    def image(
        self,
        *contents: bytes,
        names: tuple[str, ...] = (),
        created: str | None = CREATED,
        diff_ids: tuple[Digest, ...] | None = None,
        config: ContainerConfig | None = None,
        history: tuple[History, ...] = (),
    ) -> LocalImage:
        """Store an image of uncompressed layers."""
        layers = [self.layer(content) for content in contents]
        described = ImageConfig(
            platform=Platform.host(),
            config=config or ContainerConfig(),
            diff_ids=tuple(one.digest for one in layers) if diff_ids is None else diff_ids,
            created=created,
            history=history,
        )
        return store_image(self.store, described, layers, lease=self.lease, names=names)


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    with Store.open(tmp_path / "store") as store, store.leases.hold("test") as lease:
        yield Shelf(store=store, lease=lease, images=LocalImages(store))


@pytest.fixture(scope="session")
def tar() -> Tar:
    return make_tar
