"""Storage in a directory, laid out as ``paths`` draws it.

Order of writes: content first, then the link that makes it visible, each born by rename. A crash
leaves at most content that no link names, or a half-written file whose name begins with a dot.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from imagekit.base.atomic import sync_directory, write_file
from imagekit.oci.digest import Digest
from registry_server.errors import ServerStartError
from registry_server.names import is_tag, new_upload
from registry_server.storage.hashstate import HashStates
from registry_server.storage.interface import (
    Referrer,
    StoredBlob,
    StoredManifest,
    UploadBusyError,
    UploadUnknownError,
)
from registry_server.storage.paths import Layout
from registry_server.storage.upload import FileUpload


class FilesystemStorage:
    """Repositories in a directory. ``durable`` flushes every write before it is acknowledged.

    Raises:
        ServerStartError: when the directory cannot be made.

    """

    def __init__(self, root: Path, *, durable: bool = False) -> None:
        self._layout = Layout(root)
        self._durable = durable
        self._hash_states = HashStates()
        try:
            self._layout.repositories.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ServerStartError(
                f"cannot use {root} as the registry's directory: {error.strerror}"
            ) from error

    # Blobs

    def has_repository(self, repository: str) -> bool:
        """See StorageBackend."""
        directory = self._layout.repository(repository)
        return any(os.path.isdir(f"{directory}/{part}") for part in ("_blobs", "_manifests"))

    def repositories(self) -> list[str]:
        """See StorageBackend."""
        prefix = len(str(self._layout.repositories)) + 1
        return sorted(
            directory[prefix:]
            for directory in _repository_directories(str(self._layout.repositories))
            if _has_manifest(f"{directory}/_manifests")
        )

    def blob(self, repository: str, digest: Digest) -> StoredBlob | None:
        """See StorageBackend."""
        path = self._layout.content(digest)
        try:
            os.stat(self._layout.blob_link(repository, digest))
            size = os.stat(path).st_size
        except FileNotFoundError:
            return None
        return StoredBlob(size=size, content=Path(path))

    def mount_blob(self, repository: str, digest: Digest, source: str | None) -> bool:
        """See StorageBackend."""
        if source is not None:
            found = os.path.exists(self._layout.blob_link(source, digest))
        else:
            found = self._is_blob_anywhere(digest)
        if not found or not os.path.exists(self._layout.content(digest)):
            return False
        self._link(self._layout.blob_link(repository, digest))
        return True

    def delete_blob(self, repository: str, digest: Digest) -> bool:
        """See StorageBackend."""
        return self._remove(self._layout.blob_link(repository, digest))

    def _is_blob_anywhere(self, digest: Digest) -> bool:
        """Tell whether a repository holds the blob; looks at the disk only if its content exists.

        Content alone is not enough: a manifest's bytes are no blob, and deleted blobs linger.
        """
        if not os.path.exists(self._layout.content(digest)):
            return False
        link = f"_blobs/{digest.algorithm}/{digest.hex}"
        return any(
            os.path.exists(f"{directory}/{link}")
            for directory in _repository_directories(str(self._layout.repositories))
        )

    # Upload sessions

    def create_upload(self, repository: str) -> str:
        """See StorageBackend."""
        upload = new_upload()
        path = self._layout.upload(repository, upload)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags, 0o644)
        except FileNotFoundError:
            self._make_directory(os.path.dirname(path))
            descriptor = os.open(path, flags, 0o644)
        os.close(descriptor)
        return upload

    def upload_offset(self, repository: str, upload: str) -> int:
        """See StorageBackend."""
        try:
            return os.stat(self._layout.upload(repository, upload)).st_size
        except FileNotFoundError as error:
            raise UploadUnknownError(upload) from error

    def open_upload(self, repository: str, upload: str, algorithm: str) -> FileUpload:
        """See StorageBackend."""
        path = self._layout.upload(repository, upload)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise UploadUnknownError(upload) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The holder before us may have committed or dropped the session meanwhile.
            if os.fstat(descriptor).st_nlink == 0 or not os.path.exists(path):
                raise UploadUnknownError(upload)
        except BlockingIOError as error:
            os.close(descriptor)
            raise UploadBusyError(upload) from error
        except BaseException:
            os.close(descriptor)
            raise
        return FileUpload(
            descriptor,
            upload=upload,
            host_path=path,
            algorithm=algorithm,
            hash_states=self._hash_states,
            durable=self._durable,
            place=lambda digest: self._place(upload, path, repository, digest),
        )

    def delete_upload(self, repository: str, upload: str) -> None:
        """See StorageBackend."""
        if not self._remove(self._layout.upload(repository, upload)):
            raise UploadUnknownError(upload)

    def purge_uploads(self, before: float) -> int:
        """See StorageBackend."""
        count = 0
        for directory in list(_repository_directories(str(self._layout.repositories))):
            for path in _files(f"{directory}/_uploads"):
                with contextlib.suppress(FileNotFoundError):
                    if os.stat(path).st_mtime < before:
                        count += _unlink(path)
        return count

    def _place(self, upload: str, upload_path: str, repository: str, digest: Digest) -> None:
        """Move a verified upload to its content address and let the repository hold it."""
        content = self._layout.content(digest)
        self._make_directory(os.path.dirname(content))
        try:
            if os.path.exists(content):
                os.unlink(upload_path)
            else:
                os.rename(upload_path, content)
        except FileNotFoundError as error:
            raise UploadUnknownError(upload) from error
        if self._durable:
            sync_directory(Path(content).parent)
        self._link(self._layout.blob_link(repository, digest))

    # Manifests

    def manifest(self, repository: str, digest: Digest) -> StoredManifest | None:
        """See StorageBackend."""
        try:
            media_type = _read(self._layout.manifest_link(repository, digest))
            raw = _read(self._layout.content(digest))
        except FileNotFoundError:
            return None
        return StoredManifest(digest=digest, media_type=media_type.decode(), raw=raw)

    def has_manifest(self, repository: str, digest: Digest) -> bool:
        """See StorageBackend."""
        return os.path.exists(self._layout.manifest_link(repository, digest))

    def put_manifest(self, repository: str, manifest: StoredManifest) -> None:
        """See StorageBackend."""
        content = self._layout.content(manifest.digest)
        if not os.path.exists(content):
            self._write(content, manifest.raw)
        link = self._layout.manifest_link(repository, manifest.digest)
        self._write(link, manifest.media_type.encode())

    def delete_manifest(self, repository: str, digest: Digest) -> bool:
        """See StorageBackend."""
        # Tags go first: a tag without its manifest would be listed and yet not be found.
        for tag in self.tags(repository):
            if self.tag(repository, tag) == digest:
                self.delete_tag(repository, tag)
        return self._remove(self._layout.manifest_link(repository, digest))

    # Tags

    def tag(self, repository: str, tag: str) -> Digest | None:
        """See StorageBackend."""
        try:
            return Digest.parse(_read(self._layout.tag(repository, tag)).decode())
        except FileNotFoundError:
            return None

    def set_tag(self, repository: str, tag: str, digest: Digest) -> None:
        """See StorageBackend."""
        self._write(self._layout.tag(repository, tag), str(digest).encode())

    def delete_tag(self, repository: str, tag: str) -> bool:
        """See StorageBackend."""
        return self._remove(self._layout.tag(repository, tag))

    def tags(self, repository: str) -> list[str]:
        """See StorageBackend."""
        try:
            names = os.listdir(self._layout.tags(repository))
        except FileNotFoundError:
            return []
        return sorted(name for name in names if is_tag(name))

    # Referrers

    def referrers(self, repository: str, subject: Digest) -> list[Referrer]:
        """See StorageBackend."""
        found = []
        for path in sorted(_files(self._layout.referrers(repository, subject))):
            with contextlib.suppress(FileNotFoundError):
                digest = Digest.parse(os.path.basename(path).replace("-", ":", 1))
                found.append(Referrer(digest=digest, descriptor=_read(path)))
        return found

    def add_referrer(self, repository: str, subject: Digest, referrer: Referrer) -> None:
        """See StorageBackend."""
        path = self._layout.referrer(repository, subject, referrer.digest)
        self._write(path, referrer.descriptor)

    def delete_referrer(self, repository: str, subject: Digest, digest: Digest) -> None:
        """See StorageBackend."""
        self._remove(self._layout.referrer(repository, subject, digest))

    # Files

    def _make_directory(self, path: str) -> None:
        """Create a directory and its parents; with ``durable``, so that they outlive a crash."""
        if os.path.isdir(path):
            return
        parent = os.path.dirname(path)
        self._make_directory(parent)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path)
        if self._durable:
            sync_directory(Path(parent))

    def _write(self, path: str, data: bytes) -> None:
        try:
            write_file(Path(path), data, durable=self._durable)
        except FileNotFoundError:
            self._make_directory(os.path.dirname(path))
            write_file(Path(path), data, durable=self._durable)

    def _remove(self, path: str) -> bool:
        """Drop a file; False when there is none."""
        removed = _unlink(path)
        if removed and self._durable:
            sync_directory(Path(path).parent)
        return removed

    def _link(self, path: str) -> None:
        """Create the empty file that stands for membership; safe to repeat."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags, 0o644)
        except FileNotFoundError:
            self._make_directory(os.path.dirname(path))
            descriptor = os.open(path, flags, 0o644)
        os.close(descriptor)
        if self._durable:
            sync_directory(Path(path).parent)


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        data = os.read(descriptor, size)
        while len(data) < size:
            more = os.read(descriptor, size - len(data))
            if not more:
                break
            data += more
        return data
    finally:
        os.close(descriptor)


def _unlink(path: str) -> bool:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def _files(directory: str) -> list[str]:
    """Return the complete files of a directory, none when it is absent."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    return [f"{directory}/{name}" for name in names if not name.startswith(".")]


def _has_manifest(directory: str) -> bool:
    return any(_files(algorithm) for algorithm in _files(directory))


def _repository_directories(directory: str) -> Iterator[str]:
    """Yield each directory that is a repository, parents before those nested in them."""
    with contextlib.suppress(FileNotFoundError), os.scandir(directory) as entries:
        nested = []
        is_repository = False
        for entry in entries:
            if entry.name.startswith("_"):
                is_repository = True
            elif entry.is_dir(follow_symlinks=False):
                nested.append(entry.path)
        if is_repository:
            yield directory
        for path in nested:
            yield from _repository_directories(path)
