"""What a tree looks like at one moment, small enough to be kept beside a snapshot.

Where there is no overlayfs (chroot isolation in a pod without privilege) a step works on the root
file system itself, and what it changed is found by looking at the tree before and after. A scan
reads no content: the kernel sets an inode's change time (ctime) whenever its content, mode, owner,
attributes or number of names change, and nobody can set it back.

Two changes within one tick of the file system's clock have the same ctime, though. What changed so
shortly before the scan that a later change could not be told gets a *proof*, a digest of its
content and attributes (git's rule for its index). Linux 6.13 and later give every change that
follows a look a time of its own on ext4, XFS, btrfs and tmpfs; a proof does no harm there.

Source: git, Documentation/technical/racy-git; Linux, Documentation/filesystems/multigrain-ts.rst.
"""

import hashlib
import os
import stat
import struct
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Self

import msgspec

from imagekit.base.clock import COARSE_NS, is_racy
from imagekit.base.fds import OwnedFd
from imagekit.layers import overlay
from imagekit.layers.content import CHUNK_BYTES, OPEN_FILE
from imagekit.layers.errors import LayerFormatError, host_error
from imagekit.layers.walk import OPEN_DIRECTORY, OPEN_ROOT, sorted_names

FORMAT = 1

RECORD = struct.Struct("<IIIIQQQQ")
"""Mode with type, owner, group, number of names, inode number, size (of a device: its number),
modification and change time in nanoseconds modulo 2^64. For a directory all but the type is 0: it
speaks for itself."""

OWN_RECORD = struct.Struct("<IIIQ8s")
"""A directory's mode, owner, group, modification time, and a digest of its attributes.

Neither its inode number nor its change time: a directory that was replaced by one with the same
metadata differs in what is in it, and that has its own records."""

_NO_RECORD = RECORD.pack(stat.S_IFDIR, 0, 0, 0, 0, 0, 0, 0)
_NO_XATTRS = bytes(8)
_U64 = (1 << 64) - 1


