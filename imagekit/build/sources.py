"""Trees that COPY and ADD read from: which files a step's sources stand for, and their digests.

A tree is a directory descriptor: the build context, a directory of --build-context, or the merged
root of a stage or image. Top-level sources are looked up by the kernel inside the tree, links
included; below them links are never followed.

Source: Dockerfile reference "COPY"; Go filepath.Match for wildcards.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from imagekit.base.fds import OwnedFd
from imagekit.build.errors import SourceNotFoundError
from imagekit.dockerfile.globs import compile_glob, has_wildcards
from imagekit.dockerfile.ignore import IgnoreMatcher
from imagekit.linux.constants import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS
from imagekit.linux.files import openat2

_INSIDE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A file, directory or link to copy.

    ``below`` is its path under the source it was found by, empty for the source itself; ``path``
    its path from the root of the tree, free of links.
    """

    below: str
    path: str
    status: os.stat_result


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One thing a source stands for. ``name`` is the base name as written or matched."""

    written: str
    name: str
    top: Item
    items: tuple[Item, ...] = ()

    @property
    def is_directory(self) -> bool:
        """Whether its contents are copied rather than itself."""
        return stat.S_ISDIR(self.top.status.st_mode)


@dataclass(slots=True)
class Tree:
    """A directory to copy from. ``ignore`` hides files, as .dockerignore does for the context.

    ``keeps_owners`` tells a root file system from a context, whose files belong to 0:0. ``what``
    names the tree in messages.
    """

    fd: OwnedFd
    what: str
    keeps_owners: bool
    ignore: IgnoreMatcher | None = None
    digest_of: Callable[["Tree", Item], str] = field(default=lambda tree, item: tree.digest(item))

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
        return tuple(self._match(source, path, exclude) for path in self._glob(clean))

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
            for name in sorted(os.listxattr(file.fileno())):
                if not name.startswith(("security.", "system.", "trusted.")) or (
                    name == "security.capability"
                ):
                    digest.update(f"\0{name}\0".encode())
                    digest.update(os.getxattr(file.fileno(), name))
        return f"sha256:{digest.hexdigest()}"

    def fingerprint(self, item: Item) -> str:
        """Return what of an item enters a cache key: type, mode, owner, content; no times."""
        status = item.status
        mode = f"{stat.S_IMODE(status.st_mode):04o}"
        owner = f" {status.st_uid}:{status.st_gid}" if self.keeps_owners else ""
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFREG:
            return f"{mode}{owner} {self.digest_of(self, item)}"
        if kind == stat.S_IFLNK:
            return f"link{owner} {self.read_link(item)}"
        if kind in (stat.S_IFCHR, stat.S_IFBLK):
            return f"device {mode}{owner} {kind:o} {status.st_rdev}"
        return f"{'dir' if kind == stat.S_IFDIR else f'{kind:o}'} {mode}{owner}"

    def _match(self, written: str, path: str, exclude: IgnoreMatcher | None) -> Match:
        try:
            fd = OwnedFd(openat2(self.fd.fileno(), path or ".", os.O_PATH, resolve=_INSIDE))
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                raise self._not_found(written, path, "does not exist") from error
            raise
        with fd:
            status = os.fstat(fd.fileno())
            real = self._real_path(fd)
        if self._is_hidden(path, status) or self._is_hidden(real, status):
            raise self._not_found(written, path, "is excluded by .dockerignore")
        top = Item(below="", path=real, status=status)
        items: tuple[Item, ...] = ()
        if stat.S_ISDIR(status.st_mode):
            items = tuple(self._walk(real, exclude))
        name = path.rstrip("/").rpartition("/")[2]
        return Match(written=written, name=name, top=top, items=items)

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
        if "excluded" in why:
            hint = f"Add a line !{path} to .dockerignore, or remove the pattern that excludes it."
        return SourceNotFoundError(f'"{written}" {why} in the {self.what}', hint=hint)

    def _walk(self, top: str, exclude: IgnoreMatcher | None) -> Iterator[Item]:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(top or ".", flags, dir_fd=self.fd.fileno())
        try:
            yield from self._walk_directory(fd, "", f"{top}/" if top else "", exclude)
        finally:
            os.close(fd)

    def _walk_directory(
        self, fd: int, below: str, path: str, exclude: IgnoreMatcher | None
    ) -> Iterator[Item]:
        with os.scandir(fd) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        for entry in entries:
            item = Item(
                below=below + entry.name,
                path=path + entry.name,
                status=entry.stat(follow_symlinks=False),
            )
            hidden = self._excluded(item, exclude)
            if not stat.S_ISDIR(item.status.st_mode):
                if not hidden:
                    yield item
                continue
            if hidden and not self._may_hold_included(item, exclude):
                continue
            if not hidden:
                yield item
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            child = os.open(entry.name, flags, dir_fd=fd)
            try:
                for inner in self._walk_directory(
                    child, f"{item.below}/", f"{item.path}/", exclude
                ):
                    if hidden:  # a re-included file brings its directory along
                        yield item
                        hidden = False
                    yield inner
            finally:
                os.close(child)

    def _excluded(self, item: Item, exclude: IgnoreMatcher | None) -> bool:
        if self.ignore is not None and self.ignore.excludes(item.path):
            return True
        return exclude is not None and exclude.excludes(item.below)

    def _may_hold_included(self, item: Item, exclude: IgnoreMatcher | None) -> bool:
        ignore = self.ignore
        if (
            ignore is not None
            and ignore.excludes(item.path)
            and not ignore.may_contain_included(item.path)
        ):
            return False
        return not (
            exclude is not None
            and exclude.excludes(item.below)
            and not exclude.may_contain_included(item.below)
        )

    def _glob(self, pattern: str) -> Iterator[str]:
        parts = pattern.split("/")
        yield from self._glob_parts("", parts)

    def _glob_parts(self, prefix: str, parts: list[str]) -> Iterator[str]:
        part, *rest = parts
        if not has_wildcards(part):
            names = [part]
        else:
            try:
                fd = openat2(
                    self.fd.fileno(),
                    prefix or ".",
                    os.O_RDONLY | os.O_DIRECTORY,
                    resolve=_INSIDE,
                )
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR):
                    return
                raise
            try:
                regex = compile_glob(part)
                names = sorted(name for name in os.listdir(fd) if regex.match(name))
            finally:
                os.close(fd)
        for name in names:
            path = f"{prefix}/{name}" if prefix else name
            if rest:
                yield from self._glob_parts(path, rest)
            elif self._is_visible(path):
                yield path

    def _is_visible(self, path: str) -> bool:
        try:
            fd = openat2(self.fd.fileno(), path, os.O_PATH, resolve=_INSIDE)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return False
            raise
        try:
            return not self._is_hidden(path, os.fstat(fd))
        finally:
            os.close(fd)


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
