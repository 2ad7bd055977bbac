"""Large inputs: cost for each entry as trees grow, deep images, a layer of 5 GB, a sparse file.

``python tests/benchmarks/bench_scale.py [entries] [depth] [large] [sparse]``, all four if none is
named. Figures are medians; GNU tar's stand beside where it does the same work.
"""

import io
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from imagekit.layers.apply import WhiteoutForm, apply_layer
from imagekit.layers.diff import overlay_changes, tree_entries
from imagekit.layers.entry import Entry, EntryType
from imagekit.layers.pack import DigestingWriter, diff_digest, pack
from imagekit.layers.reader import TarReader
from imagekit.layers.write import write_layer
from imagekit.oci.mediatype import Compression
from tests.benchmarks.peers import IMAGEKIT, debian_base, need, peak_memory, run

COUNTS = (1_000, 10_000, 100_000)
DEPTH = 120
LARGE_BYTES = 5 << 30
SPARSE_BYTES = 20 << 30
RUNS = 3


def median(work: Callable[[], object], before: Callable[[], object] = lambda: None) -> float:
    times = []
    for _ in range(RUNS):
        before()
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def make_tree(root: pathlib.Path, count: int) -> None:
    for number in range(count):
        folder = root / f"d{number // 200}"
        if number % 200 == 0:
            folder.mkdir(parents=True)
        (folder / f"f{number}").write_text(f"file {number}\n")


def entries(work: pathlib.Path) -> None:
    """Microseconds for each entry; flat if the columns are equal."""
    print(f"{'us for each entry':36}" + "".join(f"{count:>10,}" for count in COUNTS))
    rows: dict[str, list[float]] = {}
    for count in COUNTS:
        root, target = work / f"tree-{count}", work / f"target-{count}"
        make_tree(root, count)
        output = io.BytesIO()
        pack(
            tree_entries(root),
            DigestingWriter(output),
            compression=Compression.NONE,
            nanoseconds=True,  # or what is unpacked would differ from the tree
        )
        data = output.getvalue()
        archive = work / "tree.tar"
        archive.write_bytes(data)

        def fresh(target: pathlib.Path = target) -> None:
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()

        def tar(*words: str) -> Callable[[], object]:
            return lambda: subprocess.run(["tar", *words], check=True, stdout=subprocess.DEVNULL)

        def read(data: bytes = data) -> int:
            return sum(1 for _ in TarReader(io.BytesIO(data)))

        def apply(data: bytes = data, target: pathlib.Path = target) -> object:
            return apply_layer(io.BytesIO(data), target, form=WhiteoutForm.OVERLAY_TRUSTED)

        def unpacked(target: pathlib.Path = target, data: bytes = data) -> None:
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()
            apply_layer(io.BytesIO(data), target, form=WhiteoutForm.OVERLAY_TRUSTED)

        def unchanged(root: pathlib.Path = root, target: pathlib.Path = target) -> None:
            assert not list(overlay_changes(target, (root,)))

        def tree(root: pathlib.Path = root) -> object:
            return diff_digest(tree_entries(root))

        figures = {
            "read": median(read),
            "unpack": median(apply, fresh),
            "unpack (GNU tar -x)": median(tar("-xf", str(archive), "-C", str(target)), fresh),
            "diff, tar, sha256": median(tree),
            "tar | sha256sum": median(
                lambda root=root: subprocess.run(  # type: ignore[misc] # a default binds it
                    ["sh", "-c", f"tar -c -C {root} . | sha256sum"],
                    check=True,
                    stdout=subprocess.DEVNULL,
                )
            ),
            "diff of an equal upper directory": median(unchanged, unpacked),
        }
        for title, seconds in figures.items():
            rows.setdefault(title, []).append(seconds / count * 1e6)
        shutil.rmtree(root)
        shutil.rmtree(target)
    for title, row in rows.items():
        print(f"{title:36}" + "".join(f"{figure:10.1f}" for figure in row))


def depth(work: pathlib.Path) -> None:
    """Build, run and commit on 120 layers beside one layer."""
    ours = [*IMAGEKIT, "--root", str(work / "store")]
    run([*ours, "import", str(debian_base()), "base"])
    steps = "".join(f"COPY <<EOF /f{number}\n{number}\nEOF\n" for number in range(DEPTH))
    (work / "Dockerfile").write_text(f"FROM base\n{steps}")
    build = [*ours, "build", "-q", "-t", "deep", str(work)]
    print(f"build of {DEPTH} COPY steps {run(build) * 1e3 / DEPTH:8.1f} ms for each")
    print(f"the same, all cached {median(lambda: run(build)) * 1e3:13.1f} ms")
    for name in ("base", "deep"):
        seconds = median(lambda name=name: run([*ours, "run", "--rm", name, "true"]))  # type: ignore[misc] # a default binds it
        print(f"run {name:4} {seconds * 1e3:25.1f} ms")
    run([*ours, "run", "--name", "box", "deep", "touch", "/new"])
    seconds = median(lambda: run([*ours, "commit", "box", "deeper"]))
    print(f"commit on deep {seconds * 1e3:19.1f} ms")


class _Repeated:
    """Content that is ``text`` over and over."""

    def __init__(self, text: bytes) -> None:
        self._text = text

    def chunks(self, size: int) -> Iterator[bytes]:
        while size > 0:
            yield self._text[:size]
            size -= len(self._text)


def large(work: pathlib.Path) -> None:
    """Peak memory of a layer of 5 GB on its way in, out and in again."""
    text = b"".join(os.urandom(200) + b"words that repeat " * 180 for _ in range(300))
    entry = Entry(
        path="large", type=EntryType.REGULAR, mode=0o644, size=LARGE_BYTES, content=_Repeated(text)
    )
    with (work / "in.tar").open("wb") as file:
        write_layer([entry], file)
    first = [*IMAGEKIT, "--root", str(work / "first")]
    second = [*IMAGEKIT, "--root", str(work / "second")]
    archive = str(work / "out.tar")
    for title, command in (
        ("import", [*first, "import", str(work / "in.tar"), "large"]),
        ("save", [*first, "save", "-o", archive, "large"]),
        ("load", [*second, "load", "-i", archive]),
    ):
        started = time.perf_counter()
        memory = peak_memory(command)
        print(f"{title:10} {memory:6.0f} MB peak {time.perf_counter() - started:8.1f} s")


def sparse(work: pathlib.Path) -> None:
    """A file of 20 GB without a byte of data, as a layer."""
    root = work / "sparse"
    root.mkdir()
    (root / "file").touch()
    os.truncate(root / "file", SPARSE_BYTES)
    ours = [*IMAGEKIT, "--root", str(work / "sparse-store")]
    started = time.perf_counter()
    memory = peak_memory([*ours, "import", str(root), "sparse"])
    print(f"import     {memory:6.0f} MB peak {time.perf_counter() - started:8.1f} s")


ALL = {"entries": entries, "depth": depth, "large": large, "sparse": sparse}


def main() -> None:
    """Measure and print."""
    need("tar", "mmdebstrap")
    for name in sys.argv[1:] or ALL:
        print(f"-- {name}")
        with tempfile.TemporaryDirectory(prefix="imagekit-bench-") as folder:
            ALL[name](pathlib.Path(folder))


if __name__ == "__main__":
    main()
