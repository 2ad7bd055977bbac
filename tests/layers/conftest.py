"""Looking at trees, and making archives that no honest program would make."""

import hashlib
import io
import os
import stat
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imagekit.layers.apply import WhiteoutForm, apply_layer, extract_archive

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


@pytest.fixture(params=[*WhiteoutForm, "add"], ids=lambda form: getattr(form, "value", form))
def unpack(
    request: pytest.FixtureRequest, tmp_path: Path, snapshot: Callable[[Path], Tree]
) -> Iterator[Callable[[bytes], Path]]:
    """Unpack into tmp/house/target; the house must look the same afterwards."""
    house = tmp_path / "house"
    target = house / "target"
    lower = tmp_path / "lower"
    for path in (target, lower, house / "outside"):
        path.mkdir(parents=True)
    (house / "outside/secret").write_text("secret")
    (house / "secret").write_text("secret")

    def run(data: bytes) -> Path:
        form = request.param
        if form == "add":
            extract_archive(io.BytesIO(data), target, "/")
        else:
            lowers = [] if form is WhiteoutForm.PLAIN else [lower]
            apply_layer(io.BytesIO(data), target, lowerdirs=lowers, form=form)
        return target

    def outside() -> dict[str, object]:
        seen = snapshot(house)
        return {
            path: value[:4] if path == "." else value
            for path, value in seen.items()
            if not path.startswith("target")
        }

    before = outside()
    yield run
    assert sorted(os.listdir(house)) == ["outside", "secret", "target"]
    # Not shutil: what is in there may be too deep for a recursive function.
    subprocess.run(["rm", "-rf", target], check=True)
    assert outside() == before
    assert (house / "secret").stat().st_nlink == 1
