"""How long the Dockerfile front end takes: parsing, refusing, matching ignore patterns, loading.

    python tests/benchmarks/bench_dockerfile.py

Prints one line per figure: what, the median, and the time that it has to stay under.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from imagekit.dockerfile.dump import dump
from imagekit.dockerfile.errors import DockerfileError
from imagekit.dockerfile.ignore import IgnoreMatcher
from imagekit.dockerfile.parse import parse

_BLOCK = """\
# install what the next step needs
RUN --mount=type=cache,target=/var/cache/apt apt-get update && \\
    apt-get install -y --no-install-recommends \\
    ca-certificates curl
ENV A=1 B="two words" C=$A
COPY --chown=app:app --from=base /a /b/
LABEL org.opencontainers.image.title="x" other=y
CMD ["serve", "--port", "8080"]
WORKDIR /srv/$NAME
EXPOSE 8080/tcp 53/udp
"""
_PATTERNS = "\n".join(
    [
        *(f"directory{number}/" for number in range(15)),
        *(f"**/*.ext{number}" for number in range(10)),
        *(f"**/cache{number}" for number in range(10)),
        *(f"src/*/build{number}/**" for number in range(5)),
        *(f"*.tmp{number}" for number in range(5)),
        "**/node_modules/**/*.map",
        "!directory3/keep/**",
        "!**/important.ext2",
        "*.md",
        "!README.md",
    ]
)


def _median_s(call: Callable[[], object], rounds: int = 7) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _report(what: str, seconds: float, limit_s: float) -> None:
    print(f"{what:<52} {seconds * 1000:9.2f} ms   limit {limit_s * 1000:.0f} ms")


def _refuse_long_line() -> None:
    try:
        parse("FROM a\nRUN " + "x" * (1 << 20))
    except DockerfileError:
        return
    raise AssertionError("a line of 1 MiB was accepted")


def _match_all(paths: list[str]) -> None:
    matcher = IgnoreMatcher.parse(_PATTERNS)
    for path in paths:
        matcher.excludes(path)


def _import_s(module: str) -> float:
    code = (
        "import msgspec, re, time; start = time.perf_counter(); "
        f"import {module}; print(time.perf_counter() - start)"
    )
    times = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
        for _ in range(9)
    ]
    return statistics.median(times)


def main() -> None:
    """Print the figures."""
    body = _BLOCK * (4990 // _BLOCK.count("\n"))
    long_file = "FROM scratch AS base\n" + body
    short_file = "\n".join(long_file.split("\n")[:21]) + "\n"
    paths = [
        f"directory{index % 20}/sub{index % 97}/deep{index % 13}/file{index}.ext{index % 23}"
        for index in range(100_000)
    ]
    assert len(_PATTERNS.split("\n")) == 50
    _report(f"parse {len(long_file.splitlines())} lines", _median_s(lambda: parse(long_file)), 0.1)
    _report("parse 20 lines", _median_s(lambda: parse(short_file), 50), 0.002)
    _report("dump 5,000 lines", _median_s(lambda: dump(long_file)), 0.1)
    _report("refuse a line of 1 MiB", _median_s(_refuse_long_line), 0.1)
    _report("match 100,000 paths, 50 patterns", _median_s(lambda: _match_all(paths), 3), 1.5)
    _report(
        "import imagekit.dockerfile.parse, after msgspec",
        _import_s("imagekit.dockerfile.parse"),
        0.02,
    )
    _report(
        "import imagekit.dockerfile.ignore, after msgspec",
        _import_s("imagekit.dockerfile.ignore"),
        0.02,
    )


if __name__ == "__main__":
    main()
