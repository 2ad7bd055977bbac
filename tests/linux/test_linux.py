import errno
import os
from pathlib import Path

import pytest

from imagekit.linux import capabilities, libc, mounts, process, syscall_tables
from imagekit.linux.constants import (
    RESOLVE_BENEATH,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
)
from imagekit.linux.features import Features, kernel_version
from imagekit.linux.files import openat2


def test_openat2_resolves_inside(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/file").write_text("inside")
    (tmp_path / "link").symlink_to("/real")
    root = os.open(tmp_path, os.O_PATH)

    fd = openat2(root, "link/file", os.O_RDONLY, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)

    assert os.read(fd, 10) == b"inside"
    assert not os.get_inheritable(fd)
    os.close(fd)
    with pytest.raises(OSError, match="Too many levels") as caught:
        openat2(root, "link/file", os.O_RDONLY, 0, RESOLVE_NO_SYMLINKS)
    assert caught.value.errno == errno.ELOOP
    with pytest.raises(OSError, match="cross-device") as caught:
        openat2(root, "../x", os.O_RDONLY, 0, RESOLVE_BENEATH)
    with pytest.raises(FileNotFoundError):
        openat2(root, "none", os.O_RDONLY)
    with pytest.raises(ValueError, match="null"):
        openat2(root, "a\0b", os.O_RDONLY)
    os.close(root)


def test_openat2_creates_with_a_mode(tmp_path: Path) -> None:
    root = os.open(tmp_path, os.O_PATH)

    os.close(openat2(root, b"new\xff", os.O_CREAT | os.O_WRONLY, 0o640, RESOLVE_IN_ROOT))
    os.close(root)

    assert (tmp_path / "new\udcff").stat().st_mode & 0o777 == 0o640


def test_a_failed_call_names_itself() -> None:
    with pytest.raises(OSError, match="umount /nonexistent: No such file") as caught:
        mounts.umount2("/nonexistent")
    assert caught.value.errno in (errno.ENOENT, errno.EPERM)


def test_capability_names() -> None:
    assert len(capabilities.NAMES) == 41
    assert capabilities.NAMES[21] == "SYS_ADMIN"
    assert capabilities.names_of(capabilities.mask_of({"CHOWN", "BPF"})) == {"CHOWN", "BPF"}
    with pytest.raises(ValueError, match="NOPE"):
        capabilities.mask_of({"NOPE"})


def test_effective_capabilities_are_those_of_proc() -> None:
    lines = Path("/proc/self/status").read_text().splitlines()
    expected = next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff"))

    assert capabilities.effective() == expected
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    assert capabilities.last() == last


@pytest.mark.parametrize(
    ("table", "name", "number"),
    [
        (syscall_tables.X86_64, "read", 0),
        (syscall_tables.X86_64, "execve", 59),
        (syscall_tables.X86_64, "pidfd_send_signal", 424),
        (syscall_tables.X86_64, "mseal", 462),
        (syscall_tables.I386, "read", 3),
        (syscall_tables.I386, "socketcall", 102),
        (syscall_tables.I386, "clock_gettime64", 403),
        (syscall_tables.ARM64, "read", 63),
        (syscall_tables.ARM64, "execve", 221),
        (syscall_tables.ARM64, "clone3", 435),
    ],
)
def test_system_call_numbers(table: dict[str, int], name: str, number: int) -> None:
    assert table[name] == number


def test_own_numbers_agree_with_the_tables() -> None:
    table = {"x86_64": syscall_tables.X86_64, "aarch64": syscall_tables.ARM64}.get(libc.MACHINE)
    if table is None:
        pytest.skip(f"no table for {libc.MACHINE}")
    for name, number in vars(libc).items():
        if name.startswith("SYS_"):
            assert table[name.removeprefix("SYS_")] == number


def test_legacy_overlay_options() -> None:
    options = mounts.overlay_options(["/a:b", "/c,d"], upperdir="/u", workdir="/w", volatile=True)

    assert mounts.legacy_overlay_options(options) == (
        "lowerdir=/a\\:b:/c\\,d,upperdir=/u,workdir=/w,volatile,"
        "redirect_dir=nofollow,metacopy=off,index=off,xino=off"
    )


def test_userxattr_excludes_what_it_cannot_have() -> None:
    keys = [key for key, _ in mounts.overlay_options(["/a"], userxattr=True)]

    assert "userxattr" in keys
    assert "redirect_dir" not in keys


@pytest.mark.root
def test_legacy_overlay_mount(tmp_path: Path) -> None:
    for name in ("a:b", "c,d", "u", "w", "t"):
        (tmp_path / name).mkdir()
    (tmp_path / "a:b/file").touch()
    options = mounts.overlay_options(
        [str(tmp_path / "a:b"), str(tmp_path / "c,d")],
        upperdir=str(tmp_path / "u"),
        workdir=str(tmp_path / "w"),
    )

    text = mounts.legacy_overlay_options(options)
    mounts.mount("overlay", str(tmp_path / "t"), "overlay", 0, text)
    try:
        assert (tmp_path / "t/file").exists()
    finally:
        mounts.umount2(tmp_path / "t")


@pytest.mark.root
def test_kernel_explains_a_failed_mount(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nonsense"):
        mounts.new_mount("tmpfs", [("nonsense", "1")])


@pytest.mark.root
def test_features_of_root() -> None:
    features = Features.probe()

    assert features.is_root
    assert features.sandbox.works, features.sandbox.reason


@pytest.mark.parametrize(
    ("release", "expected"),
    [("6.18.44-fc", (6, 18)), ("5.4.0-150-generic", (5, 4)), ("6.1", (6, 1)), ("7.0rc1", (7, 0))],
)
def test_kernel_version(release: str, expected: tuple[int, int]) -> None:
    assert kernel_version(release) == expected


def test_command_line_can_be_overwritten() -> None:
    import subprocess
    import sys

    code = (
        "import sys; sys.path.insert(0, %r); from imagekit.linux import process;"
        "process.set_command_line('short'); print(open('/proc/self/cmdline').read().rstrip(chr(0)))"
    )
    repository = str(Path(process.__file__).parents[2])
    out = subprocess.run(
        [sys.executable, "-c", code % repository], capture_output=True, text=True, check=True
    ).stdout

    assert out == "short\n"
