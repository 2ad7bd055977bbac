"""Content that is not what it promises, by every way in and out: one error each, and no trace."""

import contextlib
import gzip
import io
import lzma
import os
import random
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import zstandard

from imagekit.base.errors import ImagekitError
from imagekit.build.request import BuildRequest
from imagekit.config import Settings
from imagekit.containers.request import RunRequest
from imagekit.engine import Engine
from imagekit.images.commit import store_image
from imagekit.images.local import LocalImage
from imagekit.oci import mediatype
from imagekit.oci.descriptor import Descriptor
from imagekit.oci.digest import Digest
from imagekit.oci.image_config import ContainerConfig, ImageConfig
from imagekit.oci.platform import Platform
from registry_server.testing import running_registry

pytestmark = pytest.mark.root

NAME = "app:1"
BOMB_BYTES = 40 << 20


RANDOM = random.Random(1).randbytes(20_000)


def archive(content: bytes = RANDOM) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as tar:
        member = tarfile.TarInfo("file")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return output.getvalue()


def flipped(data: bytes) -> bytes:
    """Change a bit in the middle."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


@dataclass
class Machine:
    """An engine whose store is looked at after each failure."""

    engine: Engine
    directory: Path

    @property
    def store(self) -> Path:
        return self.directory / "store"

    def image(
        self,
        blob: bytes,
        *,
        diff_id: Digest | None = None,
        media_type: str = mediatype.OCI_LAYER_GZIP,
        plain: bytes | None = None,
    ) -> LocalImage:
        """Store an image of one layer, as a load does: nothing has been unpacked yet."""
        store = self.engine._store
        with store.leases.hold("test") as lease:
            layer = Descriptor(media_type=media_type, digest=store.blobs.put(blob), size=len(blob))
            config = ImageConfig(
                platform=Platform.host(),
                config=ContainerConfig(cmd=("/file",)),
                diff_ids=(diff_id or Digest.of(plain or archive()),),
            )
            return store_image(store, config, [layer], lease=lease, names=[NAME])

    def blob(self, digest: Digest) -> Path:
        return self.engine._store.blobs.path(digest)

    def fails(self, attempt: Callable[[], object], code: str) -> ImagekitError:
        """Check that ``attempt`` fails with this code and leaves nothing of itself."""
        before = self.traces()
        with pytest.raises(ImagekitError) as caught:
            attempt()
        assert caught.value.code == code, caught.value.message
        assert caught.value.hint
        assert self.traces() == before
        return caught.value

    def traces(self) -> list[object]:
        store = self.engine._store
        return [
            sorted(os.listdir(self.store / "snapshots")),
            sorted(os.listdir(self.store / "tmp")),
            sorted(os.listdir(self.store / "containers")),
            sorted(os.listdir(self.directory / "output")),
            [snapshot.chain_id for snapshot in store.snapshots.all()],
            [image.name for image in store.images.all()],
            store._database.rows("SELECT * FROM layers"),
            store._database.rows("SELECT * FROM leases"),
            store._database.rows("SELECT * FROM cache_records"),
        ]

    def run(self) -> object:
        return self.engine.containers.run(RunRequest(image=NAME, detach=True))

    def build(self, text: str = f"FROM {NAME}\nWORKDIR /w\n") -> object:
        context = self.directory / "context"
        return self.engine.build(BuildRequest(context=context, dockerfile_text=text))

    def save(self) -> None:
        self.engine.save([NAME], self.directory / "output/archive.tar")


@contextlib.contextmanager
def open_machine(directory: Path, limits: Mapping[str, int] | None = None) -> Iterator[Machine]:
    for name in ("output", "context"):
        (directory / name).mkdir(parents=True)
    settings = Settings(root=directory / "store")._replace(**(limits or {}))
    with Engine(settings) as engine:
        yield Machine(engine=engine, directory=directory)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with open_machine(tmp_path / "machine") as opened:
        yield opened


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[Machine]:
    """A machine that unpacks no more than 8 MiB and 50 entries."""
    limits = {"max_unpacked_bytes": BOMB_BYTES // 5, "max_entries": 50}
    with open_machine(tmp_path / "strict", limits) as opened:
        yield opened


def flip(path: Path) -> None:
    content = flipped(path.read_bytes())
    with path.open("r+b") as file:
        file.write(content)


# -- layers that are bad from the beginning: their digest is right, their content is not


BAD_LAYERS = {
    "gzip cut off": (gzip.compress(archive())[:-20], "layer-truncated"),
    "zstd cut off": (zstd(archive())[:-20], "layer-truncated"),
    "tar cut off": (archive()[:1000], "layer-truncated"),
    "gzip with a flipped bit": (flipped(gzip.compress(archive())), "layer-compression"),
    "xz with a flipped bit": (flipped(lzma.compress(archive())), "layer-compression"),
    "no archive": (gzip.compress(b"no archive" * 1000), "layer-format"),
    "another content": (gzip.compress(archive(b"other")), "diff-id-mismatch"),
}
WAYS = {"run": Machine.run, "build": Machine.build}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", BAD_LAYERS)
def test_a_bad_layer(machine: Machine, what: str, way: str) -> None:
    blob, code = BAD_LAYERS[what]
    image = machine.image(blob)

    error = machine.fails(lambda: WAYS[way](machine), code)

    assert str(image.manifest.layers[0].digest) in error.message
    assert NAME in error.message


BOMBS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstd,
    "xz": lzma.compress,
    "none": bytes,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("packing", BOMBS)
def test_a_bomb(strict: Machine, packing: str, way: str) -> None:
    plain = archive(bytes(BOMB_BYTES))
    image = strict.image(BOMBS[packing](plain), plain=plain)

    error = strict.fails(lambda: WAYS[way](strict), "layer-limit")

    assert str(image.manifest.layers[0].digest) in error.message
    assert NAME in error.message
    assert "[limits]" in (error.hint or "")


def test_zeros_after_the_end_of_the_archive_are_a_bomb_too(strict: Machine) -> None:
    plain = archive() + bytes(BOMB_BYTES)
    strict.image(gzip.compress(plain), plain=plain)

    strict.fails(strict.run, "layer-limit")


def test_too_many_entries(strict: Machine) -> None:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as tar:
        for number in range(60):
            tar.addfile(tarfile.TarInfo(f"file{number}"))
    strict.image(output.getvalue(), plain=output.getvalue())

    assert "50 entries" in strict.fails(strict.run, "layer-limit").message


@pytest.mark.parametrize(
    ("media_type", "blob"),
    [
        (mediatype.OCI_LAYER_GZIP, archive()),
        (mediatype.OCI_LAYER_GZIP, zstd(archive())),
        (mediatype.OCI_LAYER_ZSTD, gzip.compress(archive())),
        (mediatype.OCI_LAYER, gzip.compress(archive())),
        (mediatype.DOCKER_LAYER_GZIP, archive()),
    ],
)
def test_how_a_layer_is_packed_is_seen_from_its_bytes(
    machine: Machine, media_type: str, blob: bytes
) -> None:
    machine.image(blob, media_type=media_type)

    machine.build()

    assert len(machine.engine._store.snapshots.all()) == 2


def test_a_layer_that_is_no_file_system(machine: Machine) -> None:
    kind = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted"
    image = machine.image(gzip.compress(archive()), media_type=kind)

    error = machine.fails(machine.run, "unsupported-layer")

    assert kind in error.message
    assert str(image.manifest.layers[0].digest) in error.message


# -- blobs that changed after they had been verified


OUT = {**WAYS, "save": Machine.save}


@pytest.mark.parametrize("way", OUT)
@pytest.mark.parametrize("change", ["flip", "cut", "remove"])
def test_a_layer_that_changes_on_the_disk(machine: Machine, way: str, change: str) -> None:
    image = machine.image(gzip.compress(archive()))
    digest = image.manifest.layers[0].digest
    path = machine.blob(digest)
    match change:
        case "flip":
            flip(path)
        case "cut":
            os.truncate(path, 40)
        case _:
            path.unlink()

    code = "blob-missing" if change == "remove" else "blob-damaged"
    error = machine.fails(lambda: OUT[way](machine), code)

    assert str(digest) in error.message
    assert NAME in error.message
    assert "imagekit" in (error.hint or "")


@pytest.mark.parametrize("way", OUT)
def test_a_config_that_changes_on_the_disk_is_not_obeyed(machine: Machine, way: str) -> None:
    image = machine.image(gzip.compress(archive()))
    path = machine.blob(image.id)
    path.write_bytes(path.read_bytes().replace(b"/file", b"/evil"))

    error = machine.fails(lambda: OUT[way](machine), "blob-damaged")

    assert str(image.id) in error.message
    assert "imagekit system fsck --repair" in (error.hint or "")


@pytest.mark.parametrize("change", ["flip", "cut"])
def test_a_damaged_layer_is_not_pushed(machine: Machine, tmp_path: Path, change: str) -> None:
    image = machine.image(os.urandom(100_000), plain=b"never unpacked")
    path = machine.blob(image.manifest.layers[0].digest)
    flip(path) if change == "flip" else os.truncate(path, 50_000)

    with running_registry(tmp_path / "registry") as registry:
        target = f"{registry.host}/team/app:1"
        error = machine.fails(
            lambda: machine.engine.push(NAME, target, insecure=True), "blob-damaged"
        )
        with pytest.raises(ImagekitError, match="not"):
            machine.engine.pull(target, insecure=True)

    assert str(image.manifest.layers[0].digest) in error.message


def test_a_run_without_the_files_of_a_snapshot(machine: Machine) -> None:
    machine.image(gzip.compress(archive()))
    machine.build()
    base = next(one for one in machine.engine._store.snapshots.all() if one.parent is None)
    base.fs.rename(base.path / "elsewhere")

    for way in WAYS.values():
        error = machine.fails(lambda way=way: way(machine), "store-corrupt")  # type: ignore[misc]
        assert str(base.fs) in error.message


# -- on the way in


@pytest.mark.parametrize(
    ("change", "code"),
    [("flip", "blob-mismatch"), ("cut", "size-mismatch"), ("grow", "size-mismatch")],
)
@pytest.mark.parametrize("what", ["layer", "config"])
def test_a_registry_that_sends_something_else(
    machine: Machine, tmp_path: Path, what: str, change: str, code: str
) -> None:
    image = machine.image(gzip.compress(archive(os.urandom(5000))), plain=b"never unpacked")
    digest = image.id if what == "config" else image.manifest.layers[0].digest
    with running_registry(tmp_path / "registry") as registry:
        target = f"{registry.host}/team/app:1"
        machine.engine.push(NAME, target, insecure=True)
        found = (tmp_path / "registry").rglob(digest.hex)
        path = next(file for file in found if file.stat().st_size)
        if change == "flip":
            flip(path)
        elif change == "cut":
            os.truncate(path, 100)
        else:
            path.write_bytes(path.read_bytes() + b"more")

        with open_machine(tmp_path / "other") as other:
            error = other.fails(lambda: other.engine.pull(target, insecure=True), code)

    assert target in error.message
    assert str(digest) in error.message


@pytest.mark.parametrize("change", ["flip", "cut"])
def test_an_archive_whose_layer_is_something_else(
    machine: Machine, tmp_path: Path, change: str
) -> None:
    image = machine.image(archive(os.urandom(5000)), plain=b"never unpacked")
    digest = image.manifest.layers[0].digest
    machine.save()
    saved = machine.directory / "output/archive.tar"
    changed = tmp_path / "changed.tar"
    with tarfile.open(saved) as old, tarfile.open(changed, "w") as new:
        for member in old:
            content = old.extractfile(member).read()  # type: ignore[union-attr]
            if digest.hex in member.name:
                content = content[:3000] if change == "cut" else content[:-1] + b"?"
            member.size = len(content)
            new.addfile(member, io.BytesIO(content))

    with open_machine(tmp_path / "other") as other:
        error = other.fails(
            lambda: other.engine.load(changed), "blob-size" if change == "cut" else "blob-mismatch"
        )

    assert str(digest) in error.message
    assert "app:1" in error.message
    assert str(changed) in error.message


BAD_ARCHIVES = {
    "cut off": (gzip.compress(archive(os.urandom(5000)))[:-3000], "layer-truncated"),
    "flipped": (flipped(gzip.compress(archive())), "layer-compression"),
    "bomb": (gzip.compress(archive(bytes(BOMB_BYTES))), "layer-limit"),
    "tar cut off": (archive(os.urandom(5000))[:2000], "layer-truncated"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD_ARCHIVES)
def test_import_of_a_bad_archive(strict: Machine, tmp_path: Path, what: str) -> None:
    content, code = BAD_ARCHIVES[what]
    path = tmp_path / "root.tar"
    path.write_bytes(content)

    error = strict.fails(lambda: strict.engine.import_image(path, "base:1"), code)

    assert str(path) in error.message


@pytest.mark.parametrize("what", BAD_ARCHIVES)
def test_add_of_a_bad_archive(strict: Machine, what: str) -> None:
    content, code = BAD_ARCHIVES[what]
    (strict.directory / "context/files.tar").write_bytes(content)

    error = strict.fails(lambda: strict.build("FROM scratch\nADD files.tar /x/\n"), code)

    assert "files.tar" in error.message
