"""runc runs what imagekit built, from a bundle that umoci made of it."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.compat.conftest import Machine

pytestmark = [pytest.mark.root, pytest.mark.peer]


def test_runc_runs_the_image(machine: "Machine", peer: Callable[..., str], tmp_path: Path) -> None:
    archive, layout, bundle = tmp_path / "image.tar", tmp_path / "layout", tmp_path / "bundle"
    machine.engine.save(["rich:1"], archive)
    layout.mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", layout], check=True)
    peer("umoci", "unpack", "--image", f"{layout}:1", bundle)
    config = json.loads((bundle / "config.json").read_text())
    config["process"]["terminal"] = False
    config["linux"].pop("resources", None)
    (bundle / "config.json").write_text(json.dumps(config))

    done = subprocess.run(
        ["runc", "--root", tmp_path / "state", "run", "--no-new-keyring", "--bundle", bundle,
         f"imagekit-{tmp_path.name}"],
        capture_output=True, check=False, stdin=subprocess.DEVNULL, timeout=60,
    )  # fmt: skip

    assert (done.returncode, done.stdout) == (0, b"hello\n1000\n"), done.stderr
