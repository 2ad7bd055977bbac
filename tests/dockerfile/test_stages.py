"""Scopes, references between stages, and what a target needs."""

from collections.abc import Mapping

import pytest

from imagekit.dockerfile.errors import DockerfileSyntaxError, ExpansionError, MountError, StageError
from imagekit.dockerfile.instructions import Run
from imagekit.dockerfile.parse import parse
from imagekit.dockerfile.stages import (
    find_target,
    global_scope,
    inherited_triggers,
    instruction_dependencies,
    reachable_stages,
    resolve_base,
)

_NO_ARGS: Mapping[str, str] = {}
_MOUNT_ORDER = (
    'cannot mount from stage "b" to "/y", stage needs to be defined before current command'
)
_NO_VARIABLES = (
    "variable expansion is not supported for --from, define a new stage with FROM using ARG from "
    "global scope as a workaround"
)


def _reachable(
    text: str, target: str | None = None, named_contexts: tuple[str, ...] = ()
) -> list[int]:
    parsed = parse(text)
    scope = global_scope(parsed, build_args={}, platform_args={})
    stages = reachable_stages(parsed, target, scope=scope, named_contexts=named_contexts)
    return [stage.index for stage in stages]


class TestGlobalScope:
    def test_defaults_see_earlier_arguments_and_platform_arguments(self) -> None:
        parsed = parse("ARG a=1 b=$a-$TARGETARCH c\nARG d=${c:-none}\nFROM x")

        scope = global_scope(parsed, build_args={}, platform_args={"TARGETARCH": "arm64"})

        assert scope == {"TARGETARCH": "arm64", "a": "1", "b": "1-arm64", "d": "none"}

    def test_build_argument_wins_and_the_default_is_not_even_evaluated(self) -> None:
        parsed = parse("ARG a=${}\nFROM x")

        assert global_scope(parsed, build_args={"a": "v"}, platform_args={}) == {"a": "v"}
        with pytest.raises(ExpansionError) as caught:
            global_scope(parsed, build_args={}, platform_args={})
        assert caught.value.span is not None

    def test_build_argument_overrides_a_platform_argument(self) -> None:
        scope = global_scope(
            parse("FROM x"), build_args={"TARGETOS": "a"}, platform_args={"TARGETOS": "b"}
        )

        assert scope == {"TARGETOS": "a"}


class TestBase:
    def test_stage_beats_image_and_the_last_definition_wins(self) -> None:
        parsed = parse("FROM a AS b\nFROM c AS b\nFROM b")

        base = resolve_base(parsed, parsed.stages[2], _NO_ARGS)

        assert base.stage is parsed.stages[1]
        assert base.image is None

    def test_base_is_not_lower_cased(self) -> None:
        parsed = parse("FROM a AS Base\nFROM Base")  # [Q]

        assert resolve_base(parsed, parsed.stages[1], _NO_ARGS).image == "Base"

    def test_later_stage_and_own_name_are_images(self) -> None:
        parsed = parse("FROM b AS a\nFROM b AS b")

        assert resolve_base(parsed, parsed.stages[0], _NO_ARGS).image == "b"
        assert resolve_base(parsed, parsed.stages[1], _NO_ARGS).image == "b"

    def test_expansion_of_image_and_platform(self) -> None:
        parsed = parse('FROM --platform=$P "a:${V:-1}"')

        base = resolve_base(parsed, parsed.stages[0], {"P": "linux/arm64"})

        assert (base.image, base.platform) == ("a:1", "linux/arm64")

    def test_platform_of_a_stage_base_is_ignored(self) -> None:
        parsed = parse("FROM a AS b\nFROM --platform=linux/arm b")

        assert resolve_base(parsed, parsed.stages[1], _NO_ARGS).platform is None

    def test_blank_platform_of_a_stage_base_is_refused(self) -> None:
        parsed = parse("FROM a AS b\nFROM --platform=$x b")

        with pytest.raises(StageError, match="empty platform value from expression"):
            resolve_base(parsed, parsed.stages[1], _NO_ARGS)

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            ("FROM $x", "base name ($x) should not be blank"),
            ("FROM --platform=$x a", "empty platform value from expression $x"),
        ],
    )
    def test_blank(self, line: str, reason: str) -> None:
        parsed = parse(line)

        with pytest.raises(StageError) as caught:
            resolve_base(parsed, parsed.stages[0], _NO_ARGS)

        assert caught.value.message == reason
        assert caught.value.span == parsed.stages[0].base.span

    def test_escape_directive_governs_from(self) -> None:
        parsed = parse("# escape=`\nFROM a`$b")

        assert resolve_base(parsed, parsed.stages[0], _NO_ARGS).image == "a$b"


class TestTarget:
    def test_last_stage_is_the_default(self) -> None:
        parsed = parse("FROM a\nFROM b")

        assert find_target(parsed, None).index == 1
        assert find_target(parsed, "").index == 1

    def test_name_in_any_case(self) -> None:
        assert find_target(parse("FROM a AS b\nFROM c"), "B").index == 0

    @pytest.mark.parametrize(
        ("target", "reason"),
        [
            ("bulid", 'target stage "bulid" could not be found (did you mean build?)'),
            ("0", 'target stage "0" could not be found'),
        ],
    )
    def test_unknown(self, target: str, reason: str) -> None:
        with pytest.raises(StageError) as caught:
            find_target(parse("FROM a AS build"), target)

        assert caught.value.message == reason
        assert caught.value.hint == "Choose one of: build."


