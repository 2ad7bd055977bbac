"""What each instruction does to the config and the history (facts 5.2 of the reference)."""

from typing import TYPE_CHECKING

import pytest

from imagekit.build.errors import BuildError
from imagekit.dockerfile.errors import DockerfileError
from imagekit.oci.image_config import ContainerConfig

if TYPE_CHECKING:
    from tests.build.conftest import World

IMAGE = "busybox:test"

pytestmark = pytest.mark.root


def config(world: "World", body: str, **options: object) -> ContainerConfig:
    return world.build(f"FROM {IMAGE}\n{body}\n", **options).image.config.config


HISTORY = [
    ("ENV a=1 b=2", "ENV a=1 b=2"),
    ("ENV a some words", "ENV a=some words"),
    ("LABEL x=1 y='2 3'", "LABEL x=1 y=2 3"),
    ("ARG a=1", "ARG a=1"),
    ("ARG a", "ARG a"),
    ("ARG a=1 b c=3", "ARG a=1 b c=3"),
    ("RUN true", "RUN /bin/sh -c true # buildkit"),
    ('RUN ["true", "x y"]', "RUN true x y # buildkit"),
    ("RUN <<EOF\ntrue\nEOF", "RUN /bin/sh -c true\n # buildkit"),
    ("RUN <<EOF\n#!/bin/sh\ntrue\nEOF", "RUN /bin/sh -c /dev/pipes/EOF # buildkit"),
    ("COPY f g /x/", "COPY f g /x/ # buildkit"),
    ("COPY --chown=1:2 --chmod=644 f x", "COPY --chown=1:2 --chmod=644 f x # buildkit"),
    ("COPY --link f /x", "COPY f /x # buildkit"),
    ("COPY --parents f /x/", "COPY --parents f /x/ # buildkit"),
    ("COPY --exclude=z f /x", "COPY f /x # buildkit"),
    ("COPY f <<one <<two /x/\n1\none\n2\ntwo", "COPY f <<one <<two /x/ # buildkit"),
    ("ADD f /x", "ADD f /x # buildkit"),
    ("WORKDIR /w", "WORKDIR /w"),
    ("WORKDIR rel", "WORKDIR /rel"),
    ("WORKDIR /", "WORKDIR /"),
    ("USER app:wheel", "USER app:wheel"),
    ("VOLUME /a /b", "VOLUME [/a /b]"),
    ("EXPOSE 90/UDP 80", "EXPOSE [80/tcp 90/udp]"),
    ("CMD x", 'CMD ["/bin/sh" "-c" "x"]'),
    ('CMD ["a", "b\\"c"]', 'CMD ["a" "b\\"c"]'),
    ('ENTRYPOINT ["x"]', 'ENTRYPOINT ["x"]'),
    ('SHELL ["/bin/sh", "-ec"]', "SHELL [/bin/sh -ec]"),
    ("STOPSIGNAL sigterm", "STOPSIGNAL sigterm"),
    (
        "HEALTHCHECK --interval=5m --timeout=3s CMD x",
        ("HEALTHCHECK {Test:[CMD-SHELL x] Interval:5m0s Timeout:3s StartPeriod:0s"
        " StartInterval:0s Retries:0}"),
    ),
    ("HEALTHCHECK NONE", ("HEALTHCHECK {Test:[NONE] Interval:0s Timeout:0s StartPeriod:0s"
     " StartInterval:0s Retries:0}")),
    ("MAINTAINER some one", "MAINTAINER some one"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "created_by"), HISTORY)
def test_history_line(world: "World", line: str, created_by: str) -> None:
    world.write("f")
    world.write("g")

    result = world.build(f"FROM {IMAGE}\n{line}\n")

    (entry,) = [line for line in result.image.config.history if "buildkit" in line.comment]
    assert entry.created_by == created_by
    assert entry.comment == "buildkit.dockerfile.v0"
    makes_layer = line.split(maxsplit=1)[0] in ("RUN", "COPY", "ADD") or created_by in (
        "WORKDIR /w",
        "WORKDIR /rel",
    )
    assert entry.empty_layer is not makes_layer
    layers = [line for line in result.image.config.history if not line.empty_layer]
    assert len(layers) == len(result.image.config.diff_ids)


def test_onbuild_leaves_no_history(world: "World") -> None:
    result = world.build(f"FROM {IMAGE}\nONBUILD RUN echo \\\n  x\n")

    assert world.history(result) == []
    assert result.image.config.config.on_build == ("RUN echo   x",)


def test_run_prefix_lists_declared_arguments(world: "World") -> None:
    result = world.build(
        f"FROM {IMAGE} AS one\nARG b=1\nARG a\nARG b=2\nENV b=3\nRUN true\n"
        "FROM one\nARG c=x\nRUN true\n",
        build_args={"HTTP_PROXY": "http://secret", "a": "A"},
    )

    lines = world.history(result)
    assert "RUN |2 b=3 a=A /bin/sh -c true # buildkit" in lines
    assert "RUN |3 b=3 a=A c=x /bin/sh -c true # buildkit" in lines


