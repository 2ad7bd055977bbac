"""Random histories of one store in several hands: no prune takes what somebody needs."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from imagekit.oci.digest import Digest
from imagekit.oci.image_config import next_chain_id
from imagekit.store.cache_records import CacheRecord
from imagekit.store.layout import Store
from imagekit.store.leases import Lease
from imagekit.store.owner import Owner
from imagekit.store.snapshots import Snapshot
from tests.store.conftest import ImageMaker, StoredImage

HANDS = 3
LAYERS = st.lists(st.sampled_from([b"a", b"b", b"c", b"d"]), min_size=1, max_size=3)
NUMBERS = st.integers(0, 10**6)
NAMES = st.sampled_from(["one:1", "two:1", "three:1"])
AGES = st.none() | st.sampled_from([-3600, 0, 3600])


@dataclass
class Held:
    """A lease, and what it must keep: named in it, and written while it lasts."""

    lease: Lease
    scope: contextlib.ExitStack
    blobs: set[Digest] = field(default_factory=set)
    chains: set[Digest] = field(default_factory=set)
    written: set[Digest] = field(default_factory=set)
    prepared: list[Snapshot] = field(default_factory=list)
    sees_writes: bool = True


class StoreMachine(RuleBasedStateMachine):
    """The model: what tags, containers and leases name, of what was there at that moment."""

    @initialize()
    def begin(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="gc-machine-"))
        self.root = self.directory / "store"
        self.closing = contextlib.ExitStack()
        self.stores = [Store.open(self.root) for _ in range(HANDS)]
        self.images: list[StoredImage] = []
        self.tags: dict[str, StoredImage] = {}
        self.containers: dict[str, StoredImage] = {}
        self.leases: list[Held] = []
        self.dead: list[Held] = []
        self.count = 0

    def store(self, number: int) -> Store:
        return self.stores[number % HANDS]

    def number(self) -> int:
        self.count += 1
        return self.count

    # -- content

    @rule(hand=NUMBERS, layers=LAYERS, name=st.none() | NAMES, unpack=st.booleans())
    def make_image(self, *, hand: int, layers: list[bytes], name: str | None, unpack: bool) -> None:
        image = ImageMaker(self.store(hand)).image(*layers, tag=name, unpack=unpack)
        self.images.append(image)
        self.wrote(image.blobs)
        if name is not None:
            self.tags[name] = image

    @rule(hand=NUMBERS, data=st.sampled_from([b"w", b"x", b"a"]))
    def write_blob(self, hand: int, data: bytes) -> None:
        self.wrote([self.store(hand).blobs.put(data)])

    @precondition(lambda self: self.images)
    @rule(hand=NUMBERS, which=NUMBERS)
    def refresh_blob(self, hand: int, which: int) -> None:
        blobs = self.images[which % len(self.images)].blobs
        digest = blobs[which % len(blobs)]
        if self.store(hand).blobs.refresh(digest):
            self.wrote([digest])

    def wrote(self, digests: Iterable[Digest]) -> None:
        for held in self.leases:
            if held.sees_writes:
                held.written.update(digests)

    # -- names

    @precondition(lambda self: self.images)
    @rule(hand=NUMBERS, which=NUMBERS, name=NAMES)
    def tag(self, hand: int, which: int, name: str) -> None:
        image = self.images[which % len(self.images)]
        if self.is_whole(image):
            self.store(hand).images.set(name, image.manifest.descriptor)
            self.tags[name] = image

    @rule(hand=NUMBERS, name=NAMES)
    def untag(self, hand: int, name: str) -> None:
        assert self.store(hand).images.delete(name) == (self.tags.pop(name, None) is not None)

    @precondition(lambda self: self.images)
    @rule(hand=NUMBERS, which=NUMBERS)
    def create_container(self, hand: int, which: int) -> None:
        image = self.images[which % len(self.images)]
        if self.is_whole(image) and self.present(image.chains) == set(image.chains):
            name = f"c{self.number()}"
            digest = image.manifest.descriptor.digest
            self.store(hand).containers.add(
                id=name, name=name, image=f"x@{digest}", chain_id=image.chains[-1], state="{}"
            )
            self.containers[name] = image

    @precondition(lambda self: self.containers)
    @rule(hand=NUMBERS, which=NUMBERS)
    def remove_container(self, hand: int, which: int) -> None:
        name = sorted(self.containers)[which % len(self.containers)]
        assert self.store(hand).containers.remove(name)
        del self.containers[name]

    # -- cache

    @precondition(lambda self: self.images)
    @rule(hand=NUMBERS, which=NUMBERS, key=st.sampled_from(["k1", "k2", "k3"]))
    def cache(self, hand: int, which: int, key: str) -> None:
        chain_id = self.images[which % len(self.images)].chains[-1]
        if self.present([chain_id]):
            self.store(hand).cache.put(
                CacheRecord(key=key, operation="o", step="s", inputs={}, chain_id=chain_id)
            )
            self.store(hand).cache.mark_used(key)

    @rule(hand=NUMBERS, identifier=st.sampled_from(["pip", "npm"]))
    def use_cache_mount(self, hand: int, identifier: str) -> None:
        (self.store(hand).cache_mounts.path(identifier) / "file").write_bytes(b"x" * 5000)

    # -- leases

    @precondition(lambda self: len(self.leases) < 4)
    @rule(hand=NUMBERS)
    def begin_lease(self, hand: int) -> None:
        scope = contextlib.ExitStack()
        lease = scope.enter_context(self.store(hand).leases.hold("work"))
        self.leases.append(Held(lease, scope))

    @precondition(lambda self: self.leases)
    @rule(which=NUMBERS)
    def end_lease(self, which: int) -> None:
        self.leases.pop(which % len(self.leases)).scope.close()

    @precondition(lambda self: self.leases)
    @rule(which=NUMBERS, reopened=NUMBERS)
    def die(self, which: int, reopened: int) -> None:
        """Let the owner of a lease be a process that is no more; whoever opens next clears up."""
        held = self.leases.pop(which % len(self.leases))
        self.dead.append(held)
        # Process ids end at 2^22: proc(5), pid_max.
        dead = str(msgspec.structs.replace(Owner.current(), pid=2**22 + 1))
        with self.stores[0]._database.write() as transaction:
            transaction.run("UPDATE leases SET owner = ? WHERE id = ?", dead, held.lease.id)
        self.reopen(reopened)
        assert not any(snapshot.path.exists() for snapshot in held.prepared)

    @precondition(lambda self: self.leases and self.images)
    @rule(which=NUMBERS, image=NUMBERS)
    def lease_image(self, which: int, image: int) -> None:
        held, wanted = self.leases[which % len(self.leases)], self.images[image % len(self.images)]
        held.lease.add("blob", wanted.manifest.descriptor.digest)
        # What a lease names is kept from when it is there; a manifest that is gone leads nowhere.
        if self.is_whole(wanted):
            held.blobs.update(wanted.blobs)
            held.chains.update(self.present(wanted.chains))

    @precondition(lambda self: self.leases and self.images)
    @rule(which=NUMBERS, image=NUMBERS, depth=NUMBERS)
    def lease_chain(self, which: int, image: int, depth: int) -> None:
        held, wanted = self.leases[which % len(self.leases)], self.images[image % len(self.images)]
        length = depth % len(wanted.chains) + 1
        held.lease.add("chain", wanted.chains[length - 1])
        held.chains.update(self.present(wanted.chains[:length]))

    @precondition(lambda self: self.leases)
    @rule(which=NUMBERS)
    def prepare(self, which: int) -> None:
        held = self.leases[which % len(self.leases)]
        held.prepared.append(self.stores[0].snapshots.prepare(held.lease))

    @precondition(lambda self: any(held.prepared for held in self.leases))
    @rule(which=NUMBERS, data=st.sampled_from([b"a", b"y", b"z"]))
    def commit(self, which: int, data: bytes) -> None:
        ready = [held for held in self.leases if held.prepared]
        held = ready[which % len(ready)]
        # On top of something that this lease keeps, or of nothing.
        below = sorted(held.chains & self.present(held.chains))
        parent = below[which % len(below)] if below and which % 2 else None
        diff_id = Digest.of(data)
        chain_id = next_chain_id(parent, diff_id)
        snapshot = held.prepared.pop()
        self.stores[1].snapshots.commit(
            snapshot, chain_id=chain_id, parent_chain_id=parent, diff_id=diff_id
        )
        held.chains.add(chain_id)

    @precondition(lambda self: self.leases)
    @rule()
    def forget_times(self) -> None:
        """Leave the leases nothing but what they name."""
        with self.stores[0]._database.write() as transaction:
            transaction.run("UPDATE leases SET created = created + 100000")
        for held in self.leases:
            held.written.clear()
            held.sees_writes = False

    # -- tidying

    @rule(
        hand=NUMBERS,
        everything=st.booleans(),
        images=st.booleans(),
        dry_run=st.booleans(),
        keep=st.none() | st.integers(0, 40_000),
        age_s=AGES,
    )
    def prune(
        self,
        *,
        hand: int,
        everything: bool,
        images: bool,
        dry_run: bool,
        keep: int | None,
        age_s: int | None,
    ) -> None:
        since = None if age_s is None else datetime.now(UTC) + timedelta(seconds=age_s)
        report = self.store(hand).gc.prune(
            everything=everything,
            images=images,
            dry_run=dry_run,
            keep_cache_bytes=keep,
            unused_since=since,
        )
        used = {image.manifest.descriptor.digest for image in self.containers.values()}
        assert images or not report.images
        for name in report.images:
            assert self.tags[name].manifest.descriptor.digest not in used
            if not dry_run:
                del self.tags[name]
        if not dry_run:
            again = self.store(hand + 1).gc.prune(
                everything=everything, images=images, keep_cache_bytes=keep, unused_since=since
            )
            assert again.freed_bytes == 0

    @rule(which=NUMBERS)
    def reopen(self, which: int) -> None:
        """Open one hand's store again, as another command does; leases go on with the old one."""
        self.closing.callback(self.stores[which % HANDS].close)
        self.stores[which % HANDS] = Store.open(self.root)

    # -- what must hold

    def present(self, chains: Iterable[Digest]) -> set[Digest]:
        known = {snapshot.chain_id for snapshot in self.stores[0].snapshots.all()}
        return known.intersection(chains)

    def is_whole(self, image: StoredImage) -> bool:
        return all(self.stores[0].blobs.has(digest) for digest in image.blobs)

    @invariant()
    def all_that_is_needed_is_there(self) -> None:
        store = self.stores[-1]
        named = [*self.tags.values(), *self.containers.values()]
        blobs = {digest for image in named for digest in image.blobs}
        chains = {chain for image in self.containers.values() for chain in image.chains}
        for held in self.leases:
            blobs |= held.blobs | held.written
            chains |= held.chains
            assert all(snapshot.fs.is_dir() for snapshot in held.prepared)
        assert blobs <= set(store.blobs.all())
        for chain_id in chains:
            assert all(path.is_dir() for path in store.snapshots.lowerdirs(chain_id))
        assert {image.name for image in store.images.all()} == set(self.tags)
        assert all(store.containers.directory(name).is_dir() for name in self.containers)
        for record in store.cache.all():
            if record.chain_id is not None and self.present([record.chain_id]):
                assert store.snapshots.lowerdirs(record.chain_id)

    def teardown(self) -> None:
        try:
            self.end()
        finally:
            for held in (*self.leases, *self.dead):
                held.scope.close()
            for store in self.stores:
                store.close()
            self.closing.close()
            shutil.rmtree(self.directory)

    def end(self) -> None:
        """Take every root away: then a prune leaves nothing at all."""
        store = self.stores[0]
        assert store.gc.verify() == []
        for held in self.leases:
            held.scope.close()
        for name in self.tags:
            store.images.delete(name)
        for name in self.containers:
            store.containers.remove(name)

        store.gc.prune(everything=True)

        assert list(store.blobs.all()) == []
        assert store.snapshots.all() == []
        assert store.cache.all() == []
        for directory in (
            store.paths.snapshots,
            store.paths.containers,
            store.paths.cache_mounts,
            store.paths.temporary,
        ):
            assert os.listdir(directory) == []
        rows = {row.kind: row for row in store.gc.usage().rows}
        assert [kind for kind, row in rows.items() if row.size_bytes] == ["metadata"]


StoreMachine.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestStoreMachine = StoreMachine.TestCase