class TestReachable:
    def test_unused_stages_are_left_out(self) -> None:
        assert _reachable("FROM a AS a\nFROM b AS b\nFROM c AS c\nFROM a AS d") == [0, 3]

    def test_from_copy_and_mount(self) -> None:
        text = (
            "FROM x AS a\nFROM x AS b\nFROM x AS c\nFROM x AS unused\n"
            "FROM a\nCOPY --from=1 / /\nRUN --mount=from=C,target=/m --mount=target=/n true\n"
        )

        assert _reachable(text) == [0, 1, 2, 4]

    def test_names_of_copy_from_are_found_in_any_case(self) -> None:
        assert _reachable("FROM x AS a\nFROM y\nCOPY --from=A / /") == [0, 1]

    def test_target_in_the_middle(self) -> None:
        assert _reachable("FROM x AS a\nFROM a AS b\nFROM b AS c", "b") == [0, 1]

    def test_errors_of_unreachable_stages_do_not_surface(self) -> None:
        assert _reachable("FROM $gone AS a\nCOPY --from=9 / /\nFROM x") == [1]

    def test_images_and_named_contexts_are_no_stages(self) -> None:
        assert _reachable(
            "FROM x\nCOPY --from=alpine / /\nRUN --mount=from=busybox,target=/m y"
        ) == [0]

    def test_triggers_of_a_base_stage_count(self) -> None:
        text = "FROM x AS tools\nFROM x AS base\nONBUILD COPY --from=tools / /\nFROM base"

        assert _reachable(text) == [0, 1, 2]
        assert _reachable(text, "base") == [1]

    def test_triggers_are_not_inherited_twice(self) -> None:
        text = (
            "FROM x AS tools\nFROM x AS base\nONBUILD COPY --from=tools / /\n"
            "FROM base AS child\nFROM child"
        )
        parsed = parse(text)

        base = resolve_base(parsed, parsed.stages[3], _NO_ARGS)

        assert inherited_triggers(parsed.stages[3], base) == ()

    def test_bad_trigger_carries_the_from_line(self) -> None:
        with pytest.raises(DockerfileSyntaxError) as caught:
            _reachable("FROM x AS base\nONBUILD COPY --form=y a b\nFROM base")

        assert caught.value.span is not None
        assert caught.value.span.first_line == 3

    def test_named_context_replaces_a_whole_stage(self) -> None:
        text = "FROM $gone AS a\nFROM x AS b\nCOPY --from=a / /"

        assert _reachable(text, named_contexts=("a",)) == [0, 1]

    def test_ten_thousand_stages_do_not_exhaust_the_stack(self) -> None:
        stages = "\n".join(f"FROM s{index} AS s{index + 1}" for index in range(3000))

        assert len(_reachable("FROM scratch AS s0\n" + stages)) == 3001

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("FROM x AS a\nCOPY --from=b / /\nFROM x AS b\nFROM a",
             'cannot copy from stage "b", it needs to be defined before current stage "a"'),
            ("FROM x AS a\nCOPY --from=1 / /\nFROM x\nFROM a",
             'cannot copy from stage "1", it needs to be defined before current stage "a"'),
            ("FROM x AS a\nRUN --mount=from=b,target=/y z\nFROM x AS b\nFROM a",
             _MOUNT_ORDER),
            ("FROM x AS a\nCOPY --from=a / /", "circular dependency detected on stage: a"),
            ("FROM x AS a\nCOPY --from=b / /\nFROM a AS b",
             "circular dependency detected on stage: b"),
            ("FROM x\nCOPY --from=1 / /", "invalid stage index 1"),
            ("FROM x\nCOPY --from=-1 / /", "invalid stage index -1"),
            ("FROM x\nCOPY --from=$y / /",
             _NO_VARIABLES),
        ],
    )  # fmt: skip
    def test_refused(self, text: str, message: str) -> None:
        with pytest.raises(StageError) as caught:
            _reachable(text)

        assert caught.value.message == message
        assert caught.value.span is not None


def test_dependencies_of_foreign_triggers() -> None:
    parsed = parse("FROM x AS a\nFROM y AS b\nRUN --mount=from=a,dst=/m --mount=from=img,dst=/n z")
    stage = parsed.stages[1]

    found = instruction_dependencies(parsed, stage, stage.instructions)

    assert [(item.reference, item.stage, item.mount_target) for item in found] == [
        ("a", parsed.stages[0], "/m"),
        ("img", None, "/n"),
    ]


def test_mount_that_is_not_csv_is_refused_at_its_line() -> None:
    with pytest.raises(MountError) as caught:
        parse("FROM x\nRUN --mount='a\"b' y")

    assert caught.value.span is not None
    assert caught.value.span.first_line == 2
    assert isinstance(parse("FROM x\nRUN y").stages[0].instructions[0], Run)


@pytest.mark.timeout(5)
def test_arguments_that_double_are_an_error_with_a_place() -> None:
    text = "ARG A=" + "x" * 100 + "\n" + "ARG A=$A$A\n" * 60 + "FROM a\n"

    with pytest.raises(ExpansionError, match="the result is longer") as caught:
        global_scope(parse(text), build_args={}, platform_args={})

    assert caught.value.span is not None


def test_an_argument_that_names_itself_is_empty() -> None:
    parsed = parse("ARG A=$A B=${B:-$A}x\nFROM $B\n")

    scope = global_scope(parsed, build_args={}, platform_args={})

    assert scope == {"A": "", "B": "x"}
