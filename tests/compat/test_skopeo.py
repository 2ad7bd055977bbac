"""skopeo as a judge: it reads what imagekit pushes and saves, and writes what imagekit pulls."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from registry_server.testing import running_registry

if TYPE_CHECKING:
    from tests.compat.conftest import Machine

pytestmark = [pytest.mark.root, pytest.mark.peer]

Peer = Callable[..., str]
ANY_POLICY = "--insecure-policy"


def test_skopeo_inspects_a_pushed_image(machine: "Machine", peer: Peer, tmp_path: Path) -> None:
    image = machine.engine.image("rich:1")
    with running_registry(tmp_path / "registry") as registry:
        name = f"{registry.host}/team/rich:1"
        report = machine.engine.push("rich:1", name, insecure=True)

        seen = json.loads(peer("skopeo", "inspect", "--tls-verify=false", f"docker://{name}"))
        config = json.loads(
            peer("skopeo", "inspect", "--config", "--tls-verify=false", f"docker://{name}")
        )

    assert seen["Digest"] == str(report.root.digest) == str(image.descriptor.digest)
    assert seen["Layers"] == [str(layer.digest) for layer in image.manifest.layers]
    assert seen["RepoTags"] == ["1"]
    assert "GREETING=hello" in seen["Env"]
    assert config["rootfs"]["diff_ids"] == [str(diff_id) for diff_id in image.config.diff_ids]
    assert config["config"]["User"] == "1000:1000"
    assert config["config"]["StopSignal"] == "SIGINT"


def test_an_image_goes_through_skopeo_and_back(
    machine: "Machine", other_machine: "Machine", peer: Peer, tmp_path: Path
) -> None:
    layout = tmp_path / "layout"
    with running_registry(tmp_path / "registry") as registry:
        machine.engine.push("rich:1", f"{registry.host}/team/rich:1", insecure=True)
        peer(
            "skopeo", ANY_POLICY, "copy", "--src-tls-verify=false",
            f"docker://{registry.host}/team/rich:1", f"oci:{layout}:1",
        )  # fmt: skip
        peer(
            "skopeo", ANY_POLICY, "copy", "--dest-tls-verify=false",
            f"oci:{layout}:1", f"docker://{registry.host}/back/rich:2",
        )  # fmt: skip

        pulled = other_machine.engine.pull(f"{registry.host}/back/rich:2", insecure=True)
        code, output = other_machine.run(f"{registry.host}/back/rich:2")

    assert pulled.digest == machine.engine.image("rich:1").descriptor.digest
    assert (code, output) == (0, "hello\n1000\n")


@pytest.mark.parametrize(
    "options",
    [
        ["--format=v2s2"],
        ["--format=oci", "--dest-compress-format=zstd"],
        ["--format=oci", "--dest-decompress"],
    ],
    ids=["docker", "zstd", "uncompressed"],
)
def test_images_that_skopeo_converted_are_pulled_and_run(
    machine: "Machine", other_machine: "Machine", peer: Peer, tmp_path: Path, options: list[str]
) -> None:
    archive, folder = tmp_path / "image.tar", tmp_path / "folder"
    machine.engine.save(["rich:1"], archive)
    with running_registry(tmp_path / "registry") as registry:
        name = f"{registry.host}/team/rich:1"
        if "--dest-decompress" in options:
            peer(
                "skopeo", ANY_POLICY, "copy", "--dest-decompress",
                f"oci-archive:{archive}", f"dir:{folder}",
            )  # fmt: skip
            source, options = f"dir:{folder}", ["--format=oci", "--dest-compress-format=gzip"]
        else:
            source = f"oci-archive:{archive}"
        peer(
            "skopeo", ANY_POLICY, "copy", "--dest-tls-verify=false", *options,
            source, f"docker://{name}",
        )  # fmt: skip

        other_machine.engine.pull(name, insecure=True)
        code, output = other_machine.run(name)

    assert (code, output) == (0, "hello\n1000\n")


@pytest.mark.parametrize("transport", ["oci-archive", "docker-archive"])
def test_skopeo_reads_a_saved_image(
    machine: "Machine", peer: Peer, tmp_path: Path, transport: str
) -> None:
    archive = tmp_path / "image.tar"
    machine.engine.save(["rich:1"], archive, transport)

    config = json.loads(peer("skopeo", "inspect", "--config", f"{transport}:{archive}"))

    image = machine.engine.image("rich:1")
    assert config["rootfs"]["diff_ids"] == [str(diff_id) for diff_id in image.config.diff_ids]


@pytest.mark.parametrize("transport", ["oci-archive", "docker-archive"])
def test_an_archive_that_skopeo_wrote_is_loaded_and_run(
    machine: "Machine", other_machine: "Machine", peer: Peer, tmp_path: Path, transport: str
) -> None:
    ours, theirs = tmp_path / "ours.tar", tmp_path / "theirs.tar"
    machine.engine.save(["rich:1"], ours)
    peer(
        "skopeo", ANY_POLICY, "copy", f"oci-archive:{ours}", f"{transport}:{theirs}:local/app:7"
    )  # fmt: skip

    names = other_machine.engine.load(theirs)
    code, output = other_machine.run(names[0])

    assert names == ("local/app:7",)
    assert (code, output) == (0, "hello\n1000\n")
