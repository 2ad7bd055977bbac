"""Each test is an attack that worked on some container tool; the outside must stay untouched."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from imagekit.sandbox.errors import SandboxError, UnknownUserError
from imagekit.sandbox.spec import Limits, Mount, MountKind

pytestmark = pytest.mark.root


def replace_by_link(path: Path, target: Path | str) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
    path.symlink_to(target)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory of the host that an image may point at and never reach."""
    directory = tmp_path / "outside"
    directory.mkdir()
    (directory / "precious").write_text("untouched")
    return directory


def test_dev_as_a_link_to_the_host(hostile: Any, outside: Path) -> None:
    # CVE-2026-41579 (runc), CVE-2026-47766 (crun): nodes and links were made behind it.
    (hostile.image / "dev").symlink_to(outside)

    outcome = hostile.shell("stat -c %F /dev; echo x > /dev/null")

    assert outcome.out == "directory\n"
    assert [path.name for path in outside.iterdir()] == ["precious"]


@pytest.mark.parametrize("name", ["proc", "sys"])
def test_proc_or_sys_as_a_link(hostile: Any, outside: Path, name: str) -> None:
    # CVE-2019-16884, CVE-2019-19921, CVE-2023-27561, CVE-2023-28642
    (hostile.image / name).symlink_to(outside)

    outcome = hostile.shell(
        f"test -L /{name} || echo real; cat /proc/1/comm; ls /sys/kernel | head -1"
    )

    assert outcome.out.splitlines()[0] == "real"
    assert len(outcome.out.splitlines()) == 3
    assert [path.name for path in outside.iterdir()] == ["precious"]


def test_etc_as_a_link(hostile: Any, outside: Path) -> None:
    for path in (hostile.image / "etc").iterdir():
        path.unlink()
    replace_by_link(hostile.image / "etc", outside)

    outcome = hostile.shell("echo x >> /etc/hosts; echo y > /etc/new")

    assert [path.name for path in outside.iterdir()] == ["precious"]
    assert outcome.changes() == ["etc", "etc/new"]


@pytest.mark.parametrize("name", ["hosts", "resolv.conf", "hostname"])
def test_generated_file_as_a_link(hostile: Any, outside: Path, name: str) -> None:
    (hostile.image / "etc" / name).symlink_to(outside / "precious")

    hostile.shell(f"echo owned > /etc/{name}")

    assert (outside / "precious").read_text() == "untouched"


def test_links_put_into_the_changes_before_a_restart(hostile: Any, outside: Path) -> None:
    root = hostile.root()
    (root.upperdir / "dev").symlink_to(outside)

    with pytest.raises(SandboxError):
        hostile.shell("true", root=root)

    assert [path.name for path in outside.iterdir()] == ["precious"]


def test_null_device_replaced(hostile: Any, outside: Path) -> None:
    # CVE-2025-31133: /dev/null of the image as a link made a mask writable.
    (hostile.image / "dev").mkdir()
    (hostile.image / "dev/null").symlink_to("/proc/sys/kernel/core_pattern")

    outcome = hostile.shell("cat /proc/kcore /proc/keys; stat -c %t:%T /dev/null")

    assert outcome.out == "1:3\n"


def test_mount_target_behind_a_link_stays_inside(hostile: Any, outside: Path) -> None:
    # CVE-2021-30465, CVE-2024-45310
    (hostile.image / "data").symlink_to(outside)
    source = hostile.directory / "source"
    source.mkdir()

    outcome = hostile.shell(
        "echo x > /data/new/dir/f", mounts=(Mount(target="/data/new/dir", source=source),)
    )

    assert outcome.changes() == []
    assert (source / "f").exists()
    assert [path.name for path in outside.iterdir()] == ["precious"]


