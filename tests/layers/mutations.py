"""Random changes to a tree, and overlay mounts to make them in."""

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import strategies as st

Operation = tuple[str, str, str, int]

NAMES = st.sampled_from(["a", "b", "c", "ä", "long-" + "n" * 120])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
KINDS = st.sampled_from(
    ["write", "mkdir", "symlink", "link", "remove", "chmod", "chown", "xattr", "fifo", "device",
     "touch", "replace-directory", "rename", "open", "overwrite", "retarget"]
)  # fmt: skip
OPERATIONS = st.lists(st.tuples(KINDS, PATHS, PATHS, st.integers(0, 4000)), max_size=14)


def perform(root: Path, operations: list[Operation]) -> None:
    """Do what is possible of ``operations`` in ``root``, times included, reproducibly."""
    for kind, first, second, number in operations:
        path, other = root / first, root / second
        try:
            perform_one(kind, path, other, number)
        except (OSError, shutil.Error):
            continue


def perform_one(kind: str, path: Path, other: Path, number: int) -> None:
    match kind:
        case "write":
            if not path.is_fifo():
                path.write_bytes(b"x" * number)
        case "mkdir":
            path.mkdir(parents=True)
        case "symlink":
            path.symlink_to("../" + other.name)
        case "link":
            os.link(other, path, follow_symlinks=False)
        case "remove":
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        case "chmod":
            if not path.is_symlink():
                path.chmod(number & 0o7777)
        case "chown":
            os.lchown(path, number, number + 1)
        case "xattr":
            if path.is_file() or path.is_dir():
                os.setxattr(path, "user.test", str(number).encode(), follow_symlinks=False)
        case "fifo":
            os.mkfifo(path)
        case "device":
            sort = stat.S_IFBLK if number % 2 else stat.S_IFCHR
            os.mknod(path, sort | 0o640, os.makedev(1 + number % 3, number))
        case "touch":
            os.utime(path, ns=(0, number * 1_234_567_891), follow_symlinks=False)
        case "replace-directory":
            if path.is_dir() and not path.is_symlink():  # rmtree would wait for a fifo's writer
                shutil.rmtree(path)
                path.mkdir()
                (path / "new").write_bytes(b"new")
        case "rename":
            path.rename(other)
        case "open":
            if path.is_file():
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        case "overwrite":
            if path.is_file() and not path.is_symlink():
                overwrite(path)
        case "retarget":
            if path.is_symlink():
                target, times = os.readlink(path), path.lstat().st_mtime_ns
                path.unlink()
                path.symlink_to(target[::-1])
                os.utime(path, ns=(0, times), follow_symlinks=False)


def overwrite(path: Path) -> None:
    """Change the content and nothing that can be seen without reading it, but for the ctime."""
    times = path.stat().st_mtime_ns
    content = path.read_bytes()
    with path.open("r+b") as file:
        file.write(bytes(byte ^ 1 for byte in content))
    os.utime(path, ns=(0, times))


@contextmanager
def overlay(work: Path, lowers: list[Path], upper: Path) -> Iterator[Path]:
    merged, workdir = work / f"merged-{upper.name}", work / f"work-{upper.name}"
    for path in (merged, workdir, upper):
        path.mkdir(exist_ok=True)
    options = (
        f"lowerdir={':'.join(map(str, lowers))},upperdir={upper},workdir={workdir},"
        "redirect_dir=nofollow,metacopy=off,index=off,xino=off,volatile"
    )
    subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", merged], check=True)
    try:
        yield merged
    finally:
        subprocess.run(["umount", merged], check=True)
        shutil.rmtree(workdir, ignore_errors=True)
