"""Recomputing every promise of the store from scratch."""

import hashlib
from collections.abc import Iterator

import msgspec

from imagekit.base.errors import ImagekitError
from imagekit.oci import mediatype
from imagekit.oci.digest import Digest
from imagekit.oci.image_config import next_chain_id
from imagekit.oci.manifest import Manifest, parse_document
from imagekit.store.blobs import BlobStore
from imagekit.store.containers import Containers
from imagekit.store.metadata import Database
from imagekit.store.snapshots import Snapshots
from imagekit.store.tags import Tags


class Issue(msgspec.Struct, frozen=True, kw_only=True):
    """A broken promise: a stable ``code``, what it concerns, and a sentence."""

    code: str
    subject: str
    message: str


class Verifier:
    """Checks that what the database says is on the disk. Leftovers of a crash are no issue."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        tags: Tags,
        snapshots: Snapshots,
        containers: Containers,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._tags = tags
        self._snapshots = snapshots
        self._containers = containers

    def verify(self) -> list[Issue]:
        """Return all issues, an empty list for a store that is whole. Reads every blob."""
        return [
            *self._database_issues(),
            *self._blob_issues(),
            *self._image_issues(),
            *self._snapshot_issues(),
            *self._container_issues(),
        ]

    def _database_issues(self) -> Iterator[Issue]:
        for pragma in ("integrity_check", "foreign_key_check"):
            for row in self._database.rows(f"PRAGMA {pragma}"):
                if row[0] != "ok":
                    yield _issue("database", str(row[0]), f"{pragma}: {row}")

    def _blob_issues(self) -> Iterator[Issue]:
        for digest in self._blobs.all():
            with self._blobs.path(digest).open("rb") as file:
                actual = hashlib.file_digest(file, digest.algorithm).hexdigest()
            if actual != digest.hex:
                yield _issue("blob-content", str(digest), "its content has another digest")

    def _image_issues(self) -> Iterator[Issue]:
        for image in self._tags.all():
            if not self._blobs.has(image.descriptor.digest):
                yield _issue("tag-content", image.name, f"{image.descriptor.digest} is missing")
            pending = [image.descriptor]
            seen: set[Digest] = set()
            while pending:
                current = pending.pop()
                # An index may list platforms that were never fetched.
                if current.digest in seen or not self._blobs.has(current.digest):
                    continue
                seen.add(current.digest)
                try:
                    raw = self._blobs.read(current.digest)
                    document = parse_document(raw, current.media_type)
                except ImagekitError as error:
                    yield _issue("document", str(current.digest), error.message)
                    continue
                if isinstance(document, Manifest):
                    for child in document.children:
                        if not self._blobs.has(child.digest):
                            yield _issue("image-content", image.name, f"{child.digest} is missing")
                pending += [
                    child
                    for child in document.children
                    if child.media_type in mediatype.DOCUMENT_TYPES
                ]

    def _snapshot_issues(self) -> Iterator[Issue]:
        snapshots = self._snapshots.all()
        chain_ids = {snapshot.chain_id for snapshot in snapshots}
        for snapshot in snapshots:
            if not snapshot.fs.is_dir():
                yield _issue("snapshot-files", str(snapshot.chain_id), f"{snapshot.fs} is missing")
            if snapshot.chain_id != next_chain_id(snapshot.parent, snapshot.diff_id):
                yield _issue(
                    "snapshot-chain",
                    str(snapshot.chain_id),
                    f"it is not the chain id of {snapshot.diff_id} on {snapshot.parent}",
                )
            if snapshot.parent is not None and snapshot.parent not in chain_ids:
                yield _issue(
                    "snapshot-parent", str(snapshot.chain_id), f"{snapshot.parent} is missing"
                )

    def _container_issues(self) -> Iterator[Issue]:
        for container in self._containers.all():
            directory = self._containers.directory(container.id)
            if not directory.is_dir():
                yield _issue("container-files", container.id, f"{directory} is missing")


def _issue(code: str, subject: str, message: str) -> Issue:
    return Issue(code=code, subject=subject, message=message)
