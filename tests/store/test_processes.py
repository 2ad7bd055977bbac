"""Many processes at once, and processes killed at any moment."""

import contextlib
import multiprocessing
import os
import random
import signal
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

from imagekit.oci.digest import Digest
from imagekit.store.cache_records import CacheRecord
from imagekit.store.errors import ContentNotFoundError, NameInUseError, SnapshotInUseError
from imagekit.store.layout import Store
from tests.store.conftest import ImageMaker

LAYERS = [b"a" * 1000, b"b" * 50_000, b"c", b"d" * 300_000]
FORK = multiprocessing.get_context("fork")


def one_operation(store: Store, dice: random.Random, report: int) -> None:
    """Do one thing that users do, with few names so that processes meet."""
    name = f"app:{dice.randrange(4)}"
    make = ImageMaker(store)
    match dice.randrange(10):
        case 0 | 1 | 2:
            layers = [dice.choice(LAYERS) for _ in range(dice.randint(1, 3))]
            image = make.image(*layers, tag=name)
            os.write(report, b"i")
            store.cache.put(
                CacheRecord(
                    key=name, operation="op", step=name, inputs={}, chain_id=image.chains[-1]
                )
            )
        case 3:
            store.images.delete(name)
        case 4:
            store.gc.prune()
        case 5:
            store.gc.prune(everything=True)
        case 6:
            store.gc.prune(keep_cache_bytes=dice.randrange(100_000))
        case 7:
            with contextlib.suppress(NameInUseError):
                identifier = os.urandom(6).hex()
                store.containers.add(
                    id=identifier, name=name, image=name, chain_id=None, state="{}"
                )
        case 8:
            for container in store.containers.all()[:1]:
                store.containers.remove(container.id)
        case _:
            for snapshot in store.snapshots.all()[:1]:
                with contextlib.suppress(SnapshotInUseError):
                    store.snapshots.remove(snapshot.chain_id)
    os.write(report, b".")


def work(root: Path, seed: int, operations: int, report: int) -> None:
    dice = random.Random(seed)
    with Store.open(root) as store:
        for _ in range(operations):
            one_operation(store, dice, report)


@contextlib.contextmanager
def worker(root: Path, seed: int, operations: int) -> Iterator[tuple[BaseProcess, int]]:
    """Fork a process that works on the store; it writes a byte for each thing it has done."""
    reader, writer = os.pipe()
    process = FORK.Process(target=work, args=(root, seed, operations, writer))
    process.start()
    os.close(writer)
    try:
        yield process, reader
    finally:
        process.kill()
        process.join()
        os.close(reader)


def test_eight_processes_at_once(tmp_path: Path) -> None:
    root = tmp_path / "store"

    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(worker(root, seed, 15)) for seed in range(8)]
        for process, _ in workers:
            process.join(90)

        assert [process.exitcode for process, _ in workers] == [0] * 8
    with Store.open(root) as store:
        assert store.gc.verify() == []
        assert os.listdir(store.paths.temporary) == []


def test_killed_at_any_moment_the_store_stays_whole(tmp_path: Path) -> None:
    root = tmp_path / "store"
    dice = random.Random(7)

    for round_number in range(20):
        # Two at a time: the second lives on while the first one's leftovers are swept.
        with (
            worker(root, 2 * round_number, 10**6) as (first, reader),
            worker(root, 2 * round_number + 1, 10**6) as (second, other_reader),
        ):
            for process, pipe in ((first, reader), (second, other_reader)):
                for _ in range(dice.randint(1, 12)):
                    assert os.read(pipe, 1)
                assert process.pid is not None
                os.kill(process.pid, signal.SIGKILL)
                process.join()
                assert process.exitcode == -signal.SIGKILL

        with Store.open(root) as store:
            assert store.gc.verify() == [], f"round {round_number}"
            assert os.listdir(store.paths.temporary) == []

    with Store.open(root) as store:
        for image in store.images.all():
            store.images.delete(image.name)
        for container in store.containers.all():
            store.containers.remove(container.id)
        store.gc.prune(everything=True)
        leftovers = [p for p in root.rglob("*") if p.is_file() and p.parent.name == "sha256"]
        assert leftovers == []
        assert os.listdir(store.paths.snapshots) == []


def test_lease_added_before_asking_survives_any_prune(tmp_path: Path) -> None:
    """A writer that finds a blob there and relies on it never loses it to a prune beside it."""
    root = tmp_path / "store"
    data = b"contended"
    digest = Digest.of(data)

    def rely(number: int) -> None:
        with Store.open(root) as store:
            for _ in range(60):
                with store.leases.hold(f"rely {number}") as lease:
                    lease.add("blob", digest)
                    if not store.blobs.has(digest):
                        store.blobs.put(data)
                    try:
                        assert store.blobs.read(digest) == data
                    except ContentNotFoundError:
                        os._exit(1)

    def prune() -> None:
        with Store.open(root) as store:
            for _ in range(60):
                store.gc.prune()

    processes = [FORK.Process(target=rely, args=(n,), daemon=True) for n in range(2)]
    processes.append(FORK.Process(target=prune, daemon=True))
    for process in processes:
        process.start()
    for process in processes:
        process.join(90)

    assert [process.exitcode for process in processes] == [0, 0, 0]
