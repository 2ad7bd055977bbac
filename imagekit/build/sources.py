"""Trees that COPY and ADD read from: which files a step's sources stand for, and their digests.

A tree is a directory descriptor: the build context, a directory of --build-context, or the merged
root of a stage or image. Top-level sources are looked up by the kernel inside the tree, links
included; below them links are never followed.

Source: Dockerfile reference "COPY"; Go filepath.Match for wildcards.
"""

import errno
import hashlib
import itertools
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from msgspec.structs import replace

from imagekit.base.fds import OwnedFd
from imagekit.build.errors import SourceNotFoundError
from imagekit.dockerfile.globs import compile_glob, has_wildcards
from imagekit.dockerfile.ignore import IgnoreMatcher
from imagekit.linux.constants import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS

_INSIDE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_CHUNK = 1 << 20
_NOT_THERE = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG))
_PERMISSIONS = 0o7777
_MISSING = "does not exist"
_EXCLUDED = "is excluded by .dockerignore"


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A file, directory or link to copy.

    ``below`` is its path under the source it was found by, empty for the source itself; ``path``
    its path from the root of the tree, free of links.
    """

    below: str
    path: str
    status: os.stat_result


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """One thing a source stands for.

    ``path`` is where it was found, without dots but with links; ``name`` its last part. ``items``
    are what is in a directory. ``is_partial`` tells the directory above a match of --parents.
    """

    path: str
    name: str
    top: Item
    items: tuple[Item, ...] = ()
    is_partial: bool = False

    @property
    def is_directory(self) -> bool:
        """Whether its contents are copied rather than itself."""
        return stat.S_ISDIR(self.top.status.st_mode)


class Tree(msgspec.Struct):
    """A directory to copy from. ``ignore`` hides files, as .dockerignore does for the context.

    ``keeps_owners`` tells a root file system from a context, whose files belong to 0:0. ``what``
    names the tree in messages.
    """

    fd: OwnedFd
    what: str
    keeps_owners: bool
    ignore: IgnoreMatcher | None = None
    digest_of: Callable[["Tree", Item], str] = lambda tree, item: tree.digest(item)

    def close(self) -> None:
        """Close the directory."""
        self.fd.close()

    def matches(self, source: str, exclude: IgnoreMatcher | None = None) -> tuple[Match, ...]:
        """Return what ``source`` stands for, sorted; several only with wildcards.

        Raises:
            SourceNotFoundError: if a source without wildcards does not exist or is ignored.

        """
        clean = _clean(source)
        if not has_wildcards(clean):
            return (self._match(source, clean, exclude),)
        return tuple(self._match(source, path, exclude) for path in self._glob(source, clean))

    def matches_with_parents(
        self, source: str, exclude: IgnoreMatcher | None = None
    ) -> tuple[Match, ...]:
        """Return what ``COPY --parents`` takes: directories, with only what is wanted in them.

        What is left of the first ``/./`` is the directory (wildcards allowed), what is right of it
        a pattern of .dockerignore's kind.

        Raises:
            SourceNotFoundError: if nothing in ``source`` is a wildcard and nothing is there.

        """
        base, pivot, wanted = source.partition("/./")
        base, wanted = (_clean(base), _clean(wanted)) if pivot else ("", _clean(source))
        is_literal = not has_wildcards(base) and not has_wildcards(wanted)
        bases = self._glob(source, base) if has_wildcards(base) else iter((base,))
        include = IgnoreMatcher.of((wanted,)) if wanted else None
        found = []
        for path in bases:
            match = self._match(source, path, exclude, include)
            if match.is_directory:
                found.append(replace(match, is_partial=True))
        if is_literal and wanted and not any(match.items for match in found):
            if self.ignore is not None and self.ignore.excludes(f"{base}/{wanted}".lstrip("/")):
                raise self._not_found(source, f"{base}/{wanted}".lstrip("/"), _EXCLUDED)
            raise self._not_found(source, wanted, _MISSING)
        return tuple(found)

    def open_file(self, item: Item) -> OwnedFd:
        """Open a regular file without following links; the caller closes it."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return OwnedFd(os.open(item.path, flags, dir_fd=self.fd.fileno()))

    def read_link(self, item: Item) -> str:
        """Return the target of a symbolic link."""
        return os.readlink(item.path, dir_fd=self.fd.fileno())

    def digest(self, item: Item) -> str:
        """Return the digest of the content of a regular file, and of the attributes that count."""
        digest = hashlib.sha256()
        with self.open_file(item) as file:
            while data := os.read(file.fileno(), _CHUNK):
                digest.update(data)
            for name, value in attributes(file.fileno()):
                digest.update(f"\0{name}\0".encode())
                digest.update(value)
        return f"sha256:{digest.hexdigest()}"

    def open_directory(self, item: Item) -> OwnedFd:
        """Open a directory without following links; the caller closes it."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        return OwnedFd(os.open(item.path or ".", flags, dir_fd=self.fd.fileno()))

    def fingerprint(self, item: Item) -> str:
        """Return what of an item enters a cache key: type, mode, owner, content; no times."""
        status = item.status
        bits = status.st_mode
        mode = f"{bits & _PERMISSIONS:04o}"
        owner = f" {status.st_uid}:{status.st_gid}" if self.keeps_owners else ""
        kind = bits & ~_PERMISSIONS
        if kind == stat.S_IFREG:
            return f"{mode}{owner} {self.digest_of(self, item)}"
        if kind == stat.S_IFLNK:
            return f"link{owner} {self.read_link(item)}"
        if kind in (stat.S_IFCHR, stat.S_IFBLK):
            return f"device {mode}{owner} {kind:o} {status.st_rdev}"
        if kind == stat.S_IFDIR:
            with self.open_directory(item) as directory:
                found = attributes(directory.fileno())
            shown = "".join(f" {name}={value.hex()}" for name, value in found)
            return f"dir {mode}{owner}{shown}"
        return f"{kind:o} {mode}{owner}"

    def _match(
        self,
        written: str,
        path: str,
        exclude: IgnoreMatcher | None,
        include: IgnoreMatcher | None = None,
    ) -> Match:
        try:
            fd = OwnedFd(self._open_inside(path))
        except OSError as error:
            if error.errno in _NOT_THERE:
                raise self._not_found(written, path, _MISSING) from error
            raise
        with fd:
            status = os.fstat(fd.fileno())
            real = self._real_path(fd)
        if self._is_hidden(path, status) or self._is_hidden(real, status):
            raise self._not_found(written, path, _EXCLUDED)
        top = Item(below="", path=real, status=status)
        items: tuple[Item, ...] = ()
        if stat.S_ISDIR(status.st_mode):
            items = tuple(self._walk(top, exclude, include))
            if not items and self.ignore is not None and self.ignore.excludes(real):
                raise self._not_found(written, path, _EXCLUDED)
        return Match(path=path, name=path.rpartition("/")[2], top=top, items=items)

    def _open_inside(self, path: str, flags: int = os.O_PATH) -> int:
        """Open what is at ``path``, links followed inside the tree only.

        Without links and dots on the way it is opened name by name, which needs no system call
        that Python lacks: loading ctypes takes longer than all look-ups of a build.
        """
        fd = self._open_plain(path)
        if fd is None:
            from imagekit.linux.files import openat2

            return openat2(self.fd.fileno(), path or ".", flags, resolve=_INSIDE)
        if flags == os.O_PATH:
            return fd
        with OwnedFd(fd):
            return os.open(".", flags | os.O_CLOEXEC, dir_fd=fd)

    def _open_plain(self, path: str) -> int | None:
        """Open ``path`` without following links; None if one, or a dot, is in it."""
        flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(".", flags, dir_fd=self.fd.fileno())
        for name in path.split("/") if path else ():
            with OwnedFd(fd):
                if name in ("", ".", ".."):
                    return None
                fd = os.open(name, flags, dir_fd=fd)
            if stat.S_ISLNK(os.fstat(fd).st_mode):
                os.close(fd)
                return None
        return fd

    def _is_hidden(self, path: str, status: os.stat_result) -> bool:
        ignore = self.ignore
        if ignore is None or not path or path == "." or not ignore.excludes(path):
            return False
        return not (stat.S_ISDIR(status.st_mode) and ignore.may_contain_included(path))

    def _real_path(self, fd: OwnedFd) -> str:
        root = os.readlink(f"/proc/self/fd/{self.fd.fileno()}")
        path = os.readlink(f"/proc/self/fd/{fd.fileno()}")
        if path == root:
            return ""
        return path.removeprefix(root if root.endswith("/") else f"{root}/").lstrip("/")

    def _not_found(self, written: str, path: str, why: str) -> SourceNotFoundError:
        hint = f"Check the name; sources are relative to the {self.what}."
        if why == _EXCLUDED:
            hint = f"Add a line !{path} to .dockerignore, or remove the pattern that excludes it."
        return SourceNotFoundError(f'"{written}" {why} in the {self.what}', hint=hint)

    def _walk(
        self, top: Item, exclude: IgnoreMatcher | None, include: IgnoreMatcher | None
    ) -> Iterator[Item]:
        """Yield what is below a directory, directories first, names in order.

        A directory that is not wanted itself comes along as soon as something in it is.
        """
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        takes_all = self.ignore is None and exclude is None and include is None
        unsaid: list[Item] = []
        frames = [_Frame(self.open_directory(top), top, "", f"{top.path}/" if top.path else "")]
        try:
            while frames:
                frame = frames[-1]
                item = frame.next_item()
                if item is None:
                    frames.pop().fd.close()
                    if unsaid and unsaid[-1] is frame.item:
                        unsaid.pop()
                    continue
                wanted = takes_all or self._is_wanted(item, exclude, include)
                is_directory = stat.S_ISDIR(item.status.st_mode)
                if wanted:
                    yield from unsaid
                    unsaid.clear()
                    yield item
                elif is_directory and self._may_hold_wanted(item, exclude, include):
                    unsaid.append(item)
                else:
                    continue
                if is_directory:
                    name = item.path.rpartition("/")[2]
                    fd = OwnedFd(os.open(name, flags, dir_fd=frame.fd.fileno()))
                    frames.append(_Frame(fd, item, f"{item.below}/", f"{item.path}/"))
        finally:
            for frame in frames:
                frame.fd.close()

    def _is_wanted(
        self, item: Item, exclude: IgnoreMatcher | None, include: IgnoreMatcher | None
    ) -> bool:
        if self.ignore is not None and self.ignore.excludes(item.path):
            return False
        if exclude is not None and exclude.excludes(item.below):
            return False
        return include is None or include.excludes(item.below)

    def _may_hold_wanted(
        self, item: Item, exclude: IgnoreMatcher | None, include: IgnoreMatcher | None
    ) -> bool:
        for matcher, path in ((self.ignore, item.path), (exclude, item.below)):
            if matcher is not None and not matcher.may_contain_included(path):
                return False
        return include is None or include.may_contain_excluded(item.below)

    def _glob(self, written: str, pattern: str) -> Iterator[str]:
        parts = pattern.split("/")
        fixed = list(itertools.takewhile(lambda part: not has_wildcards(part), parts))
        if fixed and not self._exists("/".join(fixed)):
            raise self._not_found(written, "/".join(fixed), _MISSING)
        yield from self._glob_parts("/".join(fixed), parts[len(fixed) :])

    def _glob_parts(self, prefix: str, parts: list[str]) -> Iterator[str]:
        part, *rest = parts
        for name in self._names(prefix, part) if has_wildcards(part) else [part]:
            path = f"{prefix}/{name}" if prefix else name
            if rest:
                yield from self._glob_parts(path, rest)
            elif self._is_visible(path):
                yield path

    def _names(self, directory: str, pattern: str) -> list[str]:
        flags = os.O_RDONLY | os.O_DIRECTORY
        try:
            fd = self._open_inside(directory, flags)
        except OSError as error:
            if error.errno in _NOT_THERE:
                return []
            raise
        with OwnedFd(fd):
            regex = compile_glob(pattern)
            return sorted(name for name in os.listdir(fd) if regex.fullmatch(name))

    def _exists(self, path: str) -> bool:
        try:
            os.close(self._open_inside(path))
        except OSError as error:
            if error.errno in _NOT_THERE:
                return False
            raise
        return True

    def _is_visible(self, path: str) -> bool:
        if not self._exists(path):
            return False
        with OwnedFd(self._open_inside(path)) as fd:
            status = os.fstat(fd.fileno())
            real = self._real_path(fd)
        if self._is_hidden(path, status) or self._is_hidden(real, status):
            return False
        # An excluded directory is there only as far as something in it is included again.
        if self.ignore is None or not self.ignore.excludes(real):
            return True
        return any(self._walk(Item(below="", path=real, status=status), None, None))


class MountSource(msgspec.Struct, frozen=True, kw_only=True):
    """Where a mount of a RUN step takes its files: a directory of the host, or layers.

    ``tree`` and ``matches`` are what a new cache mount begins with.
    """

    root: Path | None = None
    layers: tuple[Path, ...] = ()
    tree: Tree | None = None
    matches: tuple[Match, ...] = ()


class _Frame(msgspec.Struct):
    """A directory of a walk: open, with the names that are still to come, last first."""

    fd: OwnedFd
    item: Item
    below: str
    path: str
    names: list[str] = msgspec.field(default_factory=list)

    def __post_init__(self) -> None:
        self.names = sorted(os.listdir(self.fd.fileno()), reverse=True)

    def next_item(self) -> Item | None:
        """Return the next entry; one that has vanished meanwhile is passed over."""
        while self.names:
            name = self.names.pop()
            try:
                status = os.stat(name, dir_fd=self.fd.fileno(), follow_symlinks=False)
            except FileNotFoundError:
                continue
            return Item(below=self.below + name, path=self.path + name, status=status)
        return None


def attributes(fd: int) -> list[tuple[str, bytes]]:
    """Return the extended attributes that COPY keeps, sorted: the user's, and capabilities.

    Labels of the host's security module and the marks of overlayfs belong to the machine.
    """
    try:
        names = os.listxattr(fd)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return []
        raise
    return [
        (name, os.getxattr(fd, name))
        for name in sorted(names)
        if name == "security.capability"
        or (name.startswith("user.") and not name.startswith("user.overlay."))
    ]


def _clean(source: str) -> str:
    """Return a source as a relative path without dots; ``..`` cannot leave the root."""
    parts: list[str] = []
    for part in source.split("/"):
        if part in ("", "."):
            continue
        if part == "..":
            if parts:
                parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)