def test_env_replaces_in_place_and_sees_the_environment_before(world: "World") -> None:
    found = config(world, "ENV a=1 b=2\nENV c=3 a=9 d=$a")

    assert found.env == ("PATH=/bin", "a=9", "b=2", "c=3", "d=1")


def test_default_path_is_added(world: "World") -> None:
    result = world.build("FROM scratch\nLABEL a=b\n")

    assert result.image.config.config.env == (
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    )
    assert result.image.config.config.working_dir == "/"


def test_entrypoint_resets_an_inherited_command_only(world: "World") -> None:
    inherited = config(world, "CMD x\n").cmd
    assert inherited == ("/bin/sh", "-c", "x")
    world.build(f"FROM {IMAGE}\nCMD x\n", tags=("with-cmd:1",))

    assert world.build('FROM with-cmd:1\nENTRYPOINT ["e"]\n').image.config.config.cmd is None
    assert config(world, 'CMD ["c"]\nENTRYPOINT ["e"]').cmd == ("c",)
    same_file = world.build(f'FROM {IMAGE} AS a\nCMD ["c"]\nFROM a\nENTRYPOINT ["e"]\n')
    assert same_file.image.config.config.cmd is None


def test_empty_entrypoint_and_command(world: "World") -> None:
    found = config(world, 'ENTRYPOINT ["e"]\nENTRYPOINT []\nCMD []')

    assert found.entrypoint is None
    assert not found.cmd


def test_command_sets_args_escaped(world: "World") -> None:
    assert config(world, "CMD x").args_escaped is True
    assert config(world, "ENTRYPOINT x").args_escaped is False


def test_shell_is_for_later_shell_forms(world: "World") -> None:
    found = config(world, 'CMD a\nSHELL ["/bin/sh", "-ec"]\nENTRYPOINT b\nHEALTHCHECK CMD c')

    assert found.cmd == ("/bin/sh", "-c", "a")
    assert found.entrypoint == ("/bin/sh", "-ec", "b")
    assert found.shell == ("/bin/sh", "-ec")
    assert found.healthcheck is not None
    assert found.healthcheck.test == ("CMD-SHELL", "c")


def test_shell_is_inherited_by_children(world: "World") -> None:
    world.build(f'FROM {IMAGE}\nSHELL ["/bin/sh", "-ec"]\n', tags=("with-shell:1",))

    result = world.build("FROM with-shell:1\nRUN false || echo $- | grep -q e; true\n")

    assert world.history(result)[-1].startswith("RUN /bin/sh -ec ")


def test_config_fields(world: "World") -> None:
    found = config(
        world,
        'EXPOSE 80 90/udp 100-102\nVOLUME /a\nVOLUME ["/b"]\nSTOPSIGNAL 9\nUSER 1:2\n'
        'LABEL a=1 b=2\nLABEL a=3\nHEALTHCHECK --retries=3 --start-period=1s CMD ["x"]',
        labels={"b": "cli"},
    )

    assert sorted(found.exposed_ports or {}) == [
        "100/tcp", "101/tcp", "102/tcp", "80/tcp", "90/udp",
    ]  # fmt: skip
    assert sorted(found.volumes or {}) == ["/a", "/b"]
    assert (found.stop_signal, found.user) == ("9", "1:2")
    assert found.labels == {"a": "3", "b": "cli"}
    assert found.healthcheck is not None
    assert found.healthcheck.test == ("CMD", "x")
    assert (found.healthcheck.retries, found.healthcheck.start_period_ns) == (3, 10**9)


def test_volume_makes_no_directory_and_freezes_nothing(world: "World") -> None:
    result = world.build(
        f"FROM {IMAGE}\nVOLUME /v\nRUN test ! -e /v && mkdir /v && echo x > /v/x\n"
    )

    assert world.last(result.image)["v/x"].text == "x\n"


def test_maintainer_is_the_author(world: "World") -> None:
    result = world.build(f"FROM {IMAGE}\nMAINTAINER Some One <x@y>\n")

    assert result.image.config.author == "Some One <x@y>"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("STOPSIGNAL nonsense", "invalid signal: nonsense"),
        ("EXPOSE $empty:", "no port specified"),
        ("EXPOSE x", "invalid containerPort: x"),
        ("COPY --chmod=64a f /", "it should be octal string and between 0 and 07777"),
        ("ENV a=${b:?wanted}", "b: wanted"),
        ("VOLUME $empty", "VOLUME specified can not be an empty string"),
        ("RUN --mount=type=bind,target=/ true", 'invalid mount target "/"'),
        ("RUN --security=insecure true", "not allowed"),
    ],
)
def test_error_has_the_line_of_the_instruction(world: "World", line: str, message: str) -> None:
    world.write("f")

    with pytest.raises((BuildError, DockerfileError)) as caught:
        world.build(f"FROM {IMAGE}\nLABEL a=b\n{line}\n")

    assert message in caught.value.message
    assert vars(caught.value)["span"].first_line == 3