class ScannedDirectory(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One directory: its own record, the names in it and their records, both in byte order."""

    own: bytes
    names: bytes
    """Joined by NUL, which no name can hold."""
    records: bytes
    """One ``RECORD`` for each name, without anything between them."""

    def all_names(self) -> list[bytes]:
        """Return the names."""
        return self.names.split(b"\0") if self.names else []

    def by_name(self) -> dict[bytes, bytes]:
        """Return the record of every name."""
        size = RECORD.size
        return {
            name: self.records[at * size : (at + 1) * size]
            for at, name in enumerate(self.all_names())
        }


class TreeState(msgspec.Struct, frozen=True, kw_only=True):
    """A whole tree, by the paths of its directories relative to the root, ``b""`` for the root.

    It holds for this very tree only: a copy has other inode numbers and change times. About 70
    bytes and the name for each entry.
    """

    directories: dict[bytes, ScannedDirectory]
    proofs: dict[bytes, bytes]
    """Digest of what could be changed again without its record showing it, by path."""
    mounts: frozenset[bytes]
    """Directories of other file systems; neither they nor what is in them is recorded."""
    exclude: frozenset[bytes]
    """Paths that were not looked at, nor what is below them."""

    def to_bytes(self) -> bytes:
        """Return the state in a form for ``from_bytes`` of this and later versions."""
        return msgspec.msgpack.encode((FORMAT, self))

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Read a state that was written by ``to_bytes``.

        Raises:
            LayerFormatError: it is damaged, or of a format that this version does not know.

        """
        try:
            version, rest = msgspec.msgpack.decode(raw, type=tuple[int, msgspec.Raw])
            if version != FORMAT:
                raise LayerFormatError(
                    f"the scan has format {version}, this version reads {FORMAT}",
                    hint="Scan the tree again.",
                )
            state = msgspec.msgpack.decode(rest, type=cls)
        except msgspec.DecodeError as error:
            raise LayerFormatError(f"the scan is damaged: {error}") from error
        for path, directory in state.directories.items():
            expected = len(directory.all_names()) * RECORD.size
            if len(directory.own) != OWN_RECORD.size or len(directory.records) != expected:
                raise LayerFormatError(f"the scan is damaged at /{os.fsdecode(path)}")
        return state


def scan(root: Path, *, exclude: Iterable[str] = ()) -> TreeState:
    """Record the state of the tree at ``root``, to which nobody may write meanwhile.

    ``exclude`` names paths relative to the root that are none of a layer's business, such as
    ``proc``, ``dev`` and ``etc/resolv.conf``: a file that is bound over another cannot be told
    from an ordinary one. Directories of other file systems are left out without being named.
    No link is followed, whatever the tree does to its directories.

    Raises:
        LayerHostError: the tree cannot be read.

    """
    excluded = frozenset(os.fsencode(path.strip("/")) for path in exclude)
    return _Scan(root, excluded).state()


class _Level(msgspec.Struct):
    """A directory whose sub-directories are still to be scanned."""

    fd: OwnedFd
    prefix: bytes
    directories: list[str]


class _Scan:
    def __init__(self, root: Path, exclude: frozenset[bytes]) -> None:
        self._root = root
        self._exclude = exclude
        self._hidden: dict[bytes, set[str]] = {}
        for path in exclude:
            parent, _, name = path.rpartition(b"/")
            prefix = parent + b"/" if parent else b""
            self._hidden.setdefault(prefix, set()).add(os.fsdecode(name))
        self._now_ns = time.time_ns()
        self._device = -1
        self._directories: dict[bytes, ScannedDirectory] = {}
        self._proofs: dict[bytes, bytes] = {}
        self._mounts: set[bytes] = set()

    def state(self) -> TreeState:
        stack: list[_Level] = []
        prefix = b""
        try:
            root = OwnedFd(os.open(self._root, OPEN_ROOT))
            stack.append(_Level(root, b"", []))
            self._device = os.fstat(root.fileno()).st_dev
            stack[-1].directories = self._scan_directory(root.fileno(), b"")
            while stack:
                level = stack[-1]
                if not level.directories:
                    stack.pop().fd.close()
                    continue
                name = level.directories.pop()
                prefix = level.prefix + os.fsencode(name) + b"/"
                fd = OwnedFd(os.open(name, OPEN_DIRECTORY, dir_fd=level.fd.fileno()))
                stack.append(_Level(fd, prefix, []))
                stack[-1].directories = self._scan_directory(fd.fileno(), prefix)
        except OSError as error:
            where = f"{self._root}/{os.fsdecode(prefix)}"
            raise host_error(f"scan {where}", error) from error
        finally:
            for level in stack:
                level.fd.close()
        return TreeState(
            directories=self._directories,
            proofs=self._proofs,
            mounts=frozenset(self._mounts),
            exclude=self._exclude,
        )

    def _scan_directory(self, fd: int, prefix: bytes) -> list[str]:
        """Record an open directory and return the names of its sub-directories."""
        directories: list[str] = []
        records: dict[str, bytes] = {}
        hidden = self._hidden.get(prefix, ())
        pack, is_directory = RECORD.pack, stat.S_ISDIR
        suspicious_ns = self._now_ns - COARSE_NS
        with os.scandir(fd) as items:
            for item in items:
                name = item.name
                if name in hidden:
                    continue
                status = item.stat(follow_symlinks=False)
                mode = status.st_mode
                if is_directory(mode):
                    if status.st_dev == self._device:
                        directories.append(name)
                        records[name] = _NO_RECORD
                    else:
                        self._mounts.add(prefix + os.fsencode(name))
                    continue
                changed_ns = status.st_ctime_ns
                records[name] = pack(
                    mode,
                    status.st_uid,
                    status.st_gid,
                    status.st_nlink,
                    status.st_ino,
                    status.st_rdev or status.st_size,
                    status.st_mtime_ns & _U64,
                    changed_ns & _U64,
                )
                if changed_ns >= suspicious_ns and is_racy(changed_ns, self._now_ns):
                    self._proofs[prefix + os.fsencode(name)] = proof(fd, name, mode)
        names = sorted_names(records)
        self._directories[prefix[:-1]] = ScannedDirectory(
            own_record(fd),
            os.fsencode("\0".join(names)),
            b"".join([records[name] for name in names]),
        )
        return directories


def own_record(fd: int) -> bytes:
    """Return the record of an open directory itself."""
    status = os.fstat(fd)
    xattrs = overlay.layer_xattrs(fd)
    return OWN_RECORD.pack(
        status.st_mode,
        status.st_uid,
        status.st_gid,
        status.st_mtime_ns & _U64,
        _xattr_hash(xattrs, 8).digest() if xattrs else _NO_XATTRS,
    )


def proof(dir_fd: int, name: str, mode: int) -> bytes:
    """Return a digest of what can change in a file or link while its record stays the same."""
    if stat.S_ISLNK(mode):
        return hashlib.blake2b(os.fsencode(os.readlink(name, dir_fd=dir_fd))).digest()
    if not stat.S_ISREG(mode):
        return b""
    with OwnedFd(os.open(name, OPEN_FILE, dir_fd=dir_fd)) as fd:
        content = _xattr_hash(overlay.layer_xattrs(fd.fileno()), 64)
        while chunk := os.read(fd.fileno(), CHUNK_BYTES):
            content.update(chunk)
    return content.digest()


def _xattr_hash(xattrs: tuple[tuple[str, bytes], ...], size: int) -> "hashlib.blake2b":
    digest = hashlib.blake2b(digest_size=size)
    for name, value in xattrs:
        key = os.fsencode(name)
        digest.update(b"%d:%d:" % (len(key), len(value)) + key + value)
    digest.update(b"\0")
    return digest
