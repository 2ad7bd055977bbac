import contextlib
import os
import subprocess
import sys
from pathlib import Path

from imagekit.oci.digest import Digest
from imagekit.store.layout import Store

DIE_WITH_A_LEASE = """
import os, sys
from pathlib import Path
from imagekit.store.layout import Store
store = Store.open(Path(sys.argv[1]))
with store.leases.hold("doomed") as lease:
    snapshot = store.snapshots.prepare(lease)
    (snapshot.fs / "half").write_text("written")
    store.blobs.writer().write(b"half")
    lease.add("blob", store.blobs.put(b"orphan"))
    os.kill(os.getpid(), 9)
"""


def leftovers(store: Store) -> dict[str, list[str]]:
    return {
        "tmp": os.listdir(store.paths.temporary),
        "snapshots": os.listdir(store.paths.snapshots),
    }


def test_lease_ends_with_its_block(store: Store) -> None:
    with contextlib.suppress(ZeroDivisionError), store.leases.hold("test") as lease:
        lease.add("blob", Digest.of(b"x"))
        raise ZeroDivisionError

    assert store._database.rows("SELECT * FROM leases") == []
    assert store._database.rows("SELECT * FROM lease_items") == []


def test_add_is_idempotent_and_drop_of_nothing_does_nothing(store: Store) -> None:
    with store.leases.hold("test") as lease:
        lease.add("blob", Digest.of(b"x"), Digest.of(b"y"))
        lease.add("blob", Digest.of(b"x"))
        lease.drop("chain", Digest.of(b"x"))

        assert len(store._database.rows("SELECT * FROM lease_items")) == 2


def test_open_clears_away_what_a_killed_process_held(store: Store) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", DIE_WITH_A_LEASE, store.root], cwd=Path.cwd(), check=False
    )
    assert killed.returncode == -9
    assert all(leftovers(store).values())

    with Store.open(store.root) as reopened:
        assert not any(leftovers(reopened).values())
        assert reopened.gc.prune().blobs == (Digest.of(b"orphan"),)
        assert reopened.gc.verify() == []


def test_open_leaves_alone_what_a_living_process_holds(store: Store) -> None:
    with store.leases.hold("test") as lease, store.blobs.writer() as writer:
        prepared = store.snapshots.prepare(lease)
        writer.write(b"half")

        with Store.open(store.root) as other:
            other.gc.prune(everything=True)

        assert prepared.fs.is_dir()
        assert writer.commit() == Digest.of(b"half")
