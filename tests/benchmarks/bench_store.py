"""What a store's size costs: ``python tests/benchmarks/bench_store.py``.

Prints the best of several runs at 10, 100 and 1,000 images, in microseconds for each image of the
store. An image has three layers in common with nine others and one of its own, a config of a usual
size and a cache record. What is told for each image falls or stays where an operation takes its
time for the store as a whole, and grows where something is quadratic.
"""

import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from imagekit.images.local import LocalImages
from imagekit.oci import mediatype
from imagekit.oci.descriptor import Descriptor
from imagekit.oci.digest import Digest
from imagekit.oci.documents import encode
from imagekit.oci.image_config import ContainerConfig, History, ImageConfig, chain_ids
from imagekit.oci.manifest import Manifest
from imagekit.oci.platform import Platform
from imagekit.store.cache_records import CacheRecord
from imagekit.store.layout import Store

SIZES = (10, 100, 1000)
RUNS = 5
SHARED_BY = 10
HISTORY = tuple(History(created_by=f"RUN step {n} " + "x" * 60) for n in range(4))


class Maker:
    """Fills a store without the flushes that a real image takes its time for."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rows: list[tuple[str, bytes, str]] = []
        self._snapshots: dict[str, tuple[str, str | None, str]] = {}
        self._layers: set[Digest] = set()
        self._records: list[CacheRecord] = []

    def image(self, number: int) -> None:
        texts = [f"shared {number // SHARED_BY} {n}" for n in range(3)]
        diff_ids = tuple(self._blob(text.encode()) for text in (*texts, f"own {number}"))
        self._layers.update(diff_ids)
        config = ImageConfig(
            platform=Platform("linux", "amd64"),
            diff_ids=diff_ids,
            config=ContainerConfig(env=("PATH=/usr/bin:/bin",), labels={"number": str(number)}),
            history=HISTORY,
        ).to_json()
        manifest = Manifest.build(
            config=Descriptor(
                media_type=mediatype.OCI_CONFIG, digest=self._blob(config), size=len(config)
            ),
            layers=[
                Descriptor(media_type=mediatype.OCI_LAYER, digest=digest, size=16)
                for digest in diff_ids
            ],
        )
        self._blob(manifest.raw)
        parent = None
        for chain_id, diff_id in zip(chain_ids(diff_ids), diff_ids, strict=True):
            if str(chain_id) not in self._snapshots:
                identifier = f"{len(self._snapshots):016x}"
                (self._store.paths.snapshots / identifier / "fs").mkdir(parents=True)
                self._snapshots[str(chain_id)] = (identifier, parent, str(diff_id))
            parent = str(chain_id)
        name = f"registry.example/team/app:{number}"
        raw = encode(manifest.descriptor.to_raw())
        self._rows.append((name, raw, str(manifest.descriptor.digest)))
        self._records.append(
            CacheRecord(
                key=str(number),
                operation=str(number),
                step="s",
                inputs={"command": "RUN", "number": number},
                chain_id=Digest.parse(str(parent)),
            )
        )

    def finish(self) -> None:
        with self._store._database.write() as transaction:
            transaction.run_many("INSERT INTO images VALUES (?, ?, ?, 0)", self._rows)
            transaction.run_many(
                "INSERT INTO layers VALUES (?, ?, 'none', 16, 16)",
                [(str(digest), str(digest)) for digest in self._layers],
            )
            transaction.run_many(
                "INSERT INTO snapshots VALUES (?, ?, ?, ?, 8192, 0, 0, 1, '')",
                [(chain_id, *row) for chain_id, row in self._snapshots.items()],
            )
        for record in self._records:
            self._store.cache.put(record)
        self._store._recovery.refresh_index()

    def _blob(self, data: bytes) -> Digest:
        digest = Digest.of(data)
        path = self._store.blobs.path(digest)
        if not path.exists():
            path.write_bytes(data)
        return digest


@contextlib.contextmanager
def filled(number: int) -> Iterator[Store]:
    """Yield a store with so many images, as /var/lib/imagekit would hold them."""
    directory = Path(tempfile.mkdtemp(prefix="bench-store-"))
    try:
        with Store.open(directory / "store") as store:
            maker = Maker(store)
            for image in range(number):
                maker.image(image)
            maker.finish()
            yield store
    finally:
        shutil.rmtree(directory)


def best(work: Callable[[], object], *, runs: int = RUNS) -> float:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def reopen(store: Store) -> None:
    Store.open(store.root).close()


def measure(number: int) -> dict[str, float]:
    """Return seconds of each operation in a store with so many images."""
    with filled(number) as store:
        images = LocalImages(store)
        first = store.images.all()[0]
        names = iter(range(10**6))

        def rmi() -> None:
            # As Engine.remove_image does it, for a name that was given just now.
            images.remove(f"again:{next(names)}")
            store.gc.prune()

        found = {
            "open": best(lambda: reopen(store)),
            "tag": best(lambda: store.images.set(f"{os.urandom(8).hex()}:1", first.descriptor)),
            "images": best(images.list),
            "resolve": best(lambda: images.resolve("registry.example/team/app:7")),
            "df": best(store.gc.usage),
            "sizes": best(store.gc.sizes),
            "prune -n": best(lambda: store.gc.prune(dry_run=True)),
            "prune": best(store.gc.prune),
        }
        for again in range(RUNS):
            store.images.set(f"docker.io/library/again:{again}", first.descriptor)
        found["rmi"] = best(rmi)
        found["prune -a"] = best(lambda: store.gc.prune(everything=True, images=True), runs=1)
        assert list(store.blobs.all()) == []
        return found


def main() -> None:
    measured = {number: measure(number) for number in SIZES}
    print(f"{'operation':<10}" + "".join(f"{f'{n} images':>16}" for n in SIZES) + "   whole store")
    for operation in measured[SIZES[0]]:
        cells = "".join(f"{1e6 * measured[n][operation] / n:>11.1f} us/i" for n in SIZES)
        print(f"{operation:<10}{cells}{1e3 * measured[SIZES[-1]][operation]:>11.1f} ms")


if __name__ == "__main__":
    main()
