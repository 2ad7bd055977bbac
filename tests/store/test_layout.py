import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from imagekit.store.layout import Store
from tests.store.conftest import ImageMaker


def test_temporary_directory_goes_with_its_block(store: Store) -> None:
    with store.temporary_directory("context") as path:
        (path / "file").write_text("x")
        assert path.stat().st_mode & 0o7777 == 0o700
        with Store.open(store.root):
            assert path.is_dir()

    assert os.listdir(store.paths.temporary) == []


def test_stale_index_is_written_again_by_prune(store: Store, make: ImageMaker) -> None:
    image = make.image(b"one", tag="app:1")
    index = store.paths.content / "index.json"
    index.write_bytes(b"{}")

    store.gc.prune()

    (manifest,) = json.loads(index.read_bytes())["manifests"]
    assert manifest["digest"] == str(image.manifest.descriptor.digest)


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
def test_skopeo_reads_the_content_directory(store: Store, make: ImageMaker) -> None:
    image = make.image(b"one", tag="docker.io/library/app:1")

    output = subprocess.run(
        ["skopeo", "inspect", "--raw", f"oci:{store.paths.content}:docker.io/library/app:1"],
        check=True,
        capture_output=True,
    ).stdout

    assert output == image.manifest.raw


def test_importing_the_store_is_light() -> None:
    code = "import sys, imagekit.store.layout; print(*sys.modules)"

    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, cwd=Path.cwd()
    ).stdout.split()

    heavy = {b"requests", b"cryptography", b"tqdm", b"zstandard", b"isal", b"asyncio", b"ctypes"}
    assert heavy.isdisjoint(loaded)
