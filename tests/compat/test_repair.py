"""From damage to a whole image again: fsck, --repair, pull."""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imagekit.base.errors import UserError
from registry_server.testing import running_registry

if TYPE_CHECKING:
    from tests.compat.conftest import Machine

pytestmark = pytest.mark.root


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("what", ["manifest", "config", "layer and its files"])
def test_a_pull_fetches_what_the_repair_took_away(
    machine: "Machine", other_machine: "Machine", tmp_path: Path, what: str
) -> None:
    with running_registry(tmp_path / "registry") as registry:
        name = f"{registry.host}/team/rich:1"
        machine.engine.push("rich:1", name, insecure=True)
        other_machine.engine.pull(name, insecure=True)
        image = other_machine.engine.image(name)
        digest = {
            "manifest": image.descriptor.digest,
            "config": image.id,
            "layer and its files": image.manifest.layers[0].digest,
        }[what]
        path = other_machine.directory / "store/content/blobs/sha256" / digest.hex
        cut(path)
        expected = [("blob-content", str(digest), (name,))]
        if what == "layer and its files":
            base = next(
                one for one in other_machine.engine._store.snapshots.all() if one.parent is None
            )
            shutil.rmtree(base.fs)
            expected.append(("snapshot-files", str(base.chain_id), (name,)))

        told = other_machine.engine.fsck()
        assert [(i.code, i.subject, i.images) for i in told.issues] == expected
        assert not told.is_whole
        assert other_machine.engine.fsck(repair=True).is_whole
        with pytest.raises(UserError):
            other_machine.engine.image(name)
        other_machine.engine.pull(name, insecure=True)

    assert path.stat().st_size > 0
    assert other_machine.engine.image(name) == image
    whole = other_machine.engine.fsck()
    assert (whole.issues, whole.notes, whole.unverifiable) == ((), (), ())
    other_machine.engine.save([name], tmp_path / "archive")
    assert other_machine.run(name, "true") == (0, "")


def test_a_pulled_layer_that_was_packed_by_imagekit_is_made_again(
    machine: "Machine", other_machine: "Machine", tmp_path: Path
) -> None:
    with running_registry(tmp_path / "registry") as registry:
        name = f"{registry.host}/team/rich:1"
        machine.engine.push("rich:1", name, insecure=True)
        other_machine.engine.pull(name, insecure=True)
    image = other_machine.engine.image(name)
    digests = [layer.digest for layer in image.manifest.layers]
    for digest in digests:
        cut(other_machine.directory / "store/content/blobs/sha256" / digest.hex)

    report = other_machine.engine.fsck(repair=True)

    assert report.repair is not None
    assert set(report.repair.restored) == set(map(str, digests))
    assert (report.repair.incomplete, report.repair.lost) == ((), ())
    other_machine.engine.save([name], tmp_path / "archive")


def test_built_and_foreign_layers_are_verified(machine: "Machine") -> None:
    report = machine.engine.fsck()

    assert (report.issues, report.unverifiable) == ((), ())
    assert report.snapshots >= 10