class TestWorkdir:
    def test_relative_and_verbatim_absolute(self, world: "World") -> None:
        assert config(world, "WORKDIR /a\nWORKDIR b/../c").working_dir == "/a/c"
        assert config(world, "WORKDIR /a/../b/").working_dir == "/a/../b/"
        assert config(world, "WORKDIR /a\nWORKDIR $unset").working_dir == "/a"
        assert config(world, 'ENV d=/with\nWORKDIR "$d space"').working_dir == "/with space"

    def test_makes_directories_of_the_user(self, world: "World") -> None:
        result = world.build(f"FROM {IMAGE}\nUSER app\nWORKDIR /new/deep\n")

        made = world.last(result.image)
        assert {name: (e.mode, e.owner) for name, e in made.items() if name.startswith("new")} == {
            "new": (0o755, (1000, 1001)),
            "new/deep": (0o755, (1000, 1001)),
        }

    def test_number_without_entry_is_its_own_group(self, world: "World") -> None:
        result = world.build(f"FROM {IMAGE}\nUSER 4000\nWORKDIR /n\n")

        assert world.last(result.image)["n"].owner == (4000, 4000)

    def test_existing_directory_is_left_alone(self, world: "World") -> None:
        result = world.build(f"FROM {IMAGE}\nUSER app\nWORKDIR /owned\n")

        assert world.last(result.image) == {}
        assert len(result.image.config.diff_ids) == 2

    def test_follows_links_inside_the_image(self, world: "World") -> None:
        result = world.build(f"FROM {IMAGE}\nWORKDIR /link-to-nothing/x\n")

        assert {"made/up", "made/up/x"} <= world.last(result.image).keys()

    def test_on_a_file_is_an_error(self, world: "World") -> None:
        with pytest.raises(BuildError, match="non-directory"):
            world.build(f"FROM {IMAGE}\nWORKDIR /data/seed/x\n")


class TestArguments:
    def test_order_decides_between_arg_and_env(self, world: "World") -> None:
        world.build(
            f"FROM {IMAGE}\nENV v=env\nARG v=arg\nRUN echo first=$v\nENV v=env2\n"
            "RUN echo second=$v\n",
            build_args={},
        )
        assert "first=arg\nsecond=env2\n" in world.output or world.outcomes == ["cached"] * 2

    def test_scoping(self, fresh: "World") -> None:
        fresh.build(
            f"ARG tag=test\nARG global=g\nFROM busybox:$tag AS a\nARG mine=m\n"
            "RUN echo a=$global,$mine\n"
            f"FROM {IMAGE} AS b\nARG global\nRUN echo b=$global,$mine\n"
            "FROM a\nRUN echo c=$global,$mine\nCOPY --from=b /etc/group /g\n"
        )
        output = fresh.output
        assert "a=,m\n" in output
        assert "b=g,\n" in output
        assert "c=,m\n" in output

    def test_build_argument_wins_and_default_is_not_expanded(self, fresh: "World") -> None:
        fresh.build(f"FROM {IMAGE}\nARG x=${{y:?no}}\nRUN echo x=$x\n", build_args={"x": "given"})
        assert "x=given\n" in fresh.output

    def test_platform_arguments(self, fresh: "World") -> None:
        fresh.build(
            f"FROM {IMAGE} AS last\nRUN echo before=$TARGETOS.\nARG TARGETOS\nARG TARGETSTAGE\n"
            "RUN echo after=$TARGETOS,$TARGETSTAGE\n"
        )
        assert "before=.\n" in fresh.output
        assert "after=linux,last\n" in fresh.output

    def test_proxies_reach_run_and_nothing_else(self, fresh: "World") -> None:
        result = fresh.build(
            f"FROM {IMAGE}\nRUN echo p=$http_proxy,$HTTP_PROXY\n",
            build_args={"http_proxy": "http://user:pw@proxy"},
        )
        assert "p=http://user:pw@proxy,http://user:pw@proxy\n" in fresh.output
        assert b"user:pw" not in fresh.store.blobs.path(result.image.id).read_bytes()
        assert not any("user:pw" in str(record.inputs) for record in fresh.store.cache.all())
        assert fresh.notices == []

    def test_arguments_are_not_in_the_config(self, world: "World") -> None:
        result = world.build(f"FROM {IMAGE}\nARG a=1\nARG BUILDKIT_SBOM_SCAN_STAGE=true\n")
        assert result.image.config.config.env == ("PATH=/bin",)

    def test_unused_build_argument_is_told(self, world: "World") -> None:
        result = world.build(f"FROM {IMAGE}\nARG used\n", build_args={"used": "1", "other": "2"})
        assert result.warnings == ("build argument other is not used by the Dockerfile",)
