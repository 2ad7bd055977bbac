"""Volumes, binds and what of the image is copied into them."""

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from imagekit.containers.request import RunRequest, VolumeMount
from imagekit.containers.volumes import Volumes
from imagekit.sandbox.spec import NetworkMode

if TYPE_CHECKING:
    from tests.containers.conftest import World

pytestmark = pytest.mark.root


@pytest.fixture
def volumes(world: "World") -> Volumes:
    return Volumes(world.store.root / "volumes", world.store.locks)


def test_new_volume_gets_the_content_of_the_image(world: "World", volumes: Volumes) -> None:
    mount = VolumeMount(source="fresh", target="/data")

    assert world.run("cat", "/data/seed", volumes=(mount,))[1] == b"from the image\n"

    assert (volumes.path("fresh") / "seed").read_text() == "from the image\n"
    assert volumes.names() == ("fresh",)
    volumes.remove("fresh")


def test_volume_keeps_what_is_written_to_it(world: "World", volumes: Volumes) -> None:
    mount = VolumeMount(source="kept", target="/data")
    world.run("sh", "-c", "rm /data/seed; echo x > /data/new", volumes=(mount,))

    assert world.run("ls", "/data", volumes=(mount,))[1] == b"new\n"
    volumes.remove("kept")


def test_volume_takes_mode_owner_links_and_times_of_the_image(
    world: "World", volumes: Volumes
) -> None:
    script = (
        "mkdir -m 751 /data/d; echo a > /data/d/f; chown 1000:1000 /data/d /data/d/f; chmod 4755"
        " /data/d/f; touch -d '2001-02-03 04:05:06' /data/d/f; busybox ln -s ../d/f /data/d/l;"
        " busybox ln /data/d/f /data/d/h; chmod 0700 /data; chown 1000 /data"
    )
    world.run("sh", "-c", script, remove=False, name="maker")
    image = world.containers.commit("maker", "busybox:owned")
    world.containers.run(_request(str(image.name), VolumeMount(source="copied", target="/data")))

    path = volumes.path("copied")
    status = (path / "d/f").stat()
    assert (path.stat().st_uid, path.stat().st_mode & 0o7777) == (1000, 0o700)
    assert ((path / "d").stat().st_uid, (path / "d").stat().st_mode & 0o7777) == (1000, 0o751)
    assert (status.st_uid, status.st_mode & 0o7777, status.st_nlink) == (1000, 0o4755, 2)
    assert int(status.st_mtime) == 981173106
    assert os.readlink(path / "d/l") == "../d/f"
    assert (path / "seed").exists(), "the lower layer is seen too"
    volumes.remove("copied")


def _request(image: str, mount: VolumeMount) -> RunRequest:
    return RunRequest(
        image=image, command=("true",), volumes=(mount,), network=NetworkMode.NONE, remove=True
    )


def test_volume_where_the_image_has_nothing_is_empty(world: "World", volumes: Volumes) -> None:
    mount = VolumeMount(source="empty", target="/not/there")

    assert world.run("ls", "/not/there", volumes=(mount,))[1] == b""
    volumes.remove("empty")


def test_link_of_the_image_cannot_lead_the_copy_to_the_host(
    world: "World", volumes: Volumes, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("of the host")
    world.run(
        "sh", "-c", f"busybox ln -s {tmp_path} /trap", remove=False, name="maker"
    )  # fmt: skip
    image = world.containers.commit("maker", "busybox:trap")

    world.containers.run(_request(str(image.name), VolumeMount(source="trap", target="/trap/x")))
    created = world.containers.create(
        _request(str(image.name), VolumeMount(source="trap2", target="/trap"))
    )

    assert list(volumes.path("trap").iterdir()) == []
    assert list(volumes.path("trap2").iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]
    world.containers.remove(created)
    volumes.remove("trap")
    volumes.remove("trap2")


def test_bind_is_seen_and_can_be_read_only(world: "World", tmp_path: Path) -> None:
    (tmp_path / "file").write_text("of the host\n")
    mount = VolumeMount(source=str(tmp_path), target="/mnt/host")

    assert world.run("cat", "/mnt/host/file", volumes=(mount,))[1] == b"of the host\n"
    world.run("touch", "/mnt/host/new", volumes=(mount,))
    _, _, err = world.run(
        "touch",
        "/mnt/host/refused",
        volumes=(VolumeMount(source=str(tmp_path), target="/mnt/host", read_only=True),),
    )

    assert (tmp_path / "new").exists()
    assert b"Read-only" in err


def test_missing_bind_source_is_made_as_docker_does(world: "World", tmp_path: Path) -> None:
    mount = VolumeMount(source=str(tmp_path / "a/b"), target="/x")

    world.run("touch", "/x/y", volumes=(mount,))

    assert (tmp_path / "a/b/y").exists()


def test_mount_leaves_no_trace_in_the_changes(world: "World", tmp_path: Path) -> None:
    mount = VolumeMount(source=str(tmp_path), target="/deep/target")

    result, _, _ = world.run("true", remove=False, volumes=(mount,), tmpfs=("/scratch:size=1m",))

    assert list((world.store.containers.directory(result.id) / "fs").iterdir()) == []


def test_volume_without_a_name_goes_with_its_container(world: "World", volumes: Volumes) -> None:
    mount = VolumeMount(source="", target="/data")

    world.run("true", volumes=(mount,))
    assert volumes.names() == ()
    world.run("true", volumes=(mount,), remove=False, name="box")
    assert len(volumes.names()) == 1
    world.containers.remove("box", volumes=True)

    assert volumes.names() == ()


def test_declared_volume_of_the_image_is_made(world: "World", volumes: Volumes) -> None:
    world.run("true", remove=False, name="maker")
    image = world.containers.commit(
        "maker",
        "busybox:declared",
        edit=lambda config: msgspec.structs.replace(config, volumes={"/data": {}}),
    )

    created = world.containers.create(
        RunRequest(image=str(image.name), command=("true",), network=NetworkMode.NONE)
    )

    (mount,) = world.containers.inspect(created)["Mounts"]
    assert (mount["Type"], mount["Destination"]) == ("volume", "/data")
    assert (Path(mount["Source"]) / "seed").exists()
    world.containers.remove(created, volumes=True)
    assert volumes.names() == ()


def test_one_of_many_creators_fills_the_volume(world: "World", volumes: Volumes) -> None:
    fills: list[int] = []
    barrier = threading.Barrier(8)

    def fill(path: Path) -> None:
        fills.append(1)
        (path / "x").write_text("x")

    def create() -> None:
        barrier.wait(30)
        volumes.ensure("shared", fill)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(fills) == 1
    assert (volumes.path("shared") / "x").exists()
    volumes.remove("shared")


def test_failed_creation_is_tried_again(world: "World", volumes: Volumes) -> None:
    def fail(path: Path) -> None:
        (path / "half").write_text("half")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        volumes.ensure("again", fail)
    path = volumes.ensure("again", lambda fresh: (fresh / "whole").touch())

    assert [entry.name for entry in path.iterdir()] == ["whole"]
    assert volumes.names() == ("again",)
    volumes.remove("again")
