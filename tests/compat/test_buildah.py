"""An image that buildah built is pulled, run and extended."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from registry_server.testing import running_registry

if TYPE_CHECKING:
    from tests.compat.conftest import Machine

pytestmark = [pytest.mark.root, pytest.mark.peer]

Peer = Callable[..., str]

DOCKERFILE = """
FROM scratch
COPY busybox /bin/busybox
COPY busybox /bin/sh
RUN mkdir /work && echo "by buildah" > /work/a && echo gone > /work/b
RUN rm /work/b && ln /work/a /work/c && ln -s a /work/d
ENV BUILT_BY=buildah PATH=/bin
WORKDIR /work
CMD ["sh", "-c", "busybox cat a; busybox ls; echo $BUILT_BY"]
"""


@pytest.fixture(scope="module")
def buildah(peer: Peer) -> Iterator[Callable[..., str]]:
    """Run buildah on a storage of its own."""
    directory = Path(tempfile.mkdtemp(prefix="buildah-"))
    storage = ("--root", directory / "root", "--runroot", directory / "run")

    def run(command: str, *arguments: str | Path) -> str:
        return peer("buildah", *storage, "--storage-driver", "vfs", command, *arguments)

    try:
        yield run
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.mark.parametrize("kind", ["oci", "docker"])
def test_an_image_of_buildah_is_pulled_run_and_extended(
    other_machine: "Machine", buildah: Callable[..., str], busybox: Path, tmp_path: Path, kind: str
) -> None:
    context = tmp_path / "context"
    context.mkdir()
    shutil.copy(busybox, context / "busybox")
    (context / "Dockerfile").write_text(DOCKERFILE)
    buildah(
        "bud",
        "--isolation",
        "chroot",
        "--layers",
        "--format",
        kind,
        "-t",
        f"theirs-{kind}",
        context,
    )
    with running_registry(tmp_path / "registry") as registry:
        name = f"{registry.host}/team/theirs:{kind}"
        buildah("push", "--tls-verify=false", f"theirs-{kind}", f"docker://{name}")

        other_machine.engine.pull(name, insecure=True)

        assert other_machine.run(name) == (0, "by buildah\na\nc\nd\nbuildah\n")
        other_machine.build(
            f'FROM {name}\nRUN echo "by imagekit" > e && busybox rm c\nENV BUILT_BY=both\n',
            "extended:1",
        )
        assert other_machine.run("extended:1") == (0, "by buildah\na\nd\ne\nboth\n")
        other_machine.engine.push("extended:1", f"{registry.host}/team/ours:{kind}", insecure=True)
        pulled = buildah("pull", "--tls-verify=false", f"docker://{registry.host}/team/ours:{kind}")
    container = buildah("from", pulled.strip()).strip()
    assert buildah("run", "--isolation", "chroot", container, "busybox", "cat", "e") == (
        "by imagekit\n"
    )
