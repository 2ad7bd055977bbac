"""Several stages: which are built, what they inherit, ONBUILD, named contexts."""

from typing import TYPE_CHECKING

import pytest

from imagekit.base.errors import ImagekitError
from imagekit.build.errors import BaseImageError, BuildError
from imagekit.dockerfile.errors import DockerfileError

if TYPE_CHECKING:
    from tests.build.conftest import World

pytestmark = pytest.mark.root
IMAGE = "busybox:test"


class TestTargets:
    def test_unreachable_stages_are_not_built(self, world: "World") -> None:
        result = world.build(
            "FROM no.such.registry.invalid/x AS unused\nRUN false\n"
            f"FROM {IMAGE} AS also-unused\nRUN exit 1\n"
            f"FROM {IMAGE}\nRUN true\n"
        )
        assert result.steps == 1

    def test_target_in_any_case(self, world: "World") -> None:
        text = f"FROM {IMAGE} AS one\nLABEL n=1\nFROM {IMAGE} AS two\nLABEL n=2\n"

        assert world.build(text, target="ONE").image.config.config.labels == {"n": "1"}
        assert world.build(text).image.config.config.labels == {"n": "2"}

    def test_unknown_target(self, world: "World") -> None:
        with pytest.raises(
            DockerfileError, match=r'"bulid" could not be found.*did you mean build'
        ):
            world.build(f"FROM {IMAGE} AS build\n", target="bulid")

    def test_circle(self, world: "World") -> None:
        with pytest.raises(DockerfileError, match="circular dependency detected on stage"):
            world.build(
                f"FROM {IMAGE} AS a\nCOPY --from=b / /\nFROM {IMAGE} AS b\nCOPY --from=a / /\n"
            )

    def test_stage_that_takes_from_itself(self, world: "World") -> None:
        with pytest.raises(DockerfileError):
            world.build(f"FROM {IMAGE} AS a\nCOPY --from=a / /\n")

    def test_copy_from_a_stage_with_nothing_in_it(self, world: "World") -> None:
        result = world.build("FROM scratch AS a\nFROM scratch\nCOPY --from=a / /x\n")
        assert world.last(result.image).keys() == {"x"}


class TestInheritance:
    def test_config_history_and_files(self, world: "World") -> None:
        result = world.build(
            f"FROM {IMAGE} AS a\nENV x=1\nUSER app\nWORKDIR /w\nLABEL l=1\nRUN echo a > f\n"
            "FROM a\nRUN echo $x > g\n"
        )

        config = result.image.config.config
        assert (config.user, config.working_dir, config.labels) == ("app", "/w", {"l": "1"})
        assert world.last(result.image)["w/g"].text == "1\n"
        assert [line.split()[0] for line in world.history(result)] == [
            "ENV", "USER", "WORKDIR", "LABEL", "RUN", "RUN",
        ]  # fmt: skip

    def test_base_name_is_not_lowered(self, world: "World") -> None:
        world.engine.tag(IMAGE, "base:latest")

        result = world.build("FROM scratch AS base\nLABEL a=b\nFROM base\n")
        assert result.image.config.diff_ids == ()

    def test_last_stage_of_a_name_wins(self, world: "World") -> None:
        result = world.build(
            f"FROM {IMAGE} AS a\nLABEL n=1\nFROM {IMAGE} AS a\nLABEL n=2\nFROM a\n"
        )
        assert result.image.config.config.labels == {"n": "2"}

    def test_only_from_gives_the_same_image_each_time(self, world: "World") -> None:
        first = world.build(f"FROM {IMAGE}\n")

        assert world.build(f"FROM {IMAGE}\n").image.id == first.image.id

    def test_labels_count_the_steps(self, world: "World") -> None:
        world.build(f"FROM {IMAGE} AS one\nRUN true\nFROM one AS two\nRUN true\nWORKDIR /x\n")

        assert [event.label.partition("]")[0] for event in world.ended] == [
            "[one 1/2", "[one 2/2", "[two 1/2", "[two 2/2",
        ]  # fmt: skip

    def test_start_of_a_copy_is_told_after_its_stage(self, fresh: "World") -> None:
        fresh.build(
            f"FROM {IMAGE} AS slow\nRUN sleep 0.3; echo x > /f\n"
            "FROM scratch\nCOPY --from=slow /f /f\n"
        )

        copy = next(event for event in fresh.ended if "COPY" in event.label)
        assert copy.bill.wall_s < 0.2

    def test_equal_steps_of_two_stages_run_once(self, fresh: "World") -> None:
        result = fresh.build(
            f"FROM {IMAGE} AS a\nRUN echo once; cat /proc/sys/kernel/random/uuid > /u\n"
            f"FROM {IMAGE} AS b\nRUN echo once; cat /proc/sys/kernel/random/uuid > /u\n"
            "FROM scratch\nCOPY --from=a /u /a\nCOPY --from=b /u /b\n"
        )

        assert fresh.output == "once\n"
        found = fresh.files(result.image)
        assert found["a"].text == found["b"].text


