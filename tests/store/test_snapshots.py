import os
import threading

import pytest

from imagekit.oci.digest import Digest
from imagekit.oci.image_config import next_chain_id
from imagekit.store.errors import ContentNotFoundError, SnapshotInUseError, StoreCorruptError
from imagekit.store.layout import Store
from imagekit.store.leases import Lease
from imagekit.store.snapshots import CommittedSnapshot

DIFF = Digest.of(b"a layer")
A = next_chain_id(None, DIFF)
B = next_chain_id(A, DIFF)
C = next_chain_id(B, DIFF)


def commit(
    store: Store, lease: Lease, chain_id: Digest, parent: Digest | None = None
) -> CommittedSnapshot:
    prepared = store.snapshots.prepare(lease)
    (prepared.fs / "file").write_text(chain_id.hex)
    return store.snapshots.commit(prepared, chain_id=chain_id, parent_chain_id=parent, diff_id=DIFF)


def names(store: Store) -> set[str]:
    return set(os.listdir(store.paths.snapshots))


def test_chain_is_listed_topmost_first(store: Store) -> None:
    with store.leases.hold("test") as lease:
        a = commit(store, lease, A)
        b = commit(store, lease, B, A)
        c = commit(store, lease, C, B)

    assert store.snapshots.lowerdirs(C) == (c.fs, b.fs, a.fs)
    assert store.snapshots.lowerdirs(A) == (a.fs,)
    assert (c.fs / "file").read_text() == C.hex
    found = store.snapshots.get(B)
    assert found is not None
    assert (found.id, found.parent, found.durable) == (b.id, A, False)


def test_absent_snapshots(store: Store) -> None:
    assert store.snapshots.get(A) is None
    with pytest.raises(ContentNotFoundError):
        store.snapshots.lowerdirs(A)
    with store.leases.hold("test") as lease, pytest.raises(ContentNotFoundError):
        commit(store, lease, B, A)
    assert store.snapshots.get(B) is None


def test_directories_are_closed_to_others_but_the_layer_root_is_not(store: Store) -> None:
    old = os.umask(0o077)
    try:
        with store.leases.hold("test") as lease:
            prepared = store.snapshots.prepare(lease)

            modes = [p.stat().st_mode & 0o7777 for p in (prepared.path, prepared.fs)]
    finally:
        os.umask(old)

    assert modes == [0o700, 0o755]
    assert store.paths.snapshots.stat().st_mode & 0o7777 == 0o700


def test_second_commit_of_a_chain_gets_the_first(store: Store) -> None:
    with store.leases.hold("test") as lease:
        first = commit(store, lease, A)
        second = commit(store, lease, A)

    assert second.id == first.id
    assert names(store) == {first.id}


def test_duplicate_may_stay_until_its_lease_ends(store: Store) -> None:
    with store.leases.hold("test") as lease:
        first = commit(store, lease, A)
        duplicate = store.snapshots.prepare(lease)

        found = store.snapshots.commit(
            duplicate, chain_id=A, parent_chain_id=None, diff_id=A, keep_duplicate=True
        )

        assert found.id == first.id
        assert names(store) == {first.id, duplicate.id}
    assert names(store) == {first.id}


def test_racing_commits_agree(store: Store) -> None:
    results: list[CommittedSnapshot] = []
    barrier = threading.Barrier(6)

    def work() -> None:
        with store.leases.hold("race") as lease:
            prepared = store.snapshots.prepare(lease)
            barrier.wait(30)
            results.append(
                store.snapshots.commit(prepared, chain_id=A, parent_chain_id=None, diff_id=A)
            )

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({result.id for result in results}) == 1
    assert names(store) == {results[0].id}


def test_discard_leaves_nothing(store: Store) -> None:
    with store.leases.hold("test") as lease:
        prepared = store.snapshots.prepare(lease)
        store.snapshots.discard(prepared)
        store.snapshots.discard(prepared)

        assert names(store) == set()


def test_remove_from_the_top_only(store: Store) -> None:
    with store.leases.hold("test") as lease:
        a = commit(store, lease, A)
        commit(store, lease, B, A)

        with pytest.raises(SnapshotInUseError, match=f"snapshot {B}"):
            store.snapshots.remove(A)
        with pytest.raises(SnapshotInUseError, match="lease test"):
            store.snapshots.remove(B)
        lease.drop("chain", B)
        store.snapshots.remove(B)
        store.snapshots.remove(B)

    assert names(store) == {a.id}


def test_missing_parent_row_is_told_apart_from_an_absent_chain(store: Store) -> None:
    with store.leases.hold("test") as lease:
        commit(store, lease, A)
        commit(store, lease, B, A)
    with store._database.write() as transaction:
        transaction.run("DELETE FROM snapshots WHERE chain_id = ?", str(A))

    with pytest.raises(StoreCorruptError):
        store.snapshots.lowerdirs(B)
    assert [issue.code for issue in store.gc.verify()] == ["snapshot-parent"]


def test_flush_makes_all_pending_durable(store: Store) -> None:
    with store.leases.hold("test") as lease:
        commit(store, lease, A)
        store.flush()
        commit(store, lease, B, A)

        assert [s.durable for s in store.snapshots.all() if s.chain_id == A] == [True]
        assert [s.durable for s in store.snapshots.all() if s.chain_id == B] == [False]


def after_reboot(store: Store) -> Store:
    """Open the store again as if its rows had been written in another boot."""
    with store._database.write() as transaction:
        transaction.run("UPDATE meta SET value = '00000000' WHERE key = 'boot'")
        transaction.run("UPDATE snapshots SET boot = '00000000'")
    store.close()
    return Store.open(store.root)


def test_power_cut_drops_what_was_not_flushed(store: Store) -> None:
    with store.leases.hold("test") as lease:
        a = commit(store, lease, A)
        store.flush()
        commit(store, lease, B, A)
        commit(store, lease, C, B)
        # As if another process's flush had reached the child only.
        with store._database.write() as transaction:
            transaction.run("UPDATE snapshots SET durable = 1 WHERE chain_id = ?", str(C))

    with after_reboot(store) as reopened:
        assert [s.chain_id for s in reopened.snapshots.all()] == [A]
        assert names(reopened) == {a.id}
        assert reopened.gc.verify() == []


def test_same_boot_keeps_what_was_not_flushed(store: Store) -> None:
    with store.leases.hold("test") as lease:
        commit(store, lease, A)
    store.close()

    with Store.open(store.root) as reopened:
        assert [s.chain_id for s in reopened.snapshots.all()] == [A]


def test_mark_used_moves_the_time(store: Store) -> None:
    with store.leases.hold("test") as lease:
        before = commit(store, lease, A)

    store.snapshots.mark_used(A)

    after = store.snapshots.get(A)
    assert after is not None
    assert after.used > before.used
