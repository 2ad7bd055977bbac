"""Debian's docker-registry takes imagekit's push and serves its pull."""

import http.client
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from imagekit.oci.mediatype import Compression

if TYPE_CHECKING:
    from tests.compat.conftest import Machine

pytestmark = [pytest.mark.root, pytest.mark.peer]

CONFIG = """
version: 0.1
log: {{accesslog: {{disabled: true}}, level: error}}
storage:
  filesystem: {{rootdirectory: {root}}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{port}"}}
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until_it_answers(port: int, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(200):
        assert process.poll() is None, "docker-registry ended"
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/v2/")
            assert connection.getresponse().status == 200
            return
        except ConnectionRefusedError:
            time.sleep(0.05)
        finally:
            connection.close()
    raise AssertionError("docker-registry does not answer")


@pytest.fixture(scope="module")
def docker_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry of another project; where it listens."""
    if shutil.which("docker-registry") is None:
        pytest.skip("docker-registry is not installed")
    directory, port = tmp_path_factory.mktemp("docker-registry"), free_port()
    config = directory / "config.yml"
    config.write_text(CONFIG.format(root=directory / "storage", port=port))
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", config], stdout=log, stderr=log)
        try:
            wait_until_it_answers(port, process)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)


def test_a_push_is_taken_and_a_pull_is_served(
    machine: "Machine", other_machine: "Machine", docker_registry: str
) -> None:
    name = f"{docker_registry}/team/app:1"

    machine.engine.push("rich:1", name, insecure=True)
    pulled = other_machine.engine.pull(name, insecure=True)

    assert pulled.digest == machine.engine.image("rich:1").descriptor.digest
    assert other_machine.run(name) == (0, "hello\n1000\n")


def test_a_pull_by_digest(
    machine: "Machine", other_machine: "Machine", docker_registry: str
) -> None:
    digest = machine.engine.push("rich:1", f"{docker_registry}/by/digest:1", insecure=True)
    name = f"{docker_registry}/by/digest@{digest.root.digest}"

    other_machine.engine.pull(name, insecure=True)

    assert other_machine.engine.image(name).descriptor.digest == digest.root.digest


def test_a_second_push_moves_no_layer(machine: "Machine", docker_registry: str) -> None:
    machine.engine.push("rich:1", f"{docker_registry}/twice/app:1", insecure=True)

    again = machine.engine.push("rich:1", f"{docker_registry}/twice/app:2", insecure=True)

    assert again.moved_bytes < 10_000


@pytest.mark.parametrize("compression", [Compression.ZSTD, Compression.NONE])
def test_a_converted_image_is_taken_and_served(
    machine: "Machine", other_machine: "Machine", docker_registry: str, compression: Compression
) -> None:
    name = f"{docker_registry}/converted/{compression}:1"
    conversion = machine.engine.convert("rich:1", name, compression=compression)

    machine.engine.push(name, insecure=True)
    pulled = other_machine.engine.pull(name, insecure=True)

    assert pulled.digest == conversion.descriptor.digest
    assert pulled.id == machine.engine.image("rich:1").id
    assert other_machine.run(name) == (0, "hello\n1000\n")


def test_what_skopeo_converted_there_is_pulled(
    machine: "Machine", other_machine: "Machine", docker_registry: str
) -> None:
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed")
    source = f"docker://{docker_registry}/convert/app:1"
    target = f"docker://{docker_registry}/convert/app:docker"
    machine.engine.push("rich:1", source.removeprefix("docker://"), insecure=True)
    subprocess.run(
        ["skopeo", "--insecure-policy", "copy", "--format=v2s2", "--src-tls-verify=false",
         "--dest-tls-verify=false", source, target],
        check=True, capture_output=True,
    )  # fmt: skip

    other_machine.engine.pull(target.removeprefix("docker://"), insecure=True)

    assert other_machine.run(target.removeprefix("docker://")) == (0, "hello\n1000\n")