def test_mount_target_behind_an_absolute_link_is_resolved_inside(hostile: Any) -> None:
    (hostile.image / "data").symlink_to("/var")
    source = hostile.directory / "source"
    source.mkdir()

    outcome = hostile.shell(
        "echo x > /data/sub/f; ls -d /var/sub", mounts=(Mount(target="/data/sub", source=source),)
    )

    assert outcome.out == "/var/sub\n"
    assert (source / "f").exists()
    assert outcome.changes() == []


def test_mount_source_link_out_of_its_tree(hostile: Any, outside: Path) -> None:
    # CVE-2024-1753 (buildah): RUN --mount=type=bind with a source that is a link to /.
    stage = hostile.directory / "stage"
    stage.mkdir()
    (stage / "escape").symlink_to("/")

    outcome = hostile.shell(
        "ls /m",
        mounts=(Mount(target="/m", source=Path("/escape"), source_root=stage, read_only=True),),
    )

    assert outcome.out == "escape\n"


def test_mount_source_with_dots(hostile: Any, outside: Path) -> None:
    stage = hostile.directory / "stage"
    stage.mkdir()

    with pytest.raises(SandboxError):
        hostile.shell(
            "true", mounts=(Mount(target="/m", source=Path("/../outside"), source_root=stage),)
        )


def test_mount_over_proc_is_refused(hostile: Any) -> None:
    source = hostile.directory / "source"
    source.mkdir()

    with pytest.raises(SandboxError, match="lies in /proc"):
        hostile.shell("true", mounts=(Mount(target="/proc/sys", source=source),))


@pytest.mark.parametrize("number", range(3, 24))
def test_working_directory_through_a_leaked_descriptor(bench: Any, number: int) -> None:
    # CVE-2024-21626: WORKDIR /proc/self/fd/N
    try:
        outcome = bench.shell("pwd; ls", cwd=f"/proc/self/fd/{number}")
    except SandboxError:
        return
    assert outcome.out.startswith("/proc/self/fd")


def test_working_directory_link_to_a_leaked_descriptor(hostile: Any) -> None:
    (hostile.image / "w").symlink_to("/proc/self/fd/5")

    with pytest.raises(SandboxError):
        hostile.shell("pwd", cwd="/w/x")


def test_working_directory_link_to_the_host(hostile: Any, outside: Path) -> None:
    # podman 4.3 made directories behind it.
    (hostile.image / "w").symlink_to(outside)

    with pytest.raises(SandboxError):
        hostile.run("true", cwd="/w/new/dir")

    assert [path.name for path in outside.iterdir()] == ["precious"]


def test_no_descriptor_of_the_host_is_inherited(bench: Any, tmp_path: Path) -> None:
    # CVE-2016-9962, CVE-2024-21626
    fd = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(fd, True)
    outcome = bench.run("ls", "/proc/1/fd")
    os.close(fd)

    assert outcome.out.split() == ["0", "1", "2", "3"]  # 3 is the listing itself


@pytest.mark.parametrize("name", ["passwd", "group"])
def test_passwd_as_a_fifo_does_not_hang(hostile: Any, name: str) -> None:
    # docker 20.10 waits for ever (CVE-2024-9676 class).
    (hostile.image / "etc" / name).unlink()
    os.mkfifo(hostile.image / "etc" / name)

    with pytest.raises(UnknownUserError, match="not a regular file"):
        hostile.run("true", user="bob")


def test_passwd_as_a_link_to_the_host(hostile: Any, outside: Path) -> None:
    (outside / "precious").write_text("eve:x:0:0::/:/bin/sh\n")
    replace_by_link(hostile.image / "etc/passwd", outside / "precious")

    with pytest.raises(UnknownUserError, match="no user 'eve'"):
        hostile.run("true", user="eve")


def test_huge_passwd(hostile: Any) -> None:
    with (hostile.image / "etc/passwd").open("wb") as file:
        file.truncate(11 << 20)

    with pytest.raises(UnknownUserError, match="too large"):
        hostile.run("true", user="bob")


