"""The same build many times at once, in threads and in processes, on one store."""

import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from imagekit.build.errors import BuildHostError

if TYPE_CHECKING:
    from tests.build.conftest import Cli, World

pytestmark = pytest.mark.root
IMAGE = "busybox:test"
TEXT = f"""FROM {IMAGE} AS tools
COPY src /src
RUN cat /src/* > /all
FROM {IMAGE}
RUN --mount=type=cache,target=/c,sharing=locked date >> /c/log; wc -l < /c/log > /count
COPY --from=tools /all /all
WORKDIR /w
RUN echo done > done
"""


@pytest.fixture(autouse=True)
def files(fresh: "World") -> None:
    for number in range(20):
        fresh.write(f"src/{number}", str(number))
    fresh.write("Dockerfile", TEXT)


def test_threads(fresh: "World") -> None:
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda n: fresh.build(TEXT, tags=(f"t{n}:1",)), range(4)))

    assert fresh.store.gc.verify() == []
    for result in results:
        assert fresh.files(result.image)["w/done"].text == "done\n"
    fresh.build(TEXT)
    assert set(fresh.outcomes) == {"cached"}


def test_processes(fresh: "World", cli: "Cli") -> None:
    root = fresh.store.paths.root
    builds = [
        subprocess.Popen(
            cli.command("--root", root, "build", "-t", f"p{number}:1", fresh.context),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=cli.environment(),
            start_new_session=True,
        )
        for number in range(6)
    ]
    outputs = [build.communicate(timeout=60)[0] for build in builds]

    assert [build.returncode for build in builds] == [0] * 6, "\n".join(outputs)
    assert fresh.store.gc.verify() == []
    for number in range(6):
        assert fresh.files(fresh.engine.image(f"p{number}:1"))["all"].content


def test_a_stage_without_a_thread_ends_the_build(
    fresh: "World", monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "stage 0":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)

    with pytest.raises(BuildHostError, match="can't start new thread"):
        fresh.build(TEXT)
