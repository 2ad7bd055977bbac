"""Layer archives against Python's tarfile and GNU tar: ``python tests/benchmarks/bench_layers.py``.

Prints the best of several runs, each in a process state warmed by the run before, for a tree of
2,000 small files and for one file of 256 MiB, the peak memory of packing the latter, and what
looking for changes costs in trees of 1,000 to 100,000 entries. Levels of compression are compared
on a minimal Debian, which is made with mmdebstrap when it is not there.
"""

import functools
import hashlib
import io
import os
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from imagekit.layers.apply import WhiteoutForm, apply_layer
from imagekit.layers.changes import changes_since
from imagekit.layers.compression import (
    GZIP_LEVEL,
    LEVELS,
    ZSTD_LEVEL,
    compressor,
    open_layer,
)
from imagekit.layers.diff import tree_entries
from imagekit.layers.pack import DigestingWriter, diff_digest, pack
from imagekit.layers.scan import scan
from imagekit.linux.cpus import usable_cpus
from imagekit.oci.mediatype import Compression
from tests.benchmarks.peers import debian_base

FILES = 2000
BIG_BYTES = 256 << 20
RUNS = 7


class Null:
    """Count what is written and forget it."""

    def __init__(self) -> None:
        self.size = 0

    def write(self, data: bytes, /) -> int:
        self.size += len(data)
        return len(data)


class Hashing(Null):
    """As ``Null``, hashing."""

    def __init__(self) -> None:
        super().__init__()
        self.hash = hashlib.sha256()

    def write(self, data: bytes, /) -> int:
        self.hash.update(data)
        return len(data)


def best(work: Callable[[], object], before: Callable[[], object] = lambda: None) -> float:
    times = []
    for _ in range(RUNS):
        before()
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def make_small(root: Path) -> None:
    for number in range(FILES):
        folder = root / f"package-{number // 100}"
        folder.mkdir(exist_ok=True)
        (folder / f"module_{number}.py").write_bytes(os.urandom(600) + b"text " * 280)


def make_big(root: Path) -> None:
    with open(root / "big", "wb") as file:
        file.writelines(
            os.urandom(400 << 10) + b"some text of a log file " * 26_000
            for _ in range(BIG_BYTES >> 20)
        )


def tarfile_write(root: Path) -> None:
    with tarfile.open(fileobj=Hashing(), mode="w|") as archive:  # type: ignore[call-overload]
        archive.add(root, arcname=".")


