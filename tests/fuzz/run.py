"""Fuzz the archive code: ``python -m tests.fuzz.run TARGET [--seconds 60]``; see ``make fuzz``.

With atheris installed the mutations follow coverage; without it they are random. Inputs that break
a promise are written to SCRATCH/crashes and end the run; inputs that reach new code collect in
SCRATCH/TARGET, from where ``tests.fuzz.keep`` takes what is worth keeping.
"""

import argparse
import importlib.util
import random
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

CORPUS = Path(__file__).parents[2] / "testdata/layers"
TARGETS = {
    "read": "archives",
    "apply": "archives",
    "compare": "archives",
    "decompress": "packed",
    "documents": "documents",
}
MAX_BYTES = 16 << 10
TIMEOUT_S = 20
MEMORY_MIB = 1024

Target = Callable[[bytes], None]


def main() -> None:
    """Run one target for a given time."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--scratch", type=Path, required=True, help="for what is found")
    options = parser.parse_args()
    seeds = CORPUS / TARGETS[options.target]
    found = options.scratch / options.target
    crashes = options.scratch / "crashes"
    for folder in (found, crashes):
        folder.mkdir(parents=True, exist_ok=True)
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed (pip install imagekit[fuzz]): mutating blindly")
        _run_blindly(options.target, options.seconds, seeds, crashes)
    else:
        _run_atheris(options.target, options.seconds, seeds, found, crashes)


def disputed() -> dict[str, bytes]:
    """Return the hand-made archives that programs read differently."""
    from tests.layers.test_reader_judged import BEYOND_UMOCI, SAME

    return SAME | BEYOND_UMOCI


def _target(name: str) -> Target:
    from tests.fuzz import targets

    if name == "apply":
        return targets.Applying()
    if name == "compare":
        return targets.Applying().compare
    target: Target = getattr(targets, name)
    return target


def _mutator(name: str) -> Callable[[bytes, random.Random, int], bytes]:
    from tests.fuzz import mutate

    return mutate.mutate if TARGETS[name] == "archives" else mutate.mutate_bytes


def _run_atheris(name: str, seconds: int, seeds: Path, found: Path, crashes: Path) -> None:
    import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]

    with atheris.instrument_imports(include=["imagekit.layers", "imagekit.oci", "imagekit.images"]):
        target, mutate = _target(name), _mutator(name)
    if TARGETS[name] == "archives":
        for disputed_name, data in disputed().items():
            (found / disputed_name).write_bytes(data)

    def change(data: bytes, max_bytes: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < 0.1:
            return bytes(atheris.Mutate(data, max_bytes))
        return mutate(data, chance, max_bytes)

    arguments = [
        sys.argv[0], f"-max_total_time={seconds}", f"-max_len={MAX_BYTES}",
        f"-timeout={TIMEOUT_S}", f"-rss_limit_mb={MEMORY_MIB}",
        f"-artifact_prefix={crashes}/{name}-", "-print_final_stats=1",
        "-verbosity=1", str(found), str(seeds),
    ]  # fmt: skip
    atheris.Setup(arguments, target, custom_mutator=change)
    atheris.Fuzz()


def _run_blindly(name: str, seconds: int, seeds: Path, crashes: Path) -> None:
    target, mutate = _target(name), _mutator(name)
    corpus = [path.read_bytes() for path in sorted(seeds.iterdir())]
    chance = random.Random()
    end = time.monotonic() + seconds
    executions = 0
    while time.monotonic() < end:
        data = chance.choice(corpus)
        for _ in range(chance.randrange(1, 6)):
            data = mutate(data, chance, MAX_BYTES)
        executions += 1
        try:
            target(data)
        except BaseException:
            path = crashes / f"{name}-crash-{sha256(data).hexdigest()[:40]}"
            path.write_bytes(data)
            print(f"after {executions} executions: {path}", file=sys.stderr)
            raise
    print(f"{executions} executions")


if __name__ == "__main__":
    main()