class TestOnBuild:
    def test_triggers_of_an_image_run_once(self, world: "World") -> None:
        world.write("f", "text")
        world.build(
            f"FROM {IMAGE}\nONBUILD COPY f /from-trigger\nONBUILD RUN echo $x > /ran\nENV x=y\n",
            tags=("with-triggers:1",),
        )

        child = world.build("FROM with-triggers:1\nLABEL a=b\n", tags=("child:1",))
        found = world.files(child.image, layers=2)
        assert found["from-trigger"].text == "text"
        assert found["ran"].text == "y\n"
        assert child.image.config.config.on_build is None
        assert [line.split()[0] for line in world.history(child)[1:]] == ["COPY", "RUN", "LABEL"]
        grandchild = world.build("FROM child:1\n")
        assert len(grandchild.image.config.diff_ids) == len(child.image.config.diff_ids)

    def test_triggers_of_a_stage(self, world: "World") -> None:
        result = world.build(
            f"FROM {IMAGE} AS a\nONBUILD RUN echo x > /triggered\nFROM a AS b\nFROM b\n"
        )

        assert world.last(result.image).keys() == {"triggered"}
        assert len(result.image.config.diff_ids) == 2

    def test_trigger_may_need_a_stage_that_nothing_else_needs(self, world: "World") -> None:
        world.build(
            f"FROM {IMAGE}\nONBUILD COPY --from=tools /tool /tool\n"
            "ONBUILD RUN --mount=from=more,target=/m cp /m/more /more\n",
            tags=("needs-stage:1",),
        )

        result = world.build(
            f"FROM {IMAGE} AS tools\nRUN echo t > /tool\n"
            f"FROM {IMAGE} AS more\nRUN echo m > /more\nFROM needs-stage:1\n"
        )

        found = world.files(result.image, layers=2)
        assert (found["tool"].text, found["more"].text) == ("t\n", "m\n")

    def test_error_in_a_trigger_has_the_line_of_from(self, world: "World") -> None:
        world.build(f"FROM {IMAGE}\nONBUILD COPY --nonsense a b\n", tags=("bad-trigger:1",))

        with pytest.raises(DockerfileError, match="nonsense") as caught:
            world.build("FROM scratch AS x\nFROM bad-trigger:1\n")
        assert caught.value.span is not None
        assert caught.value.span.first_line == 2


class TestContexts:
    def test_replaces_an_image_and_a_stage(self, world: "World") -> None:
        contexts = {"alpine": f"docker-image://{IMAGE}", "stage": f"docker-image://{IMAGE}"}

        result = world.build(
            "FROM no.such.invalid/x AS stage\nRUN false\nFROM alpine\n"
            "COPY --from=stage /data/seed /copied\n",
            build_contexts=contexts,
        )

        assert world.last(result.image)["copied"].text == "from the image\n"
        assert world.build(
            "FROM no.such.invalid/x AS stage\nRUN false\nFROM stage\n", build_contexts=contexts
        ).image.config.diff_ids

    def test_directory_for_a_mount(self, world: "World") -> None:
        world.write("other/f", "text")

        world.build(
            f"FROM {IMAGE}\nRUN --mount=from=more,target=/m cat /m/f\n",
            build_contexts={"more": str(world.context / "other")},
            no_cache=True,
        )

        assert world.output == "text"

    def test_missing_directory(self, world: "World") -> None:
        with pytest.raises(BuildError, match="does not exist") as caught:
            world.build(
                f"FROM {IMAGE}\nCOPY --from=more f /f\n",
                build_contexts={"more": str(world.context / "none")},
            )
        assert caught.value.span is not None

    def test_directory_after_from_is_refused(self, world: "World") -> None:
        with pytest.raises(BaseImageError, match="is a directory"):
            world.build("FROM more\n", build_contexts={"more": str(world.context)})


class TestPlatforms:
    def test_nonsense(self, world: "World") -> None:
        with pytest.raises(ImagekitError, match="failed to parse platform") as caught:
            world.build(f"FROM --platform=a/b/c/d/e {IMAGE}\n")
        assert vars(caught.value)["span"].first_line == 1

    def test_variables_in_from(self, world: "World") -> None:
        result = world.build(
            "ARG BASE=busybox\nARG TAG\nFROM --platform=$TARGETPLATFORM ${BASE}:${TAG:-test}\n"
        )
        assert result.image.config.diff_ids
