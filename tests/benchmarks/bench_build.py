"""Build, rebuild, push and run beside buildah, podman and docker: ratios of medians of one run.

A Debian base, a context of 2,000 small files and one of 100 MB, four RUN steps. The peers run with
what works on any machine: buildah's chroot isolation, the overlay driver where it mounts.
"""

import pathlib
import shutil
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from tests.benchmarks.peers import (
    IMAGEKIT,
    Table,
    debian_base,
    docker_daemon,
    make_context,
    need,
    peak_memory,
    registry,
    run,
)

ROUNDS = 3


def main() -> None:
    """Measure and print."""
    need("buildah", "podman")
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with tempfile.TemporaryDirectory(prefix="imagekit-bench-") as name:
        work = pathlib.Path(name)
        context = work / "context"
        context.mkdir()
        make_context(context)
        ours = [*IMAGEKIT, "--root", str(work / "store")]
        storage = [
            *("--root", str(work / "peer"), "--runroot", str(work / "peer-run")),
            *("--storage-driver", "overlay"),
        ]
        buildah = ["buildah", *storage]
        run([*ours, "import", str(debian_base()), "localhost/bench/debian:12"])
        (work / "Base").write_text("FROM scratch\nADD debian.tar /\n")
        shutil.copy(debian_base(), work / "debian.tar")
        base = ["bud", "--isolation", "chroot", "-f", str(work / "Base")]
        run([*buildah, *base, "-t", "localhost/bench/debian:12", str(work)])
        table = Table()
        our_build = [*ours, "build", "-q", "-t", "localhost/bench/app", str(context)]
        bud = [*buildah, "bud", "-q", "--layers", "--isolation", "chroot"]
        peer_build = [*bud, "-t", "localhost/bench/app", str(context)]
        peer_build_again = [*bud, "--no-cache", "-t", "localhost/bench/app", str(context)]
        table.measure(
            "build, nothing cached (buildah bud --layers)",
            lambda: run([*our_build, "--no-cache"]),
            lambda: run(peer_build_again),
            aim=0.4,
            rounds=rounds,
        )
        run(our_build)
        run(peer_build)
        table.measure(
            "build, all cached (buildah bud --layers)",
            lambda: run(our_build),
            lambda: run(peer_build),
            aim=0.1,
            rounds=rounds,
        )
        serial = iter(range(1000))

        def push(command: list[str], *, prefix: str, flags: list[str]) -> float:
            # A registry of its own each time: no blob is there, and none can be mounted.
            with registry(work / f"registry-{next(serial)}") as host:
                return run([*command, *flags, "localhost/bench/app", f"{prefix}{host}/app:1"])

        table.measure(
            "push to an empty registry (buildah push)",
            lambda: push([*ours, "push"], prefix="", flags=[]),
            lambda: push(
                [*buildah, "push"], prefix="docker://", flags=["-q", "--tls-verify=false"]
            ),
            aim=0.6,
            rounds=rounds,
        )
        podman = ["podman", *storage, "--cgroup-manager", "cgroupfs", "--runtime", "runc"]
        limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]
        table.measure(
            "run --rm --network none IMAGE true (podman run)",
            lambda: run([*ours, "run", "--rm", "--network", "none", "localhost/bench/app", "true"]),
            lambda: run(
                [
                    *(*podman, "run", "--rm", "--network", "none", *limits),
                    *("localhost/bench/app", "true"),
                ]
            ),
            aim=0.25,
            rounds=max(rounds, 5),
        )
        with docker_daemon(work / "docker") as docker:
            if docker is None:
                print("docker run: not measured, docker.io is not installed")
            else:
                archive = work / "app.tar"
                run([*ours, "save", "-o", str(archive), "localhost/bench/app"])
                run([*docker, "load", "-q", "-i", str(archive)])
                words = ("run", "--rm", "--network", "none", "localhost/bench/app", "true")
                table.measure(
                    "run --rm --network none IMAGE true (docker run)",
                    lambda: run([*ours, *words]),
                    lambda: run([*docker, *words]),
                    aim=0.25,
                    rounds=max(rounds, 5),
                )
        table.print_all()
        memory = peak_memory([*our_build, "--no-cache"])
        print(f"\npeak memory of a build without cache: {memory:.0f} MB (aim: below 150)")


if __name__ == "__main__":
    main()
