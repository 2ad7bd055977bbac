"""The build context: a directory on this machine, seen through its .dockerignore.

Files are digested once: a table of what stat(2) said and the digest that followed makes the next
build look at metadata only.

Source: Dockerfile reference ".dockerignore file".
"""

import os
import stat
import threading
import time
from pathlib import Path

from imagekit.base.fds import OwnedFd
from imagekit.build.cachekey import printable
from imagekit.build.errors import BuildError
from imagekit.build.request import BuildRequest
from imagekit.build.sources import Item, Tree
from imagekit.dockerfile.ignore import IgnoreMatcher
from imagekit.store.stat_cache import StatCache, StatEntry

_MAX_DOCKERFILE_BYTES = 64 << 20


def read_dockerfile(request: BuildRequest) -> tuple[str, bytes]:
    """Return the name to show and the text of the Dockerfile.

    Raises:
        BuildError: if there is none; the hint says where it was looked for.

    """
    if request.dockerfile_text is not None:
        return "Dockerfile", request.dockerfile_text.encode(errors="surrogateescape")
    path = find_dockerfile(request)
    if not request.context.is_dir():
        raise BuildError(f"the build context {request.context} is not a directory")
    try:
        if path.stat().st_size > _MAX_DOCKERFILE_BYTES:
            raise BuildError(f"{path} is not a Dockerfile: it is too large")
        text = path.read_bytes()
    except FileNotFoundError as error:
        raise BuildError(
            f"cannot find the Dockerfile {path}", hint="Name it with -f, or create it."
        ) from error
    except OSError as error:
        raise BuildError(f"cannot read the Dockerfile {path}: {error.strerror}") from error
    try:
        return str(path.relative_to(request.context)), text
    except ValueError:
        return str(path), text


def find_dockerfile(request: BuildRequest) -> Path:
    """Return where the Dockerfile is expected."""
    if request.dockerfile is not None:
        return request.dockerfile
    path = request.context / "Dockerfile"
    lower = request.context / "dockerfile"
    return lower if not path.exists() and lower.exists() else path


def read_ignore(request: BuildRequest) -> IgnoreMatcher | None:
    """Return the matcher of the ignore file that applies, None without one."""
    candidates = [request.context / ".dockerignore"]
    if request.dockerfile_text is None:
        path = find_dockerfile(request)
        candidates.insert(0, path.with_name(f"{path.name}.dockerignore"))
    return _first_ignore(candidates)


def _first_ignore(candidates: list[Path]) -> IgnoreMatcher | None:
    for path in candidates:
        try:
            text = path.read_text(encoding="utf-8", errors="surrogateescape")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise BuildError(f"cannot read {path}: {error.strerror}") from error
        return IgnoreMatcher.parse(text, file_name=str(path.name))
    return None


class ContextDigests:
    """Digests of context files by what stat(2) says; safe for several threads.

    A file whose times are too close to the moment it was read is digested again next time.
    ``is_constant`` is for file systems named by their content: there the path is enough.
    """

    def __init__(self, cache: StatCache, context: str, *, is_constant: bool = False) -> None:
        self._cache = cache
        self._context = context
        self._is_constant = is_constant
        self._started_ns = time.time_ns()
        self._known = cache.load(context)
        self._fresh: dict[str, StatEntry] = {}
        self._lock = threading.Lock()

    def digest_of(self, tree: Tree, item: Item) -> str:
        """Return the digest of a regular file, read only if its metadata has changed."""
        status = item.status
        known = self._known.get(item.path)
        if known is not None and (
            self._is_constant
            or (
                known.inode == status.st_ino
                and known.mtime_ns == status.st_mtime_ns
                and known.ctime_ns == status.st_ctime_ns
                and known.size == status.st_size
                and known.device == status.st_dev
            )
        ):
            return known.digest
        digest = tree.digest(item)
        entry = StatEntry(
            device=status.st_dev,
            inode=status.st_ino,
            size=status.st_size,
            mtime_ns=status.st_mtime_ns,
            ctime_ns=status.st_ctime_ns,
            digest=digest,
        )
        # A name that is not UTF-8 has no place in the table: it is digested each time.
        is_kept = self._is_constant or not entry.is_racy(self._started_ns)
        if is_kept and printable(item.path) == item.path:
            with self._lock:
                self._fresh[item.path] = entry
        return digest

    def save(self) -> None:
        """Keep what was learnt for the next build; nothing to do when all was known."""
        if self._fresh:
            self._cache.save(self._context, {**self._known, **self._fresh})


def open_context(path: Path, ignore: IgnoreMatcher | None, digests: ContextDigests) -> Tree:
    """Return the context as a tree to copy from.

    Raises:
        BuildError: if it is not a directory.

    """
    return Tree(
        fd=open_directory(path, "build context"),
        what="build context",
        keeps_owners=False,
        ignore=ignore,
        digest_of=digests.digest_of,
    )


def open_directory(path: Path, what: str) -> OwnedFd:
    """Open a directory that the user named.

    Raises:
        BuildError: if there is none.

    """
    try:
        fd = OwnedFd(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except FileNotFoundError as error:
        raise BuildError(f"the {what} {path} does not exist", hint="Check the path.") from error
    except OSError as error:
        raise BuildError(f"cannot read the {what} {path}: {error.strerror}") from error
    assert stat.S_ISDIR(os.fstat(fd.fileno()).st_mode)
    return fd
