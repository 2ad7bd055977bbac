"""Errors of the store.

UserError
├── ContentNotFoundError    a blob, snapshot or container that is not in the store
├── NameInUseError          a container's name is taken
├── AmbiguousIdError        the first digits of an id fit several containers
└── SnapshotInUseError      another snapshot, a container or a lease needs it
HostError
└── StoreUnavailableError   the directory or the database cannot be used
    ├── StorageFullError    no space or no quota is left
    ├── StoreBusyError      another process kept the database for too long
    └── StoreTooNewError    a later release wrote the database
CorruptionError
├── BlobMismatchError       bytes are not those that their digest promised
│   └── BlobSizeError       they are more or fewer than was announced
└── StoreCorruptError       the database and the files contradict each other
"""

import contextlib
import errno
from collections.abc import Iterator

from imagekit.base.errors import CorruptionError, HostError, UserError


class ContentNotFoundError(UserError):
    """The store does not have what was asked for."""

    code = "content-not-found"


class NameInUseError(UserError):
    """A container has that name already."""

    code = "name-in-use"


class AmbiguousIdError(UserError):
    """Several containers have an id that begins so."""

    code = "ambiguous-id"


class SnapshotInUseError(UserError):
    """A snapshot cannot go while something needs it."""

    code = "snapshot-in-use"


class StoreUnavailableError(HostError):
    """The store's directory or database cannot be used on this machine."""

    code = "store-unavailable"


class StorageFullError(StoreUnavailableError):
    """The disk that holds the store is full, or a quota is used up."""

    code = "storage-full"


class StoreBusyError(StoreUnavailableError):
    """Another process kept the database locked for too long."""

    code = "store-busy"


class StoreTooNewError(StoreUnavailableError):
    """The database was written by a later release."""

    code = "store-too-new"


class BlobMismatchError(CorruptionError):
    """The bytes written are not those of the expected digest or size."""

    code = "blob-mismatch"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(
            message, hint=hint or "Fetch it again; if that repeats, the source is corrupt."
        )


class BlobSizeError(BlobMismatchError):
    """More or fewer bytes were written than announced."""

    code = "blob-size"


class StoreCorruptError(CorruptionError):
    """What is stored contradicts itself."""

    code = "store-corrupt"


DAMAGED_MEDIUM = frozenset((errno.EIO, errno.EUCLEAN, errno.EBADMSG))
"""What the kernel says when the disk, or the file system on it, has lost something."""

FSCK_HINT = "Run `imagekit system fsck --repair`, then the command again."
BROKEN_HINT = "Look for errors of the disk among the kernel's messages (dmesg)."
FULL_HINT = "Free space on that file system, or run imagekit system prune."


@contextlib.contextmanager
def host_errors(attempt: str) -> Iterator[None]:
    """Turn an OSError of the block into an error of this room; ``attempt`` says what was tried.

    Raises:
        StorageFullError: for ENOSPC and EDQUOT.
        StoreUnavailableError: for every other errno.

    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFullError(f"{attempt}: no space left", hint=FULL_HINT) from error
        hint = None
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            hint = "Choose a writable directory with --root or IMAGEKIT_ROOT."
        elif error.errno in DAMAGED_MEDIUM:
            hint = BROKEN_HINT
        raise StoreUnavailableError(f"{attempt}: {error.strerror or error}", hint=hint) from error


@contextlib.contextmanager
def clean_up_after(first: BaseException) -> Iterator[None]:
    """Keep an error of the block, which cleans up after ``first``, from hiding that one.

    What broke the work breaks the clean-up too, most often: a full disk is still full.
    """
    try:
        yield
    except StoreUnavailableError as second:
        first.add_note(f"and then, while cleaning up: {second}")