def test_numeric_name_is_not_looked_up(hostile: Any) -> None:
    # CVE-2026-46680: a user named "1000" with uid 0.
    with (hostile.image / "etc/passwd").open("a") as file:
        file.write("2000:x:0:0::/:/bin/sh\n")

    assert hostile.shell("id -u", user="2000").out == "2000\n"


def test_overlay_redirect_in_a_layer_is_not_followed(hostile: Any) -> None:
    # docker 20.10 and podman 4.3 follow trusted.overlay.redirect of a downloaded layer.
    secret = hostile.directory / "lower/secret"
    secret.mkdir(parents=True)
    (secret / "key").write_text("k")
    bait = hostile.directory / "upper/bait"
    bait.mkdir(parents=True)
    os.setxattr(bait, "trusted.overlay.redirect", b"/secret")
    root = hostile.root(bait.parent, secret.parent)

    assert hostile.shell("cat /bait/key", root=root).out == ""


def test_image_cannot_make_the_helper_import_its_code(hostile: Any) -> None:
    # CVE-2019-14271: a library of the image was loaded with full privilege.
    for place in ("json", "encodings", "ctypes", "pwd"):
        directory = hostile.image / "usr/lib/python3.11" / place
        directory.mkdir(parents=True)
        (directory / "__init__.py").write_text("open('/pwned', 'w')")

    with pytest.raises(SandboxError):
        hostile.run("true", user="no such user \udcff")

    assert not (hostile.image / "pwned").exists()


def test_process_one_of_init_cannot_be_inspected(bench: Any) -> None:
    # CVE-2019-5736: the helper's own program must not be reachable.
    outcome = bench.shell(
        "readlink /proc/1/exe; cat /proc/1/environ; ls /proc/1/fd; cat /proc/1/cmdline", init=True
    )

    assert outcome.out.rstrip("\0") == "0\n1\n2\nimagekit-init"


def test_swapped_device_through_the_terminal_name(hostile: Any, outside: Path) -> None:
    # CVE-2025-52565: /dev/console was bound by the name of the terminal.
    (hostile.image / "dev").mkdir()
    (hostile.image / "dev/pts").symlink_to(outside)
    (hostile.image / "dev/console").symlink_to(outside / "precious")
    process = hostile.start(
        hostile.spec("sh", "-c", "echo x > /dev/console", tty=True), out=1, err=2
    )

    assert process.wait(10).exit_code == 0
    process.close()
    assert (outside / "precious").read_text() == "untouched"


def test_fork_bomb_is_bounded_and_removed(bench: Any, cgroups_of: Any) -> None:
    spec = bench.spec("sh", "-c", "f() { f | f & }; f; sleep 60", limits=Limits(pids=30))
    process = bench.start(spec, out=1, err=os.open(os.devnull, os.O_WRONLY))
    assert process.cgroup is not None
    while process.cgroup.process_count() < 5 and process.poll() is None:
        signal.sigtimedwait([], 0.005)

    process.kill()
    process.wait(10)

    assert not cgroups_of(spec.id)


def test_secret_never_reaches_a_disk(bench: Any) -> None:
    secret = Mount(target="/run/secrets/token", kind=MountKind.FILE, content=b"s3cret", mode=0o400)

    outcome = bench.shell("cat /run/secrets/token; grep secrets /proc/mounts", mounts=(secret,))

    assert outcome.out.startswith("s3crettmpfs /run/secrets/token tmpfs")
    assert outcome.changes() == []


def test_setuid_from_a_bind_mount_can_be_switched_off(bench: Any, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    mount = Mount(target="/m", source=source, no_suid=True, no_dev=True, no_exec=True)

    outcome = bench.shell("grep ' /m ' /proc/mounts", mounts=(mount,))

    assert {"nosuid", "nodev", "noexec"} <= set(outcome.out.split()[3].split(","))


def test_mount_propagates_nowhere(bench: Any) -> None:
    before = Path("/proc/self/mountinfo").read_text()

    bench.shell("mkdir /m; mount -t tmpfs x /m; mount", privileged=True)

    assert Path("/proc/self/mountinfo").read_text() == before
