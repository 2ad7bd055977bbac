"""Hostile image archives and root archives: whatever they say, only the store is written to."""

import io
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imagekit.base.errors import ImagekitError
from imagekit.config import Settings
from imagekit.engine import Engine
from imagekit.images.archive import ArchiveSource
from imagekit.images.errors import ArchiveError
from imagekit.images.unpack import unpack
from imagekit.layers.errors import LayerError
from imagekit.oci.digest import Digest
from imagekit.store.layout import Store
from tests.layers.judges import END, header, layout_of, member, pax, tree_of

pytestmark = pytest.mark.root

Attack = Callable[[bytes], tuple[str, ...]]
EVIL = member(b"etc/evil", b"evil") + END


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Path]:
    """A folder with secrets that must stay as it is; the store is beside it."""
    house = tmp_path / "house"
    (house / "outside").mkdir(parents=True)
    (house / "secret").write_text("secret")
    (house / "outside/secret").write_text("secret")
    before = tree_of(house)
    yield house
    assert tree_of(house) == before
    assert sorted(os.listdir(tmp_path)) in (["house", "store"], ["house"])


@pytest.fixture
def load(tmp_path: Path, house: Path, monkeypatch: pytest.MonkeyPatch) -> Attack:
    monkeypatch.chdir(house)

    def load(data: bytes) -> tuple[str, ...]:
        with Engine(Settings(root=tmp_path / "store")) as engine:
            names = engine.load(io.BytesIO(data))
            for name in names:
                engine.image(name)
            return names

    return load


def layout(tmp_path: Path, layer: bytes = EVIL) -> dict[str, bytes]:
    """Return the files of an OCI image layout."""
    folder = tmp_path / "house/layout"
    layout_of(layer, folder)
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    subprocess.run(["rm", "-r", folder], check=True)
    return files


def packed(files: dict[str, bytes]) -> bytes:
    return b"".join(member(name.encode(), data) for name, data in files.items()) + END


def test_podman_load_zz_then_zz_pwn(load: Attack, house: Path, tmp_path: Path) -> None:
    """podman unpacked the archive itself, and wrote through the link to the host."""
    door = header(b"zz", kind=b"2", link=bytes(house)) + member(b"zz/pwn", b"evil")

    assert len(load(door + packed(layout(tmp_path)))) == 1

    assert not (house / "pwn").exists()


@pytest.mark.parametrize("kind", [b"1", b"2"])
@pytest.mark.parametrize("which", ["config", "layer", "manifest"])
def test_podman_load_a_blob_that_is_a_link_to_a_host_file(
    kind: bytes, which: str, load: Attack, house: Path, tmp_path: Path
) -> None:
    files = layout(tmp_path)
    manifest = next(data for data in files.values() if b'"layers"' in data)
    described = json.loads(manifest)
    digest = {
        "config": described["config"]["digest"],
        "layer": described["layers"][0]["digest"],
        "manifest": str(Digest.of(manifest)),
    }[which]
    name = "blobs/sha256/" + digest.removeprefix("sha256:")
    # The link leads to the very bytes that the digest promises.
    content = files.pop(name)
    twin = tmp_path / "twin"
    twin.write_bytes(content)
    linked = header(name.encode(), kind=kind, link=bytes(twin))

    with pytest.raises(ArchiveError, match="lacks sha256:"):
        load(linked + packed(files))

    twin.unlink()


@pytest.mark.parametrize(
    "hostile",
    [
        header(b"../secret", kind=b"0"), member(b"/house/secret", b"evil"),
        member(b"../outside/secret", b"evil"), header(b"blobs", kind=b"2", link=b"/"),
        header(b"blobs/sha256", kind=b"2", link=b"../../outside"),
        header(b"null", kind=b"3", major=b"0000001\0", minor=b"0000003\0"),
        header(b"disk", kind=b"4", major=b"0000010\0"), header(b"fifo", kind=b"6"),
        header(b".", kind=b"2", link=b"/"), header(b"h", kind=b"1", link=b"/etc/passwd"),
    ],
    ids=range(10),
)  # fmt: skip
def test_members_that_are_links_devices_or_elsewhere_are_not_made(
    hostile: bytes, load: Attack, tmp_path: Path
) -> None:
    assert len(load(hostile + packed(layout(tmp_path)) + END)) == 1


PATHS = [
    "../../../etc/passwd", "/etc/passwd", "sha256:../../x", "sha256:" + "A" * 64, "", "sha256:",
    "md5:" + "0" * 32, "sha256:" + "0" * 64 + "/../x", "sha256:" + "0" * 63 + "\n",
]  # fmt: skip


@pytest.mark.parametrize("digest", PATHS)
@pytest.mark.parametrize("place", ["index", "config", "layer"])
def test_cve_2024_3727_digests_are_checked_before_they_are_paths(
    digest: str, place: str, load: Attack, tmp_path: Path
) -> None:
    files = layout(tmp_path)
    index = json.loads(files["index.json"])
    entry = index["manifests"][0]
    manifest = json.loads(files["blobs/sha256/" + entry["digest"].removeprefix("sha256:")])
    if place == "index":
        entry["digest"] = digest
    else:
        (manifest["config"] if place == "config" else manifest["layers"][0])["digest"] = digest
        raw = json.dumps(manifest).encode()
        entry["digest"], entry["size"] = str(Digest.of(raw)), len(raw)
        files["blobs/sha256/" + Digest.of(raw).hex] = raw
    files["index.json"] = json.dumps(index).encode()

    with pytest.raises(ImagekitError, match="digest"):
        load(packed(files))


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "secret", "\0", "a" * 5000])
@pytest.mark.parametrize("place", ["Config", "Layers"])
def test_cve_2014_9358_names_in_a_docker_archive_lead_nowhere(
    name: str, place: str, load: Attack
) -> None:
    image: dict[str, object] = {"Config": "c.json", "RepoTags": ["a:1"], "Layers": ["l.tar"]}
    image[place] = name if place == "Config" else [name]
    files = {"c.json": b"{}", "l.tar": EVIL, "manifest.json": json.dumps([image]).encode()}

    with pytest.raises(ArchiveError, match="lacks its member"):
        load(packed(files))


