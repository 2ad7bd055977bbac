"""Recomputing what the store promises, as far as that needs no archive to be read.

``images.fsck`` goes on from here with what is in layers and snapshots.
"""

import enum
from collections.abc import Iterator, Mapping
from typing import Protocol

import msgspec
from msgspec.structs import replace

from imagekit.base.errors import ImagekitError
from imagekit.oci import mediatype
from imagekit.oci.descriptor import Descriptor, RawDescriptor
from imagekit.oci.digest import Digest
from imagekit.oci.documents import decode
from imagekit.oci.errors import InvalidReferenceError
from imagekit.oci.image_config import next_chain_id
from imagekit.oci.reference import Reference
from imagekit.store.blobs import BlobStore
from imagekit.store.errors import DAMAGED_MEDIUM, ContentNotFoundError, StoreCorruptError
from imagekit.store.inventory import MISSING, StoredImage, read_image
from imagekit.store.metadata import Database, Row, Value
from imagekit.store.paths import StorePaths
from imagekit.store.reach import document_descriptor, trailing_digest


class Kind(enum.StrEnum):
    """What is damaged; ``Issue.subject`` is its key."""

    DATABASE = "database"
    """The file itself, or a row that no other kind covers."""
    BLOB = "blob"
    LAYER = "layer"
    """A row that says what is known about a layer blob; the subject is the blob's digest."""
    IMAGE = "image"
    """A tag, by its name."""
    SNAPSHOT = "snapshot"
    """By its chain id."""
    CACHE_RECORD = "cache-record"
    CONTAINER = "container"


class Issue(msgspec.Struct, frozen=True, kw_only=True):
    """A broken promise: a stable ``code``, what it concerns, and a sentence.

    ``images`` are the names (of images without one the digests) that it hits, sorted.
    """

    code: str
    kind: Kind
    subject: str
    message: str
    images: tuple[str, ...] = ()


class SnapshotRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of a snapshot whose every field was readable."""

    chain_id: Digest
    id: str
    parent: Digest | None
    diff_id: Digest


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """What the rows say there is, at one moment."""

    images: tuple[StoredImage, ...]
    snapshots: Mapping[str, SnapshotRow]
    layers: Mapping[str, str]
    """The recorded diff id of each layer blob, here or not."""

    def hit_by_blob(self, digest: Digest) -> tuple[str, ...]:
        """Return the images that name the blob."""
        return _shown(image for image in self.images if digest in image.blobs)

    def hit_by_snapshot(self, chain_id: str) -> tuple[str, ...]:
        """Return the images that stand on the snapshot."""
        return _shown(image for image in self.images if chain_id in image.chains)


class Rows(Protocol):
    """A database, or a transaction."""

    def rows(self, sql: str, *parameters: Value) -> list[Row]:
        """Return all rows of a query."""
        ...


class Verifier:
    """Checks that what the database says is on the disk. Leftovers of a crash are no issue."""

    def __init__(self, database: Database, blobs: BlobStore, paths: StorePaths) -> None:
        self._database = database
        self._blobs = blobs
        self._paths = paths

    def verify(self) -> list[Issue]:
        """Return all issues, an empty list for a store that is whole. Reads every blob."""
        inventory, references = self.references()
        blobs = (self.blob_issue(digest, inventory) for digest in self._blobs.all())
        return [*self.database_issues(), *filter(None, blobs), *references]

    def database_issues(self) -> list[Issue]:
        """Return what SQLite finds wrong with its file."""
        issues = []
        try:
            for (found,) in self._database.rows("PRAGMA integrity_check"):
                if found != "ok":
                    issues.append(_issue("database", Kind.DATABASE, "file", str(found)))
        except StoreCorruptError as error:
            issues.append(_issue("database", Kind.DATABASE, "file", error.message))
        for table, _, parent, _ in self._database.rows("PRAGMA foreign_key_check"):
            message = f"a row belongs to none of {parent}"
            issues.append(_issue("database-row", Kind.DATABASE, str(table), message))
        return issues

    def blob_issue(self, digest: Digest, inventory: Inventory) -> Issue | None:
        """Return what is wrong with the content of a blob, None also if it is not here."""
        try:
            is_whole = self._blobs.is_whole(digest)
        except ContentNotFoundError:
            return None
        except OSError as error:
            return unreadable_blob(digest, error, inventory)
        return None if is_whole else damaged_blob(digest, inventory)

    def references(self) -> tuple[Inventory, list[Issue]]:
        """Return what there is, and each reference that leads to nothing or contradicts itself.

        Safe beside commands that run: what looks wrong is looked at again under the write lock,
        under which nothing that a row relies on comes or goes.
        """
        with self._database.snapshot() as transaction:
            inventory, issues = self._look(transaction)
        if issues:
            with self._database.write() as transaction:
                inventory, issues = self._look(transaction)
        return inventory, issues

    def _look(self, rows: Rows) -> tuple[Inventory, list[Issue]]:
        issues: list[Issue] = []
        snapshots = _snapshots(rows, issues)
        images = self._images(rows, issues)
        layers = _layers(rows, issues)
        inventory = Inventory(images=images, snapshots=snapshots, layers=layers)
        for image in images:
            issues += self._image_issues(image, inventory)
        for snapshot in snapshots.values():
            issues += self._snapshot_issues(snapshot, inventory)
        for key, chain_id in rows.rows("SELECT key, chain_id FROM cache_records"):
            if chain_id is not None and str(chain_id) not in snapshots:
                message = f"snapshot {chain_id} is missing"
                issues.append(_issue("cache-record", Kind.CACHE_RECORD, str(key), message))
        for identifier, chain_id in rows.rows("SELECT id, chain_id FROM containers"):
            issues += self._container_issues(str(identifier), chain_id, inventory)
        return inventory, _unique(issues)

    def _images(self, rows: Rows, issues: list[Issue]) -> tuple[StoredImage, ...]:
        roots: dict[Digest, Descriptor] = {}
        names: dict[Digest, list[str]] = {}
        containers: dict[Digest, list[str]] = {}
        for name, raw in rows.rows("SELECT name, descriptor FROM images"):
            try:
                Reference.parse(str(name))
                root = Descriptor.from_raw(decode(raw, RawDescriptor, f"tag {name}"))
            except ImagekitError as error:
                issues.append(_issue("tag-row", Kind.IMAGE, str(name), error.message, str(name)))
                continue
            roots[root.digest] = root
            names.setdefault(root.digest, []).append(str(name))
        for identifier, image in rows.rows("SELECT id, image FROM containers"):
            digest = trailing_digest(str(image))
            if digest is not None:
                containers.setdefault(digest, []).append(str(identifier))
                if digest not in roots:
                    found = document_descriptor(self._blobs, digest)
                    roots[digest] = found or Descriptor(
                        media_type=mediatype.OCI_MANIFEST, digest=digest, size=0
                    )
        return tuple(
            read_image(self._blobs, root, names.get(digest, ()), containers.get(digest, ()))
            for digest, root in roots.items()
        )

    def _image_issues(self, image: StoredImage, inventory: Inventory) -> Iterator[Issue]:
        if image.names:
            for digest, fault in image.faults.items():
                if digest == image.root.digest and fault == MISSING:
                    for name in image.names:
                        message = f"its manifest {digest} is missing"
                        yield _issue("tag-content", Kind.IMAGE, name, message, name)
                elif fault == MISSING:
                    yield _missing(digest, image)
                else:
                    for name in image.names:
                        yield _issue("document", Kind.IMAGE, name, f"{digest}: {fault}", name)
        # A repair takes damaged layers away and forgets them. An image whose layers are unpacked
        # runs without; it is incomplete then, which is told but is no damage any more.
        runs = image.is_usable(self._blobs, inventory.snapshots)
        for absent in image.absent(self._blobs):
            if absent.digest in image.faults or not (image.names or runs):
                continue
            if not runs or str(absent.digest) in inventory.layers:
                yield _missing(absent.digest, image)

    def _snapshot_issues(self, snapshot: SnapshotRow, inventory: Inventory) -> Iterator[Issue]:
        chain_id = str(snapshot.chain_id)
        images = inventory.hit_by_snapshot(chain_id)
        directory = self._paths.snapshots / snapshot.id / "fs"
        if not directory.is_dir():
            yield _issue(
                "snapshot-files", Kind.SNAPSHOT, chain_id, f"{directory} is missing", *images
            )
        if snapshot.chain_id != next_chain_id(snapshot.parent, snapshot.diff_id):
            message = f"it is not the chain id of {snapshot.diff_id} on {snapshot.parent}"
            yield _issue("snapshot-chain", Kind.SNAPSHOT, chain_id, message, *images)
        if snapshot.parent is not None and str(snapshot.parent) not in inventory.snapshots:
            message = f"{snapshot.parent} below it is missing"
            yield _issue("snapshot-parent", Kind.SNAPSHOT, chain_id, message, *images)

    def _container_issues(
        self, identifier: str, chain_id: str | None, inventory: Inventory
    ) -> Iterator[Issue]:
        directory = self._paths.containers / identifier
        if not directory.is_dir():
            message = f"{directory} is missing"
            yield _issue("container-files", Kind.CONTAINER, identifier, message)
        elif chain_id is not None and chain_id not in inventory.snapshots:
            # It is unpacked at the next start, if that can be done.
            image = next((i for i in inventory.images if identifier in i.containers), None)
            if image is None or not image.is_usable(self._blobs, inventory.snapshots):
                images = () if image is None else image.shown
                message = "neither its snapshots nor its image's layers are here"
                yield _issue("container-image", Kind.CONTAINER, identifier, message, *images)


def damaged_blob(digest: Digest, inventory: Inventory) -> Issue:
    """Return the issue of a blob whose content has another digest."""
    return _issue(
        "blob-content",
        Kind.BLOB,
        str(digest),
        "its content has another digest",
        *inventory.hit_by_blob(digest),
    )


def unreadable_blob(digest: Digest, error: OSError, inventory: Inventory) -> Issue:
    """Return the issue of a blob that the kernel cannot read; any other error is raised again."""
    if error.errno not in DAMAGED_MEDIUM:
        raise error
    message = f"it cannot be read: {(error.strerror or '').lower()}"
    images = inventory.hit_by_blob(digest)
    return _issue("blob-content", Kind.BLOB, str(digest), message, *images)


def _snapshots(rows: Rows, issues: list[Issue]) -> dict[str, SnapshotRow]:
    found = {}
    for chain_id, identifier, parent, diff_id in rows.rows(
        "SELECT chain_id, id, parent, diff_id FROM snapshots ORDER BY chain_id"
    ):
        try:
            found[str(chain_id)] = SnapshotRow(
                chain_id=Digest.parse(str(chain_id)),
                id=str(identifier),
                parent=None if parent is None else Digest.parse(str(parent)),
                diff_id=Digest.parse(str(diff_id)),
            )
        except InvalidReferenceError as error:
            issues.append(_issue("snapshot-row", Kind.SNAPSHOT, str(chain_id), error.message))
    return found


def _layers(rows: Rows, issues: list[Issue]) -> dict[str, str]:
    found = {}
    for digest, diff_id in rows.rows("SELECT digest, diff_id FROM layers ORDER BY digest"):
        try:
            Digest.parse(str(digest))
            found[str(digest)] = str(Digest.parse(str(diff_id)))
        except InvalidReferenceError as error:
            issues.append(_issue("layer-row", Kind.LAYER, str(digest), error.message))
    return found


def _missing(digest: Digest, image: StoredImage) -> Issue:
    return _issue("blob-missing", Kind.BLOB, str(digest), MISSING, *image.shown)


def _unique(issues: list[Issue]) -> list[Issue]:
    """Return one issue for each code and subject, with all images that it hits."""
    found: dict[tuple[str, str, str], Issue] = {}
    for issue in issues:
        key = (issue.code, issue.subject, issue.message)
        known = found.get(key)
        images = {*issue.images, *(known.images if known else ())}
        found[key] = replace(issue, images=tuple(sorted(images)))
    return list(found.values())


def _shown(images: Iterator[StoredImage]) -> tuple[str, ...]:
    return tuple(sorted({name for image in images for name in image.shown}))


def _issue(code: str, kind: Kind, subject: str, message: str, *images: str) -> Issue:
    return Issue(code=code, kind=kind, subject=subject, message=message, images=images)
