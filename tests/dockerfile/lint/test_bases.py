"""Rules on FROM lines and the arguments that stand before them."""

from collections.abc import Mapping

import pytest

from imagekit.dockerfile.lint.check import lint
from imagekit.dockerfile.lint.findings import LintReport
from imagekit.dockerfile.lint.settings import LintSettings


def _report(text: str, build_args: Mapping[str, str] | None = None) -> LintReport:
    return lint(text, settings=LintSettings(build_args=build_args or {}))


def _found(text: str, build_args: Mapping[str, str] | None = None) -> list[str]:
    return [finding.short for finding in _report(text, build_args).findings]


def _undeclared(name: str, line: int, suggestion: str = "") -> str:
    return f"UndefinedArgInFrom: FROM argument '{name}' is not declared{suggestion} (line {line})"


def _bad_default(name: str, line: int) -> str:
    return (
        f"InvalidDefaultArgInFrom: Default value for ARG {name} results in empty or invalid base "
        f"image name (line {line})"
    )


class TestUndefinedArgInFrom:
    @pytest.mark.parametrize(
        "text",
        [
            pytest.param("ARG base=scratch\nFROM $base", id="declared"),
            pytest.param("ARG x\nFROM scratch$x", id="declared-without-a-value"),
            pytest.param("ARG x\nFROM scra${x:-tch}", id="declared-with-a-default-in-place"),
            pytest.param('ARG x=""\nFROM scratch${x-@bogus}', id="declared-empty"),
            pytest.param("FROM --platform=$BUILDPLATFORM scratch", id="predefined"),
            pytest.param("FROM scratch:$TARGETARCH$TARGETSTAGE", id="predefined-in-the-name"),
        ],
    )
    def test_is_silent_about(self, text: str) -> None:
        assert _found(text) == []

    def test_a_name_nobody_declared(self) -> None:
        assert _found("ARG tag=1\nFROM busybox:${tag}${version} AS b") == [
            _undeclared("version", 2)
        ]

    def test_a_default_in_place_does_not_declare(self) -> None:
        assert _found("FROM ${base:-scratch}") == [_undeclared("base", 1)]

    def test_an_argument_of_a_stage_is_none_of_the_file(self) -> None:
        text = "FROM scratch\nARG tag=1\nFROM busybox:1$tag"

        assert _found(text) == [_undeclared("tag", 3)]

    def test_platform_and_its_error_suggest_the_nearest_name(self) -> None:
        report = _report("FROM --platform=$BULIDPLATFORM scratch")

        assert [finding.short for finding in report.findings] == [
            _undeclared("BULIDPLATFORM", 1, " (did you mean BUILDPLATFORM?)")
        ]
        assert report.error is not None
        assert report.error.message == (
            "empty platform value from expression $BULIDPLATFORM (did you mean BUILDPLATFORM?)"
        )
        assert report.error.span is not None

    def test_a_platform_with_a_hole(self) -> None:
        report = _report("ARG MY_ARCH=amd64\nFROM --platform=linux/${MYARCH} busybox")

        assert [finding.short for finding in report.findings] == [
            _undeclared("MYARCH", 2, " (did you mean MY_ARCH?)")
        ]
        assert report.error is not None
        assert report.error.message == (
            'failed to parse platform linux/${MYARCH}: "" is an invalid component of "linux/": '
            'platform specifier component must match "^[A-Za-z0-9_.-]+$": invalid argument '
            "(did you mean MY_ARCH?)"
        )

    def test_the_name_comes_before_the_platform(self) -> None:
        assert _found("FROM --platform=linux/$b busybox:1$a")[:2] == [
            _undeclared("a", 1),
            _undeclared("b", 1),
        ]

    def test_a_declaration_without_a_value_is_suggested(self) -> None:
        assert _found("ARG VERSION\nFROM busybox:1$VERSOIN") == [
            _undeclared("VERSOIN", 2, " (did you mean VERSION?)")
        ]


