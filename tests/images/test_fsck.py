"""Damage of every kind: told, with the images that it hits, and repaired."""

import gzip
import io
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imagekit.base.clock import SystemClock
from imagekit.base.events import Event, TransferEnded, TransferStarted
from imagekit.images.commit import commit_changes, store_image
from imagekit.images.fsck import Fsck, FsckReport
from imagekit.images.import_root import import_root
from imagekit.images.local import LocalImage, LocalImages
from imagekit.images.unpack import unpack
from imagekit.oci.digest import Digest
from imagekit.oci.image_config import History, ImageConfig
from imagekit.oci.mediatype import OCI_LAYER_GZIP
from imagekit.oci.platform import Platform
from imagekit.store.cache_records import CacheRecord
from imagekit.store.layout import Store

if TYPE_CHECKING:
    from tests.images.conftest import Shelf, Tar

pytestmark = pytest.mark.root

OWN = "docker.io/library/own:1"
FOREIGN = "docker.io/library/foreign:1"


@dataclass
class Sick:
    """A store with an image of our own layers and one of another tool's, both unpacked."""

    store: Store
    own: LocalImage
    foreign: LocalImage

    def check(self, *, repair: bool = False, running: tuple[str, ...] = ()) -> FsckReport:
        fsck = Fsck(self.store, running=lambda: running, clock=SystemClock())
        return fsck.run(repair=repair)

    def found(self) -> set[tuple[str, str, tuple[str, ...]]]:
        return {(one.code, one.subject, one.images) for one in self.check().issues}

    def chain(self, image: LocalImage) -> str:
        return str(image.chain_id)

    def fs(self, image: LocalImage) -> Path:
        assert image.chain_id is not None
        return self.store.snapshots.lowerdirs(image.chain_id)[0]

    def blob(self, digest: Digest) -> Path:
        return self.store.blobs.path(digest)

    def forge(self, sql: str, *parameters: str) -> None:
        with sqlite3.connect(self.store.paths.database) as connection:
            assert connection.execute(sql, parameters).rowcount == 1
        connection.close()

    def container(self, image: LocalImage) -> str:
        self.store.containers.add(
            id="c0ffee",
            name="web",
            image=f"x@{image.descriptor.digest}",
            chain_id=image.chain_id,
            state="{}",
        )
        return "c0ffee"


@pytest.fixture
def sick(shelf: "Shelf", tar: "Tar", tmp_path: Path) -> Sick:
    store = shelf.store
    with store.leases.hold("set up") as lease:
        base = import_root(
            store, io.BytesIO(tar(etc__a=b"1" * 5000)), name=None, lease=lease, clock=SystemClock()
        )
        changes = tmp_path / "changes"
        (changes / "etc").mkdir(parents=True)
        (changes / "etc/b").write_bytes(b"2" * 5000)
        os.mknod(changes / "etc/a", 0o20000, 0)
        assert base.chain_id is not None
        own = commit_changes(
            store,
            base,
            upperdir=changes,
            lowerdirs=store.snapshots.lowerdirs(base.chain_id),
            history=History(),
            clock=SystemClock(),
            lease=lease,
            name=OWN,
        )
        unpack(store, own, lease=lease)
        content = tar(usr__c=b"3" * 5000, _wh_gone=b"")
        layer = shelf.layer(gzip.compress(content), OCI_LAYER_GZIP)
        config = ImageConfig(platform=Platform.host(), diff_ids=(Digest.of(content),))
        foreign = store_image(store, config, [layer], lease=lease, names=[FOREIGN])
        unpack(store, foreign, lease=lease)
    store.leases.end([shelf.lease.id])
    return Sick(store=store, own=own, foreign=foreign)


