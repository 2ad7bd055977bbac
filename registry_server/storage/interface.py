"""What the handlers ask of storage. Every sentence here has a test in tests/contracts.

All calls are synchronous and safe from several threads; those of the directory implementation are
also safe from several processes on one directory. Names and digests are parsed before they get
here. Nothing is visible before it is complete.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from imagekit.oci.digest import Digest


class UploadBusyError(Exception):
    """Another request holds the upload session."""


class UploadUnknownError(Exception):
    """The repository has no such upload session."""


class ContentMismatchError(Exception):
    """The received bytes do not have the digest that was given for them."""

    def __init__(self, expected: Digest, actual: Digest) -> None:
        super().__init__(f"expected {expected}, received {actual}")
        self.expected = expected
        self.actual = actual


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBlob:
    """A blob's size and where its bytes are: a file that never changes, or the bytes."""

    size: int
    content: Path | bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredManifest:
    """A manifest's bytes as pushed and the media type that it was pushed with."""

    digest: Digest
    media_type: str
    raw: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Referrer:
    """A manifest that names another as its subject, with its descriptor as JSON bytes."""

    digest: Digest
    descriptor: bytes


class UploadWriter(Protocol):
    """The holder of an upload session, alone until it is closed.

    Leaving its block closes it and keeps the session with what was received.
    """

    @property
    def offset(self) -> int:
        """How many bytes the session holds."""
        ...

    def write(self, parts: Sequence[bytes]) -> None:
        """Append the parts in order; when it fails, none of them is kept.

        Raises:
            OSError: when the storage cannot take them.

        """
        ...

    def rollback(self) -> None:
        """Drop what was written since the session was opened; the session stays."""
        ...

    def commit(self, digest: Digest) -> None:
        """Make the content visible in the repository under ``digest``, and end the session.

        A second commit of equal content is no error.

        Raises:
            ContentMismatchError: the content has another digest. Nothing becomes visible and the
                session is gone.
            UploadUnknownError: the session was deleted while it was held; nothing becomes visible.

        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class StorageBackend(Protocol):
    """Repositories with their blobs, manifests, tags, referrers and upload sessions."""

    def has_repository(self, repository: str) -> bool:
        """Tell whether anything was ever pushed to it."""
        ...

    def repositories(self) -> list[str]:
        """Return the names of all that hold a manifest, in byte order."""
        ...

    def blob(self, repository: str, digest: Digest) -> StoredBlob | None:
        """Return a blob of this repository; those of other repositories are not seen."""
        ...

    def mount_blob(self, repository: str, digest: Digest, source: str | None) -> bool:
        """Give the repository a blob that ``source`` holds, or with None, that any holds.

        Returns False, and changes nothing, when there is none. No bytes are copied.
        """
        ...

    def delete_blob(self, repository: str, digest: Digest) -> bool:
        """Take a blob out of this repository only; False when it was not there."""
        ...

    def create_upload(self, repository: str) -> str:
        """Start an empty upload session and return its name."""
        ...

    def upload_offset(self, repository: str, upload: str) -> int:
        """Return how many bytes a session holds.

        Raises:
            UploadUnknownError: the repository has no such session.

        """
        ...

    def open_upload(self, repository: str, upload: str, algorithm: str) -> UploadWriter:
        """Take hold of a session to append or commit; ``algorithm`` is the digest's, if known.

        Raises:
            UploadUnknownError: the repository has no such session.
            UploadBusyError: somebody else holds it.

        """
        ...

    def delete_upload(self, repository: str, upload: str) -> None:
        """End a session and drop what it holds.

        Raises:
            UploadUnknownError: the repository has no such session.

        """
        ...

    def purge_uploads(self, before: float) -> int:
        """Drop the sessions not written to since ``before`` (Unix time); return how many."""
        ...

    def manifest(self, repository: str, digest: Digest) -> StoredManifest | None:
        """Return a manifest of this repository."""
        ...

    def has_manifest(self, repository: str, digest: Digest) -> bool:
        """Tell whether this repository has the manifest."""
        ...

    def put_manifest(self, repository: str, manifest: StoredManifest) -> None:
        """Store a manifest; pushed again, its newer media type holds."""
        ...

    def delete_manifest(self, repository: str, digest: Digest) -> bool:
        """Drop a manifest and every tag on it; False when it was not there."""
        ...

    def tag(self, repository: str, tag: str) -> Digest | None:
        """Return what a tag points to."""
        ...

    def set_tag(self, repository: str, tag: str, digest: Digest) -> None:
        """Point a tag to a manifest, atomically; a reader sees the old or the new one."""
        ...

    def delete_tag(self, repository: str, tag: str) -> bool:
        """Drop a tag and leave its manifest; False when it was not there."""
        ...

    def tags(self, repository: str) -> list[str]:
        """Return the repository's tags in byte order."""
        ...

    def referrers(self, repository: str, subject: Digest) -> list[Referrer]:
        """Return what was recorded for a subject, in the order of digests."""
        ...

    def add_referrer(self, repository: str, subject: Digest, referrer: Referrer) -> None:
        """Record a referrer; safe to repeat. The subject need not exist."""
        ...

    def delete_referrer(self, repository: str, subject: Digest, digest: Digest) -> None:
        """Drop a record; no error when there is none."""
        ...
