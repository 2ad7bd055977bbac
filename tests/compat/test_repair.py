"""From damage to a whole image again: fsck, --repair, pull."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imagekit.base.errors import CorruptionError, UserError
from registry_server.testing import running_registry

if TYPE_CHECKING:
    from tests.compat.conftest import Machine

pytestmark = pytest.mark.root


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("what", ["manifest", "config", "layer"])
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
            "layer": image.manifest.layers[0].digest,
        }[what]
        path = other_machine.directory / "store/content/blobs/sha256" / digest.hex
        cut(path)

        told = other_machine.engine.fsck()
        assert [(i.code, i.subject, i.images) for i in told.issues] == [
            ("blob-content", str(digest), (name,))
        ]
        assert not told.is_whole
        assert other_machine.engine.fsck(repair=True).is_whole
        if what == "layer":
            assert other_machine.run(name, "true") == (0, "")
            with pytest.raises((CorruptionError, UserError)):
                other_machine.engine.save([name], tmp_path / "archive")
        else:
            with pytest.raises(UserError):
                other_machine.engine.image(name)
        other_machine.engine.pull(name, insecure=True)

    assert path.stat().st_size > 0
    assert other_machine.engine.image(name) == image
    whole = other_machine.engine.fsck()
    assert (whole.issues, whole.notes, whole.unverifiable) == ((), (), ())
    other_machine.engine.save([name], tmp_path / "archive")


def test_built_and_foreign_layers_are_verified(machine: "Machine") -> None:
    report = machine.engine.fsck()

    assert (report.issues, report.unverifiable) == ((), ())
    assert report.snapshots >= 10