def flip(path: Path, at: int = -1) -> None:
    """Change one bit, as a bad disk does: the file's own length and name stay."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if at < 0 else at] ^= 1
    with path.open("r+b") as file:
        file.write(content)


def test_a_whole_store(sick: Sick) -> None:
    report = sick.check()

    assert (report.issues, report.unverifiable, report.notes) == ((), (), ())
    assert report.is_whole
    assert (report.blobs, report.snapshots) == (len(list(sick.store.blobs.all())), 3)
    assert sick.check(repair=True).repair is None


Damage = Callable[[Sick], tuple[str, str, tuple[str, ...]]]


def layer_bit(sick: Sick) -> tuple[str, str, tuple[str, ...]]:
    digest = sick.own.manifest.layers[1].digest
    flip(sick.blob(digest))
    return "blob-content", str(digest), (OWN,)


def layer_cut(sick: Sick) -> tuple[str, str, tuple[str, ...]]:
    digest = sick.foreign.manifest.layers[0].digest
    os.truncate(sick.blob(digest), 50)
    return "blob-content", str(digest), (FOREIGN,)


def layer_gone(sick: Sick) -> tuple[str, str, tuple[str, ...]]:
    digest = sick.own.manifest.layers[0].digest
    sick.blob(digest).unlink()
    return "blob-missing", str(digest), (OWN,)


def config_bit(sick: Sick) -> tuple[str, str, tuple[str, ...]]:
    digest = sick.own.manifest.config.digest
    flip(sick.blob(digest))
    return "blob-content", str(digest), (OWN,)


def config_unreadable(sick: Sick) -> tuple[str, str, tuple[str, ...]]:
    digest = sick.own.manifest.config.digest
    flip(sick.blob(digest), 0)  # no JSON any more
    return "blob-content", str(digest), (OWN,)


def config_gone(sick: Sick) -> tuple[str, str, tuple[str, ...]]:
    digest = sick.foreign.manifest.config.digest
    sick.blob(digest).unlink()
    return "blob-missing", str(digest), (FOREIGN,)


def manifest_bit(sick: Sick) -> tuple[str, str, tuple[str, ...]]:
    digest = sick.foreign.descriptor.digest
    flip(sick.blob(digest), 0)
    return "blob-content", str(digest), (FOREIGN,)


def manifest_gone(sick: Sick) -> tuple[str, str, tuple[str, ...]]:
    sick.blob(sick.own.descriptor.digest).unlink()
    return "tag-content", OWN, (OWN,)


def own_file_content(sick: Sick) -> tuple[str, str, tuple[str, ...]]:
    file = sick.fs(sick.own) / "etc/b"
    times = file.stat()
    flip(file)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    return "snapshot-content", sick.chain(sick.own), (OWN,)


def own_file_mode(sick: Sick) -> tuple[str, str, tuple[str, ...]]:
    (sick.fs(sick.own) / "etc/b").chmod(0o4755)
    return "snapshot-content", sick.chain(sick.own), (OWN,)


def whiteout_gone(sick: Sick) -> tuple[str, str, tuple[str, ...]]:
    (sick.fs(sick.own) / "etc/a").unlink()
    return "snapshot-content", sick.chain(sick.own), (OWN,)


def foreign_file_content(sick: Sick) -> tuple[str, str, tuple[str, ...]]:
    file = sick.fs(sick.foreign) / "usr/c"
    times = file.stat()
    flip(file)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    return "snapshot-content", sick.chain(sick.foreign), (FOREIGN,)


def foreign_xattr(sick: Sick) -> tuple[str, str, tuple[str, ...]]:
    os.setxattr(sick.fs(sick.foreign) / "usr/c", "user.virus", b"1")
    return "snapshot-content", sick.chain(sick.foreign), (FOREIGN,)


def foreign_file_more(sick: Sick) -> tuple[str, str, tuple[str, ...]]:
    (sick.fs(sick.foreign) / "usr/more").write_bytes(b"")
    return "snapshot-content", sick.chain(sick.foreign), (FOREIGN,)


def below_is_told_once(sick: Sick) -> tuple[str, str, tuple[str, ...]]:
    assert sick.own.chain_id is not None
    base = sick.store.snapshots.lowerdirs(sick.own.chain_id)[1]
    (base / "etc/a").write_bytes(b"other")
    return "snapshot-content", str(sick.own.config.diff_ids[0]), (OWN,)


def snapshot_files_gone(sick: Sick) -> tuple[str, str, tuple[str, ...]]:
    shutil.rmtree(sick.fs(sick.foreign))
    return "snapshot-files", sick.chain(sick.foreign), (FOREIGN,)


def snapshot_directory_gone(sick: Sick) -> tuple[str, str, tuple[str, ...]]:
    shutil.rmtree(sick.fs(sick.own).parent)
    return "snapshot-files", sick.chain(sick.own), (OWN,)


def wrong_layer_row(sick: Sick) -> tuple[str, str, tuple[str, ...]]:
    digest = str(sick.own.manifest.layers[0].digest)
    sick.forge("UPDATE layers SET diff_id = ? WHERE digest = ?", str(Digest.of(b"?")), digest)
    return "layer-row", digest, (OWN,)


def wrong_chain(sick: Sick) -> tuple[str, str, tuple[str, ...]]:
    chain_id = sick.chain(sick.foreign)
    sick.forge(
        "UPDATE snapshots SET parent = ? WHERE chain_id = ?",
        str(sick.own.config.diff_ids[0]),
        chain_id,
    )
    return "snapshot-chain", chain_id, (FOREIGN,)


def nonsense_in_a_row(sick: Sick) -> tuple[str, str, tuple[str, ...]]:
    sick.forge("UPDATE snapshots SET diff_id = 'x' WHERE chain_id = ?", sick.chain(sick.foreign))
    return "snapshot-row", sick.chain(sick.foreign), ()


def nonsense_in_a_tag(sick: Sick) -> tuple[str, str, tuple[str, ...]]:
    sick.forge("UPDATE images SET descriptor = '{' WHERE name = ?", FOREIGN)
    return "tag-row", FOREIGN, (FOREIGN,)


def text_in_a_tag(sick: Sick) -> tuple[str, str, tuple[str, ...]]:
    sick.forge("UPDATE images SET descriptor = CAST('rubbish' AS TEXT) WHERE name = ?", FOREIGN)
    return "tag-row", FOREIGN, (FOREIGN,)


def tag_without_a_name(sick: Sick) -> tuple[str, str, tuple[str, ...]]:
    sick.forge("UPDATE images SET name = 'BAD NAME:::' WHERE name = ?", FOREIGN)
    return "tag-row", "BAD NAME:::", ("BAD NAME:::",)


def snapshot_on_itself(sick: Sick) -> tuple[str, str, tuple[str, ...]]:
    chain_id = sick.chain(sick.foreign)
    sick.forge("UPDATE snapshots SET parent = chain_id WHERE chain_id = ?", chain_id)
    return "snapshot-chain", chain_id, (FOREIGN,)


def cache_record_to_nothing(sick: Sick) -> tuple[str, str, tuple[str, ...]]:
    sick.store.cache.put(
        CacheRecord(key="key", operation="o", step="s", inputs={}, chain_id=Digest.of(b"?"))
    )
    return "cache-record", "key", ()


def container_without_directory(sick: Sick) -> tuple[str, str, tuple[str, ...]]:
    identifier = sick.container(sick.own)
    sick.store.containers.directory(identifier).rmdir()
    return "container-files", identifier, ()


def lease_item_of_nobody(sick: Sick) -> tuple[str, str, tuple[str, ...]]:
    sick.forge("INSERT INTO lease_items VALUES ('nobody', 'blob', ?)", "sha256:0")
    return "database-row", "lease_items", ()


DAMAGES = (
    layer_bit, layer_cut, layer_gone, config_bit, config_unreadable, config_gone, manifest_bit,
    manifest_gone, own_file_content, own_file_mode, whiteout_gone, foreign_file_content,
    foreign_xattr, foreign_file_more, below_is_told_once, snapshot_files_gone,
    snapshot_directory_gone, wrong_layer_row, wrong_chain, nonsense_in_a_row, nonsense_in_a_tag,
    text_in_a_tag, tag_without_a_name, snapshot_on_itself,
    cache_record_to_nothing, container_without_directory, lease_item_of_nobody,
)  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_is_told_and_repaired(sick: Sick, damage: Damage) -> None:
    expected = damage(sick)

    assert sick.found() == {expected}
    report = sick.check(repair=True)
    assert report.repair is not None
    assert report.repair.left == ()
    assert report.is_whole
    assert sick.check().issues == ()
    assert len(sick.store.snapshots.directories()) == len(sick.store.snapshots.all())


def test_an_image_whose_layer_blob_is_damaged_still_runs(sick: Sick) -> None:
    layer_cut(sick)

    report = sick.check(repair=True)

    assert report.repair is not None
    assert report.repair.incomplete == (FOREIGN,)
    assert report.repair.lost == ()
    assert report.repair.restored == ()
    assert "cannot be pushed" in report.notes[0]
    assert LocalImages(sick.store).resolve(FOREIGN) == sick.foreign
    assert sick.fs(sick.foreign).is_dir()


@pytest.mark.parametrize("damage", [layer_bit, layer_gone])
def test_a_layer_of_our_own_is_packed_again_from_its_files(sick: Sick, damage: Damage) -> None:
    _, digest, _ = damage(sick)

    report = sick.check(repair=True)

    assert report.repair is not None
    assert report.repair.restored == (digest,)
    assert report.notes == ()
    assert sick.store.blobs.is_whole(Digest.parse(digest))
    assert sick.check().issues == ()


def test_nothing_is_packed_from_damaged_files(sick: Sick) -> None:
    layer_bit(sick)
    own_file_mode(sick)

    report = sick.check(repair=True)

    assert report.repair is not None
    assert report.repair.restored == ()
    assert report.repair.incomplete == (OWN,)
    assert report.unverifiable == (sick.chain(sick.own),)  # as if it were another tool's


def test_an_image_whose_manifest_is_damaged_loses_its_name(sick: Sick) -> None:
    manifest_bit(sick)

    report = sick.check(repair=True)

    assert report.repair is not None
    assert report.repair.lost == (FOREIGN,)
    assert [one.name for one in sick.store.images.all()] == [OWN]


def test_a_damaged_snapshot_is_unpacked_again_from_its_blob(sick: Sick) -> None:
    foreign_file_content(sick)
    sick.check(repair=True)
    assert sick.store.snapshots.get(sick.foreign.config.diff_ids[0]) is None

    with sick.store.leases.hold("test") as lease:
        unpack(sick.store, sick.foreign, lease=lease)

    assert (sick.fs(sick.foreign) / "usr/c").read_bytes() == b"3" * 5000


def test_an_image_without_blob_and_snapshot_loses_its_name(sick: Sick) -> None:
    layer_cut(sick)
    shutil.rmtree(sick.fs(sick.foreign))

    report = sick.check(repair=True)

    assert report.repair is not None
    assert report.repair.lost == (FOREIGN,)
    assert sick.check().issues == ()


def test_a_foreign_snapshot_without_its_blob_is_not_verifiable(sick: Sick) -> None:
    layer_cut(sick)
    sick.check(repair=True)

    report = sick.check()

    assert report.issues == ()
    assert report.unverifiable == (sick.chain(sick.foreign),)


def test_what_stands_on_a_damaged_snapshot_goes_with_it(sick: Sick) -> None:
    sick.store.cache.put(
        CacheRecord(key="key", operation="o", step="s", inputs={}, chain_id=sick.own.chain_id)
    )
    below_is_told_once(sick)

    report = sick.check(repair=True)

    assert report.repair is not None
    assert len(report.repair.snapshots) == 2
    assert sick.store.cache.get("key") is None


def test_a_running_container_keeps_its_damaged_snapshot(sick: Sick) -> None:
    identifier = sick.container(sick.own)
    own_file_mode(sick)

    report = sick.check(repair=True, running=(identifier,))

    assert report.repair is not None
    assert [issue.code for issue in report.repair.left] == ["snapshot-content"]
    assert not report.is_whole
    assert sick.fs(sick.own).is_dir()
    assert sick.check(repair=True).is_whole  # it has ended


def test_a_running_build_keeps_its_damaged_snapshot(sick: Sick) -> None:
    own_file_mode(sick)
    assert sick.own.chain_id is not None

    with sick.store.leases.hold("build") as lease:
        lease.add("chain", sick.own.chain_id)
        assert not sick.check(repair=True).is_whole

    assert sick.check(repair=True).is_whole


def test_a_container_keeps_its_files_when_its_image_is_lost(sick: Sick) -> None:
    identifier = sick.container(sick.foreign)
    (sick.store.containers.directory(identifier) / "fs").mkdir()
    layer_cut(sick)
    shutil.rmtree(sick.fs(sick.foreign))

    sick.check(repair=True)

    report = sick.check()
    assert report.issues == ()
    assert "container c0ffee: its image" in report.notes[0]
    assert (sick.store.containers.directory(identifier) / "fs").is_dir()


def test_a_damaged_index_of_the_database_is_made_again(sick: Sick) -> None:
    with sqlite3.connect(sick.store.paths.database) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        # The index then belongs to another column than its content.
        connection.execute(
            "UPDATE sqlite_schema SET sql = 'CREATE INDEX layers_by_diff_id ON layers (digest)'"
            " WHERE name = 'layers_by_diff_id'"
        )
    connection.close()
    sick.store.close()

    assert {issue.code for issue in sick.check().issues} == {"database"}
    assert sick.check(repair=True).is_whole
    assert sick.check().is_whole


def test_a_layer_that_is_no_archive_is_told(sick: Sick, shelf: "Shelf") -> None:
    with sick.store.leases.hold("test") as lease:
        layer = shelf.store.blobs.put(b"\x1f\x8bnothing that gzip knows")
        described = sick.foreign.manifest.layers[0].__class__(
            media_type=OCI_LAYER_GZIP, digest=layer, size=25
        )
        store_image(sick.store, sick.foreign.config, [described], lease=lease, names=["bad:1"])

    assert ("layer-content", str(layer), ("docker.io/library/bad:1",)) in sick.found()
    sick.check(repair=True)
    assert sick.check().issues == ()
    # Its snapshot is that of the good image with the same diff id, so it runs.
    assert sick.store.images.get("docker.io/library/bad:1") is not None


def test_a_config_that_promises_another_content(sick: Sick) -> None:
    config = ImageConfig(platform=Platform.host(), diff_ids=(Digest.of(b"?"),))
    with sick.store.leases.hold("test") as lease:
        store_image(sick.store, config, sick.foreign.manifest.layers, lease=lease, names=["bad:1"])
    name = "docker.io/library/bad:1"

    assert sick.found() == {("layer-diff-id", name, (name,))}
    report = sick.check(repair=True)
    assert report.repair is not None
    assert report.repair.lost == (name,)
    assert report.repair.blobs == ()
    assert sick.check().issues == ()


def test_a_tag_that_was_set_meanwhile_stays(sick: Sick) -> None:
    class Pulling(SystemClock):
        """Says that the check began an hour ago."""

        def now(self) -> datetime:
            return super().now() - timedelta(hours=1)

    sick.blob(sick.own.manifest.config.digest).unlink()

    Fsck(sick.store, running=tuple, clock=Pulling()).run(repair=True)

    assert sick.store.images.get(OWN) is not None


def test_commands_that_run_meanwhile_are_no_damage(sick: Sick, tar: "Tar") -> None:
    stop = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        number = 0
        try:
            while not stop.is_set():
                number += 1
                content = io.BytesIO(tar(a=os.urandom(3000)))
                with sick.store.leases.hold("import") as lease:
                    import_root(
                        sick.store, content, name="busy:1", lease=lease, clock=SystemClock()
                    )
                sick.store.images.delete("docker.io/library/busy:1")
                sick.store.gc.prune()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        reports = [sick.check() for _ in range(10)]
    finally:
        stop.set()
        thread.join()

    assert failures == []
    assert [issue for report in reports for issue in report.issues] == []


def test_progress_is_told(sick: Sick) -> None:
    events: list[Event] = []

    Fsck(sick.store, running=tuple, clock=SystemClock(), events=events.append).run()

    started = [event for event in events if isinstance(event, TransferStarted)]
    assert [(event.name, event.verb) for event in started] == [
        ("blobs", "checking"),
        ("layers", "checking"),
    ]
    assert all(event.total_bytes > 0 for event in started)
    assert sum(isinstance(event, TransferEnded) for event in events) == 2
