"""Storage in memory, for tests and throw-away registries; one process only."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import RLock
from types import TracebackType
from typing import Self

from imagekit.oci.digest import Digest
from registry_server.names import new_upload
from registry_server.storage.interface import (
    ContentMismatchError,
    Referrer,
    StoredBlob,
    StoredManifest,
    UploadBusyError,
    UploadUnknownError,
)


@dataclass(slots=True)
class _Upload:
    content: bytearray = field(default_factory=bytearray)
    busy: bool = False
    touched: float = field(default_factory=time.time)


@dataclass(slots=True)
class _Repository:
    blobs: dict[Digest, bytes] = field(default_factory=dict)
    manifests: dict[Digest, StoredManifest] = field(default_factory=dict)
    tags: dict[str, Digest] = field(default_factory=dict)
    referrers: dict[Digest, dict[Digest, Referrer]] = field(default_factory=dict)
    uploads: dict[str, _Upload] = field(default_factory=dict)
    used: bool = False


class MemoryStorage:
    """Repositories in dictionaries, behind one lock."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._repositories: dict[str, _Repository] = {}

    def _known(self, repository: str) -> _Repository:
        return self._repositories.get(repository) or _Repository()

    def _created(self, repository: str) -> _Repository:
        return self._repositories.setdefault(repository, _Repository())

    # Blobs

    def has_repository(self, repository: str) -> bool:
        """See StorageBackend."""
        return self._known(repository).used

    def repositories(self) -> list[str]:
        """See StorageBackend."""
        with self._lock:
            return sorted(name for name, kept in self._repositories.items() if kept.manifests)

    def blob(self, repository: str, digest: Digest) -> StoredBlob | None:
        """See StorageBackend."""
        content = self._known(repository).blobs.get(digest)
        return None if content is None else StoredBlob(size=len(content), content=content)

    def mount_blob(self, repository: str, digest: Digest, source: str | None) -> bool:
        """See StorageBackend."""
        with self._lock:
            sources = [source] if source is not None else list(self._repositories)
            for name in sources:
                content = self._known(name).blobs.get(digest)
                if content is not None:
                    target = self._created(repository)
                    target.blobs[digest] = content
                    target.used = True
                    return True
            return False

    def delete_blob(self, repository: str, digest: Digest) -> bool:
        """See StorageBackend."""
        return self._known(repository).blobs.pop(digest, None) is not None

    # Upload sessions

    def create_upload(self, repository: str) -> str:
        """See StorageBackend."""
        with self._lock:
            upload = new_upload()
            self._created(repository).uploads[upload] = _Upload()
            return upload

    def upload_offset(self, repository: str, upload: str) -> int:
        """See StorageBackend."""
        return len(self._upload(repository, upload).content)

    def open_upload(self, repository: str, upload: str, algorithm: str) -> "MemoryUpload":
        """See StorageBackend."""
        del algorithm  # the bytes are at hand: the digest is computed at commit
        with self._lock:
            session = self._upload(repository, upload)
            if session.busy:
                raise UploadBusyError(upload)
            session.busy = True
            return MemoryUpload(self._lock, self._created(repository), upload, session)

    def delete_upload(self, repository: str, upload: str) -> None:
        """See StorageBackend."""
        with self._lock:
            self._upload(repository, upload)
            del self._repositories[repository].uploads[upload]

    def purge_uploads(self, before: float) -> int:
        """See StorageBackend."""
        count = 0
        with self._lock:
            for kept in self._repositories.values():
                stale = [name for name, upload in kept.uploads.items() if upload.touched < before]
                for name in stale:
                    del kept.uploads[name]
                count += len(stale)
        return count

    def _upload(self, repository: str, upload: str) -> _Upload:
        try:
            return self._known(repository).uploads[upload]
        except KeyError as error:
            raise UploadUnknownError(upload) from error

    # Manifests

    def manifest(self, repository: str, digest: Digest) -> StoredManifest | None:
        """See StorageBackend."""
        return self._known(repository).manifests.get(digest)

    def has_manifest(self, repository: str, digest: Digest) -> bool:
        """See StorageBackend."""
        return digest in self._known(repository).manifests

    def put_manifest(self, repository: str, manifest: StoredManifest) -> None:
        """See StorageBackend."""
        with self._lock:
            kept = self._created(repository)
            kept.manifests[manifest.digest] = manifest
            kept.used = True

    def delete_manifest(self, repository: str, digest: Digest) -> bool:
        """See StorageBackend."""
        with self._lock:
            kept = self._known(repository)
            for tag in [tag for tag, target in kept.tags.items() if target == digest]:
                del kept.tags[tag]
            return kept.manifests.pop(digest, None) is not None

    # Tags

    def tag(self, repository: str, tag: str) -> Digest | None:
        """See StorageBackend."""
        return self._known(repository).tags.get(tag)

    def set_tag(self, repository: str, tag: str, digest: Digest) -> None:
        """See StorageBackend."""
        with self._lock:
            self._created(repository).tags[tag] = digest

    def delete_tag(self, repository: str, tag: str) -> bool:
        """See StorageBackend."""
        return self._known(repository).tags.pop(tag, None) is not None

    def tags(self, repository: str) -> list[str]:
        """See StorageBackend."""
        with self._lock:
            return sorted(self._known(repository).tags)

    # Referrers

    def referrers(self, repository: str, subject: Digest) -> list[Referrer]:
        """See StorageBackend."""
        with self._lock:
            found = self._known(repository).referrers.get(subject, {})
            return [found[digest] for digest in sorted(found)]

    def add_referrer(self, repository: str, subject: Digest, referrer: Referrer) -> None:
        """See StorageBackend."""
        with self._lock:
            kept = self._created(repository).referrers.setdefault(subject, {})
            kept[referrer.digest] = referrer

    def delete_referrer(self, repository: str, subject: Digest, digest: Digest) -> None:
        """See StorageBackend."""
        with self._lock:
            self._known(repository).referrers.get(subject, {}).pop(digest, None)


class MemoryUpload:
    """The holder of a session in memory; see UploadWriter."""

    def __init__(self, lock: RLock, repository: _Repository, upload: str, session: _Upload) -> None:
        self._lock = lock
        self._repository = repository
        self._upload = upload
        self._session = session
        self._start = len(session.content)

    @property
    def offset(self) -> int:
        """See UploadWriter."""
        return len(self._session.content)

    def write(self, parts: Sequence[bytes]) -> None:
        """See UploadWriter."""
        self._session.content += b"".join(parts)
        self._session.touched = time.time()

    def rollback(self) -> None:
        """See UploadWriter."""
        del self._session.content[self._start :]

    def commit(self, digest: Digest) -> None:
        """See UploadWriter."""
        content = bytes(self._session.content)
        actual = Digest.of(content, digest.algorithm)
        with self._lock:
            if self._repository.uploads.pop(self._upload, None) is None:
                raise UploadUnknownError(self._upload)
            if actual != digest:
                raise ContentMismatchError(digest, actual)
            self._repository.blobs[digest] = content
            self._repository.used = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._session.busy = False
