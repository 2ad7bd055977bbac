"""Images of very many layers."""

from typing import TYPE_CHECKING

import pytest

from imagekit.containers.request import RunRequest
from imagekit.containers.stdio import Stdio
from imagekit.sandbox.spec import NetworkMode

if TYPE_CHECKING:
    from tests.build.conftest import World

pytestmark = pytest.mark.root
DEPTH = 120


def test_an_image_of_120_layers_is_built_run_and_committed(world: "World") -> None:
    steps = "".join(f"COPY <<EOF /f{number}\n{number}\nEOF\n" for number in range(DEPTH))
    built = world.build(f"FROM busybox:test\n{steps}RUN rm /f0\n", tags=("deep:1",))
    assert len(built.image.manifest.layers) == DEPTH + 2
    again = world.build(f"FROM busybox:test\n{steps}RUN rm /f0\n", tags=("deep:1",))
    assert again.image.id == built.image.id

    containers = world.engine.containers
    check = f"test ! -e /f0 && test `cat /f{DEPTH - 1}` = {DEPTH - 1} && echo new > /f1"
    request = RunRequest(image="deep:1", command=("sh", "-c", check), network=NetworkMode.NONE)
    ran = containers.run(request, Stdio())
    assert ran.exit_code == 0

    committed = containers.commit(ran.id, "deep:2")
    assert len(committed.manifest.layers) == DEPTH + 3
    containers.remove(ran.id)
    request = RunRequest(
        image="deep:2", command=("grep", "new", "/f1"), network=NetworkMode.NONE, remove=True
    )
    assert containers.run(request, Stdio()).exit_code == 0
