"""Pull, with unpacking, beside buildah and docker: ratios of medians of one run.

A Debian base, packed by gzip, from the bundled registry on the loopback; every pull goes into an
empty store. What a pull leaves is what a container starts from: imagekit's is unpacked by then, as
the peers' are.
"""

import contextlib
import os
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from tests.benchmarks.peers import (
    IMAGEKIT,
    Table,
    debian_base,
    docker_daemon,
    need,
    peak_memory,
    registry,
    run,
)

ROUNDS = 5
AIM = 0.5


def main() -> None:
    """Measure and print."""
    need("buildah")
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    table = Table()
    with contextlib.ExitStack() as stack:
        work = pathlib.Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="imagekit-bench-"))
        )
        host = stack.enter_context(registry(work / "registry"))
        name = f"{host}/debian:12"
        first = [*IMAGEKIT, "--root", str(work / "first")]
        run([*first, "import", str(debian_base()), name])
        run([*first, "push", name])
        serial = iter(range(10_000))

        def ours() -> list[str]:
            os.sync()  # what the peer has just written, or removed, is not our work; nor ours its
            return [*IMAGEKIT, "--root", str(work / f"store-{next(serial)}"), "pull", name]

        def buildah() -> float:
            os.sync()
            number = next(serial)
            storage = ["--root", str(work / f"peer-{number}"), "--storage-driver", "overlay"]
            storage += ["--runroot", str(work / f"peer-run-{number}")]
            return run(["buildah", *storage, "pull", "-q", "--tls-verify=false", name])

        title = "pull of a Debian base ({} pull)"
        table.measure(title.format("buildah"), lambda: run(ours()), buildah, aim=AIM, rounds=rounds)
        docker = stack.enter_context(docker_daemon(work / "docker"))
        if docker is None:
            print("docker pull: not measured, docker.io is not installed")
        else:

            def docker_pull() -> float:
                os.sync()
                took = run([*docker, "pull", "-q", name])
                run([*docker, "rmi", name])
                return took

            table.measure(
                title.format("docker"), lambda: run(ours()), docker_pull, aim=AIM, rounds=rounds
            )
        table.print_all()
        print(f"\npeak memory of a pull: {peak_memory(ours()):.0f} MB (aim: below 100)")


if __name__ == "__main__":
    main()
