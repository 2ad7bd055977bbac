"""umoci as a judge: what it unpacks is, file by file, what the overlay shows."""

import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imagekit.images.local import LocalImages
from imagekit.images.unpack import unpack
from imagekit.sandbox.overlay import mounted_layers
from imagekit.store.layout import Store

if TYPE_CHECKING:
    from tests.compat.conftest import Machine, Tree

pytestmark = [pytest.mark.root, pytest.mark.peer]

Peer = Callable[..., str]


def saved_layout(machine: "Machine", name: str, directory: Path) -> Path:
    """Return a layout directory with what ``save`` wrote in it."""
    archive, layout = directory / "image.tar", directory / "layout"
    machine.engine.save([name], archive)
    layout.mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", layout], check=True)
    return layout


def test_umoci_unpacks_what_the_overlay_shows(
    machine: "Machine", peer: Peer, tree_of: "Callable[[Path], Tree]", tmp_path: Path
) -> None:
    layout, bundle, target = (
        saved_layout(machine, "rich:1", tmp_path),
        tmp_path / "b",
        tmp_path / "t",
    )
    target.mkdir()

    peer("umoci", "unpack", "--image", f"{layout}:1", bundle)

    theirs = tree_of(bundle / "rootfs")
    chain_id = machine.engine.image("rich:1").chain_id
    assert chain_id is not None
    with (
        Store.open(machine.directory / "store") as store,
        mounted_layers(store.snapshots.lowerdirs(chain_id), target),
    ):
        ours = tree_of(target)
    assert ours == theirs
    # The tree has everything that the comparison is about.
    assert "gone" not in ours
    assert not [name for name in ours if name.startswith("opaque/old")]
    assert ours["opaque/new"]
    assert {ours[f"links/{name}"][5] for name in ("a", "b", "below/c")} == {"links/a"}
    assert ours["tree/hard"][5] == "tree/hard"  # changed later, which parts it from the others
    assert ours["etc/second"][5] == "etc/first"
    assert ours["tree/su"][0] == "0o104755"
    assert ours["tree/file"][3] == 1234567890
    assert [key for key, _ in ours["capable"][6]] == ["security.capability", "user.comment"]  # type: ignore[attr-defined] # a tuple of pairs
    assert [name for name in ours if "quotes" in name]


def test_a_pulled_image_unpacks_as_it_was_built(
    machine: "Machine", other_machine: "Machine", tree_of: "Callable[[Path], Tree]", tmp_path: Path
) -> None:
    archive = tmp_path / "image.tar"
    machine.engine.save(["rich:1"], archive)
    other_machine.engine.load(archive)
    other_machine.engine.close()

    trees = []
    for number, root in enumerate((machine.directory, other_machine.directory)):
        target = tmp_path / str(number)
        target.mkdir()
        with Store.open(root / "store") as store, store.leases.hold("look") as lease:
            chain_id = unpack(store, LocalImages(store).resolve("rich:1"), lease=lease)
            assert chain_id is not None
            with mounted_layers(store.snapshots.lowerdirs(chain_id), target):
                trees.append(tree_of(target))

    assert trees[0] == trees[1]


def test_umoci_repacks_an_image_that_imagekit_loads_and_runs(
    machine: "Machine", other_machine: "Machine", peer: Peer, tmp_path: Path
) -> None:
    layout, bundle = saved_layout(machine, "rich:1", tmp_path), tmp_path / "bundle"
    peer("umoci", "unpack", "--image", f"{layout}:1", bundle)
    (bundle / "rootfs/etc/second").unlink()
    (bundle / "rootfs/etc/added").write_text("by umoci\n")

    peer("umoci", "repack", "--image", f"{layout}:2", bundle)
    peer("umoci", "config", "--image", f"{layout}:2", "--config.cmd", "cat /etc/added; ls /etc")
    peer("umoci", "rm", "--image", f"{layout}:1")
    archive = tmp_path / "repacked.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(layout, ".")
    # The new tag keeps the full name that imagekit wrote beside it, and that is what counts.
    (name,) = other_machine.engine.load(archive)
    code, output = other_machine.run(name)

    assert (name, code) == ("rich:1", 0)
    first, *names = output.splitlines()
    assert first == "by umoci"
    assert "added" in names
    assert "first" in names
    assert "second" not in names
