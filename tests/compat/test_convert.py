"""Converted images in the eyes of skopeo and umoci."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imagekit.oci.mediatype import Compression

if TYPE_CHECKING:
    from tests.compat.conftest import Machine, Tree

pytestmark = [pytest.mark.root, pytest.mark.peer]

Peer = Callable[..., str]


def saved_layout(machine: "Machine", name: str, directory: Path) -> Path:
    """Return a layout directory with what ``save`` wrote in it."""
    archive, layout = directory / "image.tar", directory / "layout"
    machine.engine.save([name], archive)
    layout.mkdir(parents=True)
    subprocess.run(["tar", "-xf", archive, "-C", layout], check=True)
    return layout


@pytest.mark.parametrize("compression", list(Compression))
def test_skopeo_checks_and_copies_what_was_converted(
    machine: "Machine", peer: Peer, tmp_path: Path, compression: Compression
) -> None:
    """skopeo reads every layer and compares it with its diff id when it packs it another way."""
    name = f"converted:{compression}"
    conversion = machine.engine.convert("rich:1", name, compression=compression)
    layout = saved_layout(machine, name, tmp_path)
    source = f"oci:{layout}:{compression}"

    seen = json.loads(peer("skopeo", "inspect", source))
    config = json.loads(peer("skopeo", "inspect", "--config", source))
    peer(
        "skopeo", "--insecure-policy", "copy", "--dest-decompress", source, f"dir:{tmp_path}/plain"
    )
    manifest = json.loads((tmp_path / "plain/manifest.json").read_bytes())

    image = machine.engine.image("rich:1")
    assert machine.engine.image(name).id == image.id
    assert seen["Digest"] == str(conversion.descriptor.digest)
    diff_ids = [str(diff_id) for diff_id in image.config.diff_ids]
    assert config["rootfs"]["diff_ids"] == diff_ids
    assert [layer["digest"] for layer in manifest["layers"]] == diff_ids


@pytest.mark.parametrize("level", [None, 3])
def test_umoci_unpacks_the_same_files(
    machine: "Machine",
    peer: Peer,
    tree_of: "Callable[[Path], Tree]",
    tmp_path: Path,
    level: int | None,
) -> None:
    compression = Compression.NONE if level is None else Compression.GZIP
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    machine.engine.convert("rich:1", "other:1", compression=compression, level=level, force=True)
    before = saved_layout(machine, "rich:1", tmp_path / "a")
    after = saved_layout(machine, "other:1", tmp_path / "b")

    peer("umoci", "unpack", "--image", f"{before}:1", tmp_path / "a/bundle")
    peer("umoci", "unpack", "--image", f"{after}:1", tmp_path / "b/bundle")

    assert tree_of(tmp_path / "a/bundle/rootfs") == tree_of(tmp_path / "b/bundle/rootfs")
