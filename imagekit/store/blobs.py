"""Content-addressed files: the ``blobs`` directory of an OCI image layout.

The registry server stores its content with this module too, so it imports only ``base``, ``oci``
and of this room what does the same.

Source: OCI image-spec image-layout.md.
"""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from imagekit.base.atomic import sync_directory, write_file
from imagekit.base.streams import CHUNK_BYTES
from imagekit.base.tokens import token_hex
from imagekit.oci.digest import HEX_LENGTH, Digest
from imagekit.oci.errors import InvalidReferenceError
from imagekit.store.disk import BLOCK_BYTES
from imagekit.store.errors import (
    BlobMismatchError,
    BlobSizeError,
    ContentNotFoundError,
    host_errors,
)

LAYOUT_FILE = b'{"imageLayoutVersion":"1.0.0"}'


class BlobStore:
    """Blobs below ``directory``, which is an OCI image layout once ``create`` has run.

    A visible blob is whole, verified and on the disk. ``temporary`` is a directory of the same
    file system for blobs on their way in; their names begin with ``owner``, so that the owner of
    that directory can tell what a killed process left. Safe for several threads and processes.
    """

    def __init__(self, directory: Path, *, temporary: Path, owner: str = "blob") -> None:
        self._blobs = directory / "blobs"
        self._prefix = f"{self._blobs}/"
        self._directory = directory
        self._temporary = temporary
        self._owner = owner
        self.has_grown = False
        """Whether a blob has come in that was not here, through this object."""

    def create(self) -> None:
        """Make the layout's directories and its version file; idempotent."""
        with host_errors(f"create the image layout {self._directory}"):
            (self._blobs / "sha256").mkdir(parents=True, exist_ok=True)
            self._temporary.mkdir(parents=True, exist_ok=True)
            marker = self._directory / "oci-layout"
            if not marker.exists():
                write_file(marker, LAYOUT_FILE, durable=False)

    def path(self, digest: Digest) -> Path:
        """Return where the blob is or would be; treat the file as read-only."""
        return Path(self._name(digest))

    def has(self, digest: Digest) -> bool:
        """Tell whether the blob is here."""
        return os.path.exists(self._name(digest))

    def refresh(self, digest: Digest) -> bool:
        """Tell whether the blob is here, and if so count it as written just now.

        So a caller may rely on a blob that it found, as on one that it wrote: ``delete_older`` with
        a time before this call spares it, also in another process. ``has`` promises no such thing.
        """
        with (
            host_errors(f"refresh blob {digest}"),
            self._locked(digest.algorithm, fcntl.LOCK_SH),
        ):
            try:
                os.utime(self._name(digest))
            except FileNotFoundError:
                return False
        return True

    def size(self, digest: Digest) -> int:
        """Return the blob's size in bytes.

        Raises:
            ContentNotFoundError: if it is not here.

        """
        try:
            return os.stat(self._name(digest)).st_size
        except FileNotFoundError as error:
            raise _not_found(digest) from error

    def open(self, digest: Digest) -> BinaryIO:
        """Open the blob for reading; the caller closes. It stays readable if it is deleted.

        Raises:
            ContentNotFoundError: if it is not here.

        """
        try:
            return open(self._name(digest), "rb")
        except FileNotFoundError as error:
            raise _not_found(digest) from error

    def read(self, digest: Digest) -> bytes:
        """Return the whole content, for documents.

        Raises:
            ContentNotFoundError: if it is not here.

        """
        with self.open(digest) as file:
            return file.read()

    def is_whole(self, digest: Digest) -> bool:
        """Read the blob and tell whether its content still has that digest.

        Raises:
            ContentNotFoundError: if it is not here.
            OSError: if the kernel cannot read it.

        """
        with (
            self.open(digest) as file,
            open(file.fileno(), "rb", closefd=False, buffering=0) as raw,
        ):
            return hashlib.file_digest(raw, digest.algorithm).hexdigest() == digest.hex

    def writer(self, expected: Digest | None = None, size: int | None = None) -> "BlobWriter":
        """Return a context manager to write one blob; leaving it without ``commit`` drops it."""
        return BlobWriter(self, self._new_temporary(), expected=expected, size=size)

    def put(self, data: bytes) -> Digest:
        """Store ``data`` and return its digest; idempotent and durable."""
        digest = Digest.of(data)
        if not self.refresh(digest):
            with self.writer(digest, len(data)) as writer:
                writer.write(data)
                writer.commit()
        return digest

    def import_file(self, path: Path, digest: Digest, *, verified: bool = False) -> None:
        """Make a finished file of the same file system a blob by renaming it.

        The content is read and compared with ``digest`` unless the caller has hashed every byte
        itself (``verified``). If the blob is here already the file is removed.

        Raises:
            BlobMismatchError: if the content is another; the file stays where it was.

        """
        with host_errors(f"import {path} as blob {digest}"), path.open("rb") as file:
            if not verified:
                actual = hashlib.file_digest(file, digest.algorithm).hexdigest()
                if actual != digest.hex:
                    raise BlobMismatchError(
                        f"import {path}: its content is {digest.algorithm}:{actual}, not {digest}"
                    )
            if self.refresh(digest):
                path.unlink()
                return
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
            self._publish(path, digest)

    def delete(self, digest: Digest) -> bool:
        """Remove the blob and tell whether it was here. Open readers go on reading."""
        with host_errors(f"delete blob {digest}"):
            try:
                self.path(digest).unlink()
            except FileNotFoundError:
                return False
        return True

    def delete_older(self, digest: Digest, before: float) -> bool:
        """Remove the blob if it was last written or refreshed before that time; tell whether.

        ``before`` is in seconds since 1970 by the kernel's clock. Atomic against ``refresh``.
        """
        with (
            host_errors(f"delete blob {digest}"),
            self._locked(digest.algorithm, fcntl.LOCK_EX),
        ):
            try:
                # The change time, which no import with an old modification time can forge.
                name = self._name(digest)
                if os.stat(name).st_ctime >= before:
                    return False
                os.unlink(name)
            except FileNotFoundError:
                return False
        return True

    def all(self) -> Iterator[Digest]:
        """Yield the digest of each blob, in no order; other files are passed over."""
        for algorithm in HEX_LENGTH:
            with contextlib.suppress(FileNotFoundError), os.scandir(self._blobs / algorithm) as it:
                for entry in it:
                    with contextlib.suppress(InvalidReferenceError):
                        yield Digest.parse(f"{algorithm}:{entry.name}")

    def disk_sizes(self) -> dict[str, int]:
        """Return the bytes that each blob takes on the disk, by the text of its digest."""
        sizes: dict[str, int] = {}
        for algorithm, length in HEX_LENGTH.items():
            with contextlib.suppress(FileNotFoundError), os.scandir(self._blobs / algorithm) as it:
                for entry in it:
                    if len(entry.name) == length:
                        with contextlib.suppress(FileNotFoundError):
                            status = entry.stat(follow_symlinks=False)
                            sizes[f"{algorithm}:{entry.name}"] = status.st_blocks * BLOCK_BYTES
        return sizes

    def sync(self) -> None:
        """Flush the names of all blobs; before a database row or a tag that relies on them.

        A blob's content is flushed before it becomes visible. Its name costs a second journal
        commit, which one call pays for any number of blobs; without new ones it is free.
        """
        with host_errors(f"flush {self._blobs}"):
            for algorithm in HEX_LENGTH:
                with contextlib.suppress(FileNotFoundError):
                    sync_directory(self._blobs / algorithm)

    @contextlib.contextmanager
    def _locked(self, algorithm: str, operation: int) -> Iterator[None]:
        directory = self._blobs / algorithm
        try:
            fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            yield  # no blob of that algorithm yet
            return
        try:
            fcntl.flock(fd, operation)
            yield
        finally:
            os.close(fd)

    def _name(self, digest: Digest) -> str:
        # A Path costs as much as the system call that it is for, and a prune makes thousands.
        return f"{self._prefix}{digest.algorithm}/{digest.hex}"

    def _new_temporary(self) -> Path:
        return self._temporary / f"{self._owner}.{token_hex(8)}"

    def _publish(self, temporary: Path, digest: Digest) -> None:
        target = self.path(digest)
        try:
            temporary.rename(target)
        except FileNotFoundError:
            # The first blob of an algorithm other than sha256.
            target.parent.mkdir(exist_ok=True)
            temporary.rename(target)
        self.has_grown = True


