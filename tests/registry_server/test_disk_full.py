"""A full disk: one clear answer, nothing half-written visible, and work goes on afterwards."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imagekit.oci.digest import Digest
from registry_server.testing import running_registry

if TYPE_CHECKING:
    from tests.registry_server.conftest import Api

pytestmark = pytest.mark.root


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mounted = tmp_path / "disk"
    mounted.mkdir()
    options = ["-t", "tmpfs", "-o", "size=4m", "tmpfs", str(mounted)]
    if subprocess.run(["mount", *options], check=False, capture_output=True).returncode != 0:
        pytest.skip("this machine does not let us mount")
    try:
        yield mounted
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


@pytest.mark.parametrize("durable", [False, True])
def test_full_disk_is_answered_and_leaves_nothing(
    small_disk: Path, make_api: "type[Api]", *, durable: bool
) -> None:
    content = bytes(range(256)) * 32_000
    digest = str(Digest.of(content))
    with running_registry(small_disk / "registry", durable=durable) as registry:
        api = make_api(registry.host)
        kept = api.push_blob("a", b"kept")

        answer = api("POST", f"/v2/a/blobs/uploads/?digest={digest}", content)

        assert answer.status == 507
        assert api("HEAD", f"/v2/a/blobs/{digest}").status == 404
        assert not list(small_disk.glob("registry/repositories/a/_uploads/*"))
        assert api("GET", f"/v2/a/blobs/{kept}").body == b"kept"
        assert api.push_blob("a", content[: 1 << 20]).startswith("sha256:")


def test_session_can_go_on_when_there_is_room_again(
    small_disk: Path, make_api: "type[Api]"
) -> None:
    content = bytes(range(256)) * 10_000
    ballast = small_disk / "ballast"
    with running_registry(small_disk / "registry") as registry:
        api = make_api(registry.host)
        location = api.start("a")
        ballast.write_bytes(bytes(2 << 20))
        assert api("PATCH", location, content).status == 507
        ballast.unlink()

        received = api("GET", location).header("Range")
        offset = 0 if received == "0-0" else int(received.removeprefix("0-")) + 1
        answer = api.put(location, str(Digest.of(content)), content[offset:])

        assert answer.status == 201
        assert api("GET", answer.location).body == content
