"""Images made of containers."""

import json
from typing import TYPE_CHECKING

import msgspec
import pytest

from imagekit.containers.commit import committed_config
from imagekit.containers.request import PortMapping, RunRequest
from imagekit.containers.spec import ContainerSpec, ImageRef
from imagekit.oci.image_config import ContainerConfig
from imagekit.sandbox.spec import NetworkMode, ProcessSpec

if TYPE_CHECKING:
    from tests.containers.conftest import World


def spec(request: RunRequest) -> ContainerSpec:
    return ContainerSpec(
        id="0" * 64,
        name="box",
        image=ImageRef(id="", media_type="", digest="", size=0, chain_id=None),
        created="",
        request=request,
        process=ProcessSpec(argv=("x",)),
        entrypoint=(),
        command=("x",),
    )


def test_what_the_user_gave_is_committed_over_the_image() -> None:
    config = ContainerConfig(
        entrypoint=("/entry",), cmd=("old",), env=("A=1", "B=2"), labels={"a": "1"}, user="u"
    )
    request = RunRequest(
        image="i",
        command=("new",),
        env=("B=3",),
        labels={"b": "2"},
        workdir="/w",
        publish=(PortMapping(container_port=80),),
    )

    committed = committed_config(spec(request), config)

    assert committed == ContainerConfig(
        entrypoint=("/entry",),
        cmd=("new",),
        env=("A=1", "B=3"),
        labels={"a": "1", "b": "2"},
        user="u",
        working_dir="/w",
        exposed_ports={"80/tcp": {}},
    )


def test_new_entrypoint_drops_the_command_of_the_image() -> None:
    config = ContainerConfig(entrypoint=("/entry",), cmd=("old",))

    committed = committed_config(spec(RunRequest(image="i", entrypoint=("/new",))), config)

    assert (committed.entrypoint, committed.cmd) == (("/new",), None)


@pytest.mark.root
def test_changes_become_a_layer(world: "World") -> None:
    world.run("sh", "-c", "echo new > /data/new; rm /data/seed", remove=False, name="box")

    image = world.containers.commit("box", "made:1", message="by hand", author="me")

    assert image.name == "docker.io/library/made:1"
    assert len(image.config.diff_ids) == 2
    assert image.config.history[-1].comment == "by hand"
    result = world.containers.run(
        RunRequest(
            image="made:1",
            command=("sh", "-c", "test -e /data/new && ! test -e /data/seed"),
            network=NetworkMode.NONE,
            remove=True,
        )
    )
    assert result.exit_code == 0


@pytest.mark.root
def test_running_container_is_frozen_meanwhile_and_goes_on(world: "World") -> None:
    # Renamed into place, as an empty file between opening and writing would be right too.
    put = "echo $i > /t; busybox mv /t"
    script = f"i=0; while :; do i=$((i+1)); {put} /a; {put} /b; done"
    world.start("sh", "-c", script, name="box")
    while world.exec("box", "test", "-e", "/b")[0]:
        pass

    image = world.containers.commit("box")

    world.store.images.set("docker.io/library/frozen:1", image.descriptor)
    check = "a=$(cat /a); b=$(cat /b); test $((a-b)) -le 1"
    result = world.containers.run(
        RunRequest(
            image="frozen:1", command=("sh", "-c", check), network=NetworkMode.NONE, remove=True
        )
    )
    assert result.exit_code == 0
    before = world.exec("box", "cat", "/a")[1]
    while world.exec("box", "cat", "/a")[1] == before:
        pass


@pytest.mark.root
def test_commit_of_an_image_whose_name_has_moved_on(world: "World") -> None:
    world.run("touch", "/x", remove=False, name="box")
    world.containers.commit("box", "moving:1")
    world.containers.run(
        RunRequest(image="moving:1", command=("true",), network=NetworkMode.NONE, name="second")
    )
    world.store.images.delete("docker.io/library/moving:1")
    world.store.gc.prune(everything=True)

    image = world.containers.commit("second")

    assert len(image.config.diff_ids) == 3


@pytest.mark.root
def test_edits_have_the_last_word(world: "World") -> None:
    world.run("true", remove=False, name="box")

    image = world.containers.commit(
        "box", edit=lambda config: msgspec.structs.replace(config, user="user")
    )

    assert image.config.config.user == "user"
    with pytest.raises(ValueError, match="editor"):
        world.containers.commit("box", changes=("USER user",))


def test_spec_survives_its_json() -> None:
    original = spec(
        RunRequest(image="i", publish=(PortMapping(container_port=1),), entrypoint=("e",))
    )

    assert ContainerSpec.parse(original.to_json()) == original
    assert json.loads(original.to_json())["request"]["image"] == "i"