class BlobWriter:
    """One blob on its way in: hashed while written, checked and made visible by ``commit``."""

    def __init__(
        self, store: BlobStore, temporary: Path, *, expected: Digest | None, size: int | None
    ) -> None:
        self._store = store
        self._temporary = temporary
        self._expected = expected
        self._size = size
        self._algorithm = expected.algorithm if expected else "sha256"
        self._hash = hashlib.new(self._algorithm)
        self.written_bytes = 0
        with host_errors("create a blob"):
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            self._file: BinaryIO = os.fdopen(fd, "wb", buffering=CHUNK_BYTES)

    def write(self, data: bytes, /) -> int:
        """Take all of ``data`` and return its length.

        Raises:
            BlobSizeError: as soon as more bytes came than were announced.
            StorageFullError: if the disk is full.

        """
        self.written_bytes += len(data)
        if self._size is not None and self.written_bytes > self._size:
            raise BlobSizeError(
                f"write blob {self._expected or ''}: more than the announced {self._size} bytes"
            )
        self._hash.update(data)
        with host_errors(f"write blob {self._expected or self._temporary.name}"):
            self._file.write(data)
        return len(data)

    def follow(self) -> BinaryIO:
        """Open the blob for reading what ``flush`` has said to be there; the caller closes.

        It stays readable after ``commit`` and ``abort``.
        """
        with host_errors("read a blob that is being written"):
            return self._temporary.open("rb", buffering=0)

    def flush(self) -> int:
        """Make all that was written readable for ``follow``, and return how many bytes that are."""
        with host_errors(f"write blob {self._expected or self._temporary.name}"):
            self._file.flush()
        return self.written_bytes

    @property
    def digest(self) -> Digest:
        """The digest of what has been written so far."""
        return Digest(self._algorithm, self._hash.hexdigest())

    def commit(self) -> Digest:
        """Check the content, flush it to the disk, make it visible, and return its digest.

        Idempotent if the blob is here already. After an error nothing is visible.

        Raises:
            BlobMismatchError: if the digest is not the expected one.
            BlobSizeError: if the size is not.
            StorageFullError: if the disk is full.

        """
        digest = self.digest
        if self._size is not None and self.written_bytes != self._size:
            raise BlobSizeError(
                f"write blob {self._expected or digest}: {self.written_bytes} of the announced"
                f" {self._size} bytes"
            )
        if self._expected is not None and digest != self._expected:
            raise BlobMismatchError(f"write blob {self._expected}: the content is {digest}")
        if self._store.refresh(digest):
            self.abort()
            return digest
        with host_errors(f"write blob {digest}"):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._store._publish(self._temporary, digest)  # noqa: SLF001 (the two are one unit)
        return digest

    def abort(self) -> None:
        """Drop what was written; safe to repeat, and without effect after ``commit``."""
        # Closing flushes the buffer, which fails again on a full disk; the file goes anyway. One
        # that cannot go is swept with what its owner leaves.
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._temporary.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.abort()


def _not_found(digest: Digest) -> ContentNotFoundError:
    return ContentNotFoundError(f"blob {digest} is not in the store")
