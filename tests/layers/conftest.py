"""Looking at trees, and making archives that no honest program would make."""

import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

Tree = dict[str, tuple[object, ...]]


def _snapshot(root: Path, *, ignore_root_time: bool = True) -> Tree:
    tree: Tree = {}
    links: dict[tuple[int, int], str] = {}
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in (
            [".", *sorted(folders + names)] if folder == str(root) else sorted(folders + names)
        ):
            path = os.path.join(folder, name)
            status = os.lstat(path)
            kind = stat.S_IFMT(status.st_mode)
            content: object = None
            if kind == stat.S_IFREG:
                with open(path, "rb") as file:
                    content = hashlib.sha256(file.read()).hexdigest()
            elif kind == stat.S_IFLNK:
                content = os.readlink(path)
            elif kind in (stat.S_IFCHR, stat.S_IFBLK):
                content = status.st_rdev
            relative = os.path.relpath(path, root)
            first = relative
            if status.st_nlink > 1 and kind != stat.S_IFDIR:
                first = links.setdefault((status.st_dev, status.st_ino), relative)
            xattrs = tuple(
                (key, os.getxattr(path, key, follow_symlinks=False))
                for key in sorted(os.listxattr(path, follow_symlinks=False))
                if key.startswith("user.") or key == "security.capability"
            )
            mtime = 0 if relative == "." and ignore_root_time else status.st_mtime_ns
            mode = stat.S_IMODE(status.st_mode)
            tree[relative] = (
                kind, mode, status.st_uid, status.st_gid, mtime, content, first, xattrs,
            )  # fmt: skip
    return tree


@pytest.fixture(scope="session")
def snapshot() -> Callable[[Path], Tree]:
    """Everything about a tree that a layer must keep."""
    return _snapshot


Member = tuple[str, bytes, dict[str, object]]


def _archive(*members: Member) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content, fields in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for key, value in fields.items():
                setattr(member, key, value)
            archive.addfile(member, io.BytesIO(content))
    return output.getvalue()


@pytest.fixture(scope="session")
def archive() -> Callable[..., bytes]:
    """Make a tar archive of (name, content, TarInfo fields)."""
    return _archive