def test_cve_2021_41190_a_manifest_that_is_an_index_too(load: Attack, tmp_path: Path) -> None:
    files = layout(tmp_path)
    index = json.loads(files["index.json"])
    name = "blobs/sha256/" + index["manifests"][0]["digest"].removeprefix("sha256:")
    both = json.loads(files[name]) | {"manifests": index["manifests"]}
    for document, media_type in ((both, "manifest"), (both, "index")):
        raw = json.dumps(document).encode()
        entry = {
            "mediaType": f"application/vnd.oci.image.{media_type}.v1+json",
            "digest": str(Digest.of(raw)),
            "size": len(raw),
        }
        listed = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
        with pytest.raises(ImagekitError, match="invalid"):
            load(packed(files | {"blobs/sha256/" + Digest.of(raw).hex: raw, "index.json": listed}))


@pytest.mark.parametrize(
    "diff_id", ["../../secret", "sha256:" + "0" * 64, "sha256:../../../x", "sha512:" + "0" * 128]
)
def test_cve_2014_9356_layer_ids_of_a_docker_archive(diff_id: str, load: Attack) -> None:
    config = {"architecture": "amd64", "os": "linux",
              "rootfs": {"type": "layers", "diff_ids": [diff_id]}}  # fmt: skip
    image = {"Config": "c.json", "RepoTags": None, "Layers": ["l.tar"]}
    files = {"c.json": json.dumps(config).encode(), "l.tar": EVIL,
             "manifest.json": json.dumps([image]).encode()}  # fmt: skip
    try:
        names = load(packed(files))
    except ImagekitError:
        return
    # A well-formed id is found to be wrong when the layer is unpacked.
    assert len(names) == 1


BROKEN = {
    "thousands-of-extended-headers": pax((b"a", b"b")) * 20_000 + member(b"index.json", b"{}"),
    "a-sparse-index": pax((b"GNU.sparse.map", b"0,2"), (b"GNU.sparse.size", b"2"),
                          (b"GNU.sparse.numblocks", b"1")) + member(b"index.json", b"{}"),
    "a-gigantic-extended-header": header(b"x", kind=b"x", size=0o77777777777),
    "a-gigantic-member": header(b"index.json", size=0o77777777777),
    "a-cut-off-member": header(b"index.json", size=700) + bytes(200),
    "bytes-that-are-no-text": member(b"manifest.json", b'[{"Config":"\x89"}]'),
    "deep-json": member(b"manifest.json", b"[" * 100_000),
    "deep-index": member(b"index.json", b'{"manifests":' * 50_000),
    "a-negative-size": header(b"index.json", size_field=b"\xff" * 12),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken_archives_are_refused(case: str) -> None:
    with pytest.raises(ImagekitError):
        ArchiveSource(io.BytesIO(BROKEN[case] + END))


DOOR = header(b"door", kind=b"2", link=b"../outside") + member(b"door/secret", b"evil")
ROOTS = {
    "links": DOOR + END,
    "absolute-link": header(b"zz", kind=b"2", link=b"/proc/self/cwd") + member(b"zz/pwn") + END,
    "hard-link": header(b"h", kind=b"1", link=b"secret") + member(b"h", b"evil") + END,
    "dotdot": member(b"../../house/secret", b"evil") + END,
    "deletion": DOOR[:512] + member(b"door/.wh.secret") + member(b"x") + END,
    "redirect": pax((b"SCHILY.xattr.trusted.overlay.redirect", b"/outside"))
    + header(b"d", kind=b"5") + END,
}  # fmt: skip


@pytest.mark.parametrize("case", ROOTS)
def test_an_imported_root_stays_in_its_snapshot(
    case: str, house: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(house)
    with Engine(Settings(root=tmp_path / "store")) as engine:
        if case in ("hard-link", "dotdot"):
            with pytest.raises(LayerError):
                engine.import_image(io.BytesIO(ROOTS[case]), "a:1")
        else:
            engine.import_image(io.BytesIO(ROOTS[case]), "a:1")

    assert all(os.listxattr(path) == [] for path in (tmp_path / "store/snapshots").glob("*/fs/d"))


@pytest.mark.parametrize("case", ROOTS)
def test_a_loaded_layer_stays_in_its_snapshot(
    case: str, house: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(house)
    with Engine(Settings(root=tmp_path / "store")) as engine:
        (name,) = engine.load(io.BytesIO(packed(layout(tmp_path, ROOTS[case]))))
        image = engine.image(name)

    with Store.open(tmp_path / "store") as store, store.leases.hold("test") as lease:
        if case in ("hard-link", "dotdot"):
            with pytest.raises(LayerError):
                unpack(store, image, lease=lease)
        else:
            assert unpack(store, image, lease=lease) is not None

    assert all(os.listxattr(path) == [] for path in (tmp_path / "store/snapshots").glob("*/fs/d"))