def tarfile_read(data: bytes, target: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(target, filter="fully_trusted")


def show(name: str, ours: float, theirs: dict[str, float]) -> None:
    others = "  ".join(
        f"{key} {value * 1e3:8.1f} ms ({value / ours:4.1f}x)" for key, value in theirs.items()
    )
    print(f"{name:34} imagekit {ours * 1e3:8.1f} ms  {others}")


def bench_small(work: Path) -> None:
    root, target = work / "small", work / "target"
    root.mkdir()
    make_small(root)
    output = io.BytesIO()
    pack(tree_entries(root), DigestingWriter(output), compression=Compression.NONE)
    data = output.getvalue()
    archive = work / "small.tar"
    archive.write_bytes(data)

    def fresh() -> None:
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()

    show(
        f"write + sha256, {FILES} files",
        best(lambda: diff_digest(tree_entries(root))),
        {
            "tarfile": best(lambda: tarfile_write(root)),
            "GNU tar": best(
                lambda: subprocess.run(
                    ["sh", "-c", f"tar --sort=name --numeric-owner -C {root} -c . | sha256sum"],
                    check=True,
                    stdout=subprocess.DEVNULL,
                )
            ),
        },
    )
    show(
        f"unpack, {FILES} files",
        best(
            lambda: apply_layer(io.BytesIO(data), target, form=WhiteoutForm.OVERLAY_TRUSTED), fresh
        ),
        {
            "tarfile": best(lambda: tarfile_read(data, target), fresh),
            "GNU tar": best(
                lambda: subprocess.run(["tar", "-xf", archive, "-C", target], check=True), fresh
            ),
        },
    )


def bench_big(work: Path) -> None:
    root = work / "big"
    root.mkdir()
    make_big(root)
    for compression in Compression:
        packed = {}

        def run(compression: Compression = compression) -> None:
            packed["layer"] = pack(  # noqa: B023
                tree_entries(root), DigestingWriter(Null()), compression=compression
            )

        seconds = best(run)
        layer = packed["layer"]
        rate = layer.uncompressed_size / seconds / 1e6
        print(
            f"pack {compression:30} {seconds * 1e3:8.1f} ms  {rate:6.0f} MB/s  "
            f"to {layer.size / layer.uncompressed_size:.2f}"
        )
        blob = work / "blob"
        with open(blob, "wb") as file:
            pack(tree_entries(root), DigestingWriter(file), compression=compression)

        def unpack(blob: Path = blob) -> None:
            with open(blob, "rb", buffering=0) as file:
                _, plain = open_layer(file)
                while plain.read(1 << 20):
                    pass

        seconds = best(unpack)
        print(
            f"read {compression:30} {seconds * 1e3:8.1f} ms  "
            f"{layer.uncompressed_size / seconds / 1e6:6.0f} MB/s"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"peak memory {peak >> 10} MiB")


def bench_levels(data: bytes) -> None:
    """What each level gives for the time of one core, on the files of a Debian."""

    def packing(kind: Compression, level: int, threads: int) -> float:
        output.size = 0
        packer = compressor(kind, output, level, threads=threads)
        for at in range(0, len(data), 1 << 20):
            packer.write(data[at : at + (1 << 20)])
        packer.close()
        return output.size / len(data)

    def zlib_1() -> float:
        packer = zlib.compressobj(1, wbits=31)
        pieces = (data[at : at + (1 << 20)] for at in range(0, len(data), 1 << 20))
        size = sum(len(packer.compress(piece)) for piece in pieces)
        return (size + len(packer.flush())) / len(data)

    output = Null()
    show_level("zlib 1 (gzip -1)", len(data), zlib_1)
    for level in LEVELS[Compression.GZIP]:
        show_level(
            f"gzip {level}", len(data), functools.partial(packing, Compression.GZIP, level, 1)
        )
    for level in (1, ZSTD_LEVEL, 9):
        show_level(
            f"zstd {level}", len(data), functools.partial(packing, Compression.ZSTD, level, 1)
        )
    for threads in (1, usable_cpus()):
        seconds = best(functools.partial(packing, Compression.GZIP, GZIP_LEVEL, threads))
        print(f"{f'one layer, gzip, {threads} threads':34} {len(data) / seconds / 1e6:6.0f} MB/s")


def show_level(name: str, size: int, work: Callable[[], float]) -> None:
    """Print the best of two by the time of the processors, which other load does not change."""
    times, ratio = [], 0.0
    for _ in range(2):
        start = time.process_time()
        ratio = work()
        times.append(time.process_time() - start)
    print(f"{name:34} {size / min(times) / 1e6:6.0f} MB/s of one core  to {ratio:.4f}")


def bench_scan(root: Path, count: int) -> None:
    """What a step costs without overlayfs: looking at the whole tree, and nothing has changed."""
    for number in range(count):
        folder = root / f"d{number // 50 % 40}" / f"e{number // 50}"
        if number % 50 == 0:
            folder.mkdir(parents=True)
        (folder / f"file-{number}").touch()
    time.sleep(2.1)  # most of a real tree is older than the scan, so that nothing is digested
    before = scan(root)
    entries = sum(len(found.all_names()) for found in before.directories.values())
    find = ["find", str(root), "-xdev", "-printf", "%i %m %U %G %n %s %T@ %C@ %l\\n"]
    seconds = {
        "scan": best(lambda: scan(root)),
        "empty diff": best(lambda: list(changes_since(root, before))),
        "find": best(lambda: subprocess.run(find, check=True, stdout=subprocess.DEVNULL)),
    }
    figures = "  ".join(f"{key} {value / entries * 1e6:5.1f} us" for key, value in seconds.items())
    size = len(before.to_bytes()) / entries
    print(f"{f'{entries} entries, for each':34} {figures}  ({size:.0f} bytes)")


def main() -> None:
    """Run everything in a temporary directory."""
    with tempfile.TemporaryDirectory() as folder:
        bench_levels(debian_base().read_bytes())
        bench_big(Path(folder))
        bench_small(Path(folder))
        for count in (1_000, 10_000, 100_000):
            bench_scan(Path(folder, f"scan-{count}"), count)


if __name__ == "__main__":
    main()
