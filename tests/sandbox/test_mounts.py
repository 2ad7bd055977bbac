"""Additional mounts: what RUN --mount, -v and --tmpfs need."""

from pathlib import Path
from typing import Any

import pytest

from imagekit.base.errors import UserError
from imagekit.sandbox.errors import SandboxError
from imagekit.sandbox.overlay import mounted_layers, mounted_overlay
from imagekit.sandbox.spec import Mount, MountKind, OverlayRoot

pytestmark = pytest.mark.root


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "source"
    directory.mkdir()
    (directory / "file").write_text("content\n")
    return directory


def test_bind_read_only(bench: Any, source: Path) -> None:
    mount = Mount(target="/m", source=source, read_only=True)

    outcome = bench.shell("cat /m/file; echo x > /m/new", mounts=(mount,))

    assert outcome.out == "content\n"
    assert "Read-only" in outcome.err
    assert outcome.changes() == []


def test_bind_read_write(bench: Any, source: Path) -> None:
    outcome = bench.shell(
        "echo x > /cache/dir/new", mounts=(Mount(target="/cache/dir", source=source),)
    )

    assert (source / "new").read_text() == "x\n"
    assert outcome.changes() == []


def test_changes_beside_a_new_mount_point_are_kept(bench: Any, source: Path) -> None:
    outcome = bench.shell(
        "echo x > /var/cache/beside", mounts=(Mount(target="/var/cache/apt", source=source),)
    )

    assert outcome.changes() == ["var", "var/cache", "var/cache/beside"]


def test_mount_over_an_existing_directory_and_file(bench: Any, source: Path) -> None:
    mounts = (
        Mount(target="/home/bob", source=source),
        Mount(target="/etc/passwd", source=source / "file", read_only=True),
    )

    outcome = bench.shell("ls /home/bob; cat /etc/passwd", mounts=mounts)

    assert outcome.out == "file\ncontent\n"
    assert outcome.changes() == []


def test_own_resolv_conf_wins(bench: Any, source: Path) -> None:
    mount = Mount(target="/etc/resolv.conf", source=source / "file")

    assert bench.run("cat", "/etc/resolv.conf", mounts=(mount,)).out == "content\n"


def test_changes_of_a_discarding_bind_are_gone(bench: Any, source: Path) -> None:
    mount = Mount(target="/m", kind=MountKind.BIND_DISCARD, source=source)

    outcome = bench.shell("echo y > /m/file; rm /m/file; echo z > /m/new; ls /m", mounts=(mount,))

    assert outcome.out == "new\n"
    assert [path.name for path in source.iterdir()] == ["file"]


def test_source_inside_layers(bench: Any, tmp_path: Path) -> None:
    for name, content in (("top", "new"), ("bottom", "old")):
        (tmp_path / name / "data").mkdir(parents=True)
        (tmp_path / name / "data/version").write_text(content)
    (tmp_path / "bottom/data/other").write_text("other")
    layers = (tmp_path / "top", tmp_path / "bottom")
    mount = Mount(target="/m", source=Path("/data"), source_layers=layers, read_only=True)

    outcome = bench.shell("cat /m/version /m/other", mounts=(mount,))

    assert outcome.out == "newother"


def test_tmpfs(bench: Any) -> None:
    mount = Mount(target="/work", kind=MountKind.TMPFS, mode=0o700, uid=1000, size_bytes=65536)

    outcome = bench.shell(
        "stat -c '%a %u' /work; head -c 100000 /dev/zero > /work/f; stat -c %s /work/f",
        mounts=(mount,),
    )

    assert outcome.out == "700 1000\n65536\n"
    assert outcome.changes() == []


def test_file_has_owner_and_mode(bench: Any) -> None:
    mount = Mount(
        target="/run/secrets/k", kind=MountKind.FILE, content=b"\0\xff", mode=0o440, uid=1000
    )

    outcome = bench.shell("stat -c '%a %u %s' /run/secrets/k", mounts=(mount,))

    assert outcome.out == "440 1000 2\n"
    assert outcome.changes() == []


def test_nested_targets_in_any_order(bench: Any, source: Path, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "deep").touch()
    mounts = (
        Mount(target="/m/tmp/inner", source=inner),
        Mount(target="/m/tmp", kind=MountKind.TMPFS),
        Mount(target="/m", source=source),
    )

    outcome = bench.shell("ls /m /m/tmp/inner", mounts=mounts)

    assert outcome.out.split() == ["/m:", "file", "tmp", "/m/tmp/inner:", "deep"]


def test_socket_can_be_bound(bench: Any, tmp_path: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "agent"))
        mount = Mount(target="/run/ssh.sock", source=tmp_path / "agent")

        assert bench.shell("stat -c %F /run/ssh.sock", mounts=(mount,)).out == "socket\n"


def test_missing_source_is_named(bench: Any, tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match=r"open mount source .*/none"):
        bench.run("true", mounts=(Mount(target="/m", source=tmp_path / "none"),))


@pytest.mark.parametrize("target", ["relative", "/", "/a/.."])
def test_bad_target_is_refused(bench: Any, source: Path, target: str) -> None:
    with pytest.raises(UserError, match="mount target"):
        bench.run("true", mounts=(Mount(target=target, source=source),))


def test_mounted_overlay_leaves_a_plain_diff(bench: Any, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    root = bench.root()

    for content in ("first", "second"):  # a volatile overlay can be mounted again
        with mounted_overlay(root, tmp_path / "target") as view:
            assert (view / "etc/passwd").exists()
            (view / "file").write_text(content)

    assert (root.upperdir / "file").read_text() == "second"
    assert not list((tmp_path / "target").iterdir())


def test_mounted_overlay_without_layers(tmp_path: Path) -> None:
    for name in ("fs", "work", "target"):
        (tmp_path / name).mkdir()
    root = OverlayRoot(lowerdirs=(), upperdir=tmp_path / "fs", workdir=tmp_path / "work")

    with mounted_overlay(root, tmp_path / "target") as view:
        (view / "file").touch()

    assert (tmp_path / "fs/file").exists()


def test_mounted_layers_are_read_only(bench: Any, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()

    with mounted_layers((bench.image,), tmp_path / "target") as view:
        assert (view / "etc/passwd").exists()
        with pytest.raises(OSError, match="Read-only"):
            (view / "file").touch()