class TestInvalidDefaultArgInFrom:
    @pytest.mark.parametrize(
        ("text", "build_args", "expected"),
        [
            pytest.param(
                "ARG VERSION\nFROM busybox:$VERSION",
                {"VERSION": "latest"},
                [_bad_default("busybox:$VERSION", 2)],
                id="tag",
            ),
            pytest.param(
                "ARG IMAGE\nFROM $IMAGE",
                {"IMAGE": "busybox"},
                [_bad_default("$IMAGE", 2)],
                id="all",
            ),
            pytest.param(
                'ARG SFX="box:"\nFROM busy${SFX}',
                {"SFX": "box:latest"},
                [_bad_default("busy${SFX}", 2)],
                id="default",
            ),
            pytest.param(
                'ARG VERSION="latest"\nFROM busybox:${VERSION}', {"VERSION": "x"}, [], id="good"
            ),
            pytest.param("ARG V\nFROM busybox:stable${V}", {"V": "-musl"}, [], id="good-if-empty"),
        ],
    )
    def test_build_arguments_are_left_out(
        self, text: str, build_args: dict[str, str], expected: list[str]
    ) -> None:
        report = _report(text, build_args)

        assert [finding.short for finding in report.findings] == expected
        assert report.error is None

    def test_upper_case_is_no_image_name_without_arguments_too(self) -> None:
        report = _report("FROM scratch AS base\nFROM Base")

        assert [finding.short for finding in report.findings] == [_bad_default("Base", 2)]
        assert report.error is not None
        assert report.error.message == (
            'failed to parse stage name "Base": invalid reference format: repository name '
            "(library/Base) must be lowercase"
        )

    def test_a_blank_base_is_an_error(self) -> None:
        report = _report("ARG IMAGE\nFROM $IMAGE")

        assert [finding.short for finding in report.findings] == [_bad_default("$IMAGE", 2)]
        assert report.error is not None
        assert report.error.message == "base name ($IMAGE) should not be blank"

    def test_unused_stages_are_looked_at(self) -> None:
        report = lint(
            "ARG V\nFROM busybox:$V\nFROM scratch AS last",
            settings=LintSettings(build_args={"V": "1"}, target="last"),
        )

        assert [finding.short for finding in report.findings] == [_bad_default("busybox:$V", 2)]

    def test_an_argument_that_cannot_be_expanded_ends_the_rule_and_the_run(self) -> None:
        report = _report("ARG a=${b:?no}\nARG c\nFROM busybox:$c")

        assert report.findings == ()
        assert report.error is not None
        assert report.error.message == 'failed to process "${b:?no}": b: no'

    def test_a_name_that_cannot_be_expanded_ends_the_rule(self) -> None:
        report = _report("ARG V\nFROM ${V:?no}\nFROM busybox:$V")

        assert report.findings == ()
        assert report.error is not None


class TestRedundantTargetPlatform:
    @pytest.mark.parametrize("written", ["$TARGETPLATFORM", "${TARGETPLATFORM}"])
    def test_is_quoted_as_written(self, written: str) -> None:
        assert _found(f"FROM --platform={written} scratch") == [
            (
                f"RedundantTargetPlatform: Setting platform to predefined {written} in FROM is "
                "redundant as this is the default behavior (line 1)"
            )
        ]

    @pytest.mark.parametrize(
        "text",
        [
            "FROM --platform=$BUILDPLATFORM scratch",
            "FROM --platform=$TARGETOS/$TARGETARCH scratch",
            "ARG x=linux/amd64\nFROM --platform=${x:-$TARGETPLATFORM} scratch",
        ],
    )
    def test_other_ways_are_fine(self, text: str) -> None:
        assert _found(text) == []


class TestFromPlatformFlagConstDisallowed:
    @pytest.mark.parametrize("platform", ["linux/amd64", "arm64", "linux", "linux/arm/v7"])
    def test_a_constant_is_reported(self, platform: str) -> None:
        assert _found(f"FROM --platform={platform} scratch AS b") == [
            (
                "FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant "
                f'value "{platform}" (line 1)'
            )
        ]

    @pytest.mark.parametrize(
        "text",
        [
            "FROM --platform=linux/amd64 scratch AS my_amd64_stage",
            "FROM --platform=linux/amd64 scratch AS linux",
            "FROM --platform=linux/x86_64 scratch AS an-AMD64-one",
            "ARG p=linux/amd64\nFROM --platform=$p scratch",
        ],
    )
    def test_a_stage_that_says_so_or_a_variable_is_fine(self, text: str) -> None:
        assert [short for short in _found(text) if "Const" in short] == []

    def test_what_is_no_platform_is_an_error_only(self) -> None:
        report = _report("FROM --platform=nonsense scratch")

        assert report.findings == ()
        assert report.error is not None
        assert report.error.message == (
            'failed to parse platform nonsense: "nonsense": unknown operating system or '
            "architecture: invalid argument"
        )

    def test_quotes_are_gone(self) -> None:
        assert _found("FROM --platform='linux/amd64' scratch")[0].endswith('"linux/amd64" (line 1)')


def test_skipping_above_one_from_is_for_that_one() -> None:
    text = (
        "FROM --platform=arm64 scratch AS a\n"
        "# check=skip=FromPlatformFlagConstDisallowed\n"
        "FROM --platform=arm64 scratch AS b\n"
    )

    assert [short[-8:] for short in _found(text)] == ["(line 1)"]


def test_a_platform_that_cannot_be_expanded() -> None:
    report = _report("FROM --platform=$a/${b:?no} scratch")

    assert [finding.rule for finding in report.findings] == ["UndefinedArgInFrom"] * 2
    assert report.error is not None
    assert report.error.message == (
        'failed to process arguments for platform : failed to process "$a/${b:?no}": b: no'
    )
