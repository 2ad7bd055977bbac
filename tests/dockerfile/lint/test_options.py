"""``check`` directives, comments and the build argument."""

import pytest

from imagekit.dockerfile.errors import DockerfileSyntaxError
from imagekit.dockerfile.lint import rules
from imagekit.dockerfile.lint.check import lint
from imagekit.dockerfile.lint.options import (
    CheckOptions,
    comment_check_options,
    file_check_options,
    parse_check_options,
)
from imagekit.dockerfile.lint.settings import LintSettings

_BAD = "FROM scratch as base\ncopy a .\n"


def _rules(text: str, argument: str | None = None) -> list[str]:
    build_args = {} if argument is None else {"BUILDKIT_DOCKERFILE_CHECK": argument}
    report = lint(text, settings=LintSettings(build_args=build_args))
    return [finding.rule for finding in report.findings]


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("", CheckOptions()),
        ("  ", CheckOptions()),
        ("skip=all", CheckOptions(skip_all=True)),
        ("skip=A", CheckOptions(skip=frozenset({"A"}))),
        (" skip = A , B ", CheckOptions(skip=frozenset({"A", "B"}))),
        ("skip=ALL", CheckOptions(skip=frozenset({"ALL"}))),
        ("skip=", CheckOptions(skip=frozenset({""}))),
        ("error=true", CheckOptions(is_error=True)),
        ("error=1;skip=A", CheckOptions(is_error=True, skip=frozenset({"A"}))),
        ("error=F", CheckOptions()),
        (
            "experimental=all;error=t;skip=all",
            CheckOptions(experimental_all=True, is_error=True, skip_all=True),
        ),
        ("experimental=A,B", CheckOptions(experimental=frozenset({"A", "B"}))),
        ("skip=A;skip=B", CheckOptions(skip=frozenset({"B"}))),
        (
            "skip=A;error=1;skip=all",
            CheckOptions(skip=frozenset({"A"}), is_error=True, skip_all=True),
        ),
    ],
)
def test_parse_check_options(text: str, options: CheckOptions) -> None:
    assert parse_check_options(text) == options


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("skip", 'invalid check option "skip"'),
        ("skip=A;", 'invalid check option ""'),
        ("Skip=A", 'invalid check option "Skip"'),
        (" what = 1", 'invalid check option "what"'),
        (
            "error=yes",
            (
                'failed to parse check option "error=yes": strconv.ParseBool: parsing "yes": '
                "invalid syntax"
            ),
        ),
        (
            "error=true;skip=A;error=true;skip=B",
            (
                'failed to parse check option "error=true;skip=B": strconv.ParseBool: parsing '
                '"true;skip=B": invalid syntax'
            ),
        ),
    ],
)
def test_parse_check_options_refuses(text: str, message: str) -> None:
    with pytest.raises(DockerfileSyntaxError) as caught:
        parse_check_options(text)

    assert caught.value.reason == message


class TestDirective:
    @pytest.mark.parametrize(
        "text",
        [
            "# check=skip=A\n",
            "#check=skip=A and more words\n",
            "#  CHECK =  skip=A\r\n",
            "\ufeff# check=skip=A\n",
            "#!/usr/bin/docker\n# check=skip=A\n",
            "# syntax=x\n# escape=`\n# check=skip=A\n",
        ],
    )
    def test_is_found(self, text: str) -> None:
        assert file_check_options(text) == CheckOptions(skip=frozenset({"A"}))

    @pytest.mark.parametrize(
        "text",
        [
            "\n# check=skip=A\n",
            "# a comment\n# check=skip=A\n",
            "# other=x\n# check=skip=A\n",
            " # check=skip=A\n",
            "// check=skip=A\n",
            "FROM scratch\n",
            "# check=\n",
        ],
    )
    def test_is_not_found(self, text: str) -> None:
        assert file_check_options(text) == CheckOptions()

    def test_a_malformed_one_ends_the_run_before_anything(self) -> None:
        report = lint("# check=skip=A; error=true\nFROM scratch as b\n")

        assert report.findings == ()
        assert report.error is not None
        assert report.error.message == 'failed to parse check options: invalid check option ""'
        assert report.error.span is None


class TestComment:
    def test_the_first_one_counts_up_to_a_blank(self) -> None:
        comments = ("a comment", "check=skip=A reason", "check=skip=B")

        assert comment_check_options(comments) == CheckOptions(skip=frozenset({"A"}))

    def test_a_malformed_one_hides_the_next(self) -> None:
        assert comment_check_options(("check=x", "check=skip=B")) == CheckOptions()

    def test_is_merged_with_that_of_the_file_except_for_error(self) -> None:
        text = (
            "# check=skip=StageNameCasing\n# comment\n"
            "# check=skip=FromAsCasing;error=true\nFROM scratch as Base\n"
        )

        report = lint(text + "FROM scratch as Base\n")

        assert [finding.rule for finding in report.findings] == [
            "FromAsCasing",
            "DuplicateStageName",
        ]
        assert report.error is None

    def test_rules_on_names_and_casing_look_at_the_file_only(self) -> None:
        text = (
            "FROM scratch AS b\n"
            "# check=skip=all\nFROM scratch AS b\n"
            "# check=skip=all\nrun a\n"
            "# check=skip=all\nCOPY \\\n\na b\n"
        )

        assert _rules(text) == [
            "NoEmptyContinuation",
            "DuplicateStageName",
            "ConsistentInstructionCasing",
        ]

    def test_turns_on_an_experimental_rule(self) -> None:
        text = "# c\n# check=experimental=all\nARG a\nFROM scratch\n"

        assert _rules(text) == ["InvalidDefinitionDescription"]


class TestFile:
    def test_skip_all(self) -> None:
        assert _rules("#check=skip=all;error=true\n" + _BAD) == []

    def test_skip_all_leaves_experimental_rules_on(self) -> None:
        text = "# check=skip=all;experimental=InvalidDefinitionDescription\n# x\nARG a\n" + _BAD

        assert _rules(text) == ["InvalidDefinitionDescription"]

    def test_skipping_an_experimental_rule_has_no_effect(self) -> None:
        text = "# check=skip=InvalidDefinitionDescription;experimental=all\n# x\nARG a\n" + _BAD

        assert _rules(text)[0] == "InvalidDefinitionDescription"

    def test_error_names_the_rules_once_each(self) -> None:
        report = lint("# check=error=true\n" + _BAD + "copy b .\nFROM scratch as c\n")

        assert report.is_error
        assert report.error is not None
        assert report.error.message == (
            "lint violation found for rules: FromAsCasing, ConsistentInstructionCasing"
        )
        assert report.error.span is None

    def test_error_without_findings_is_none(self) -> None:
        report = lint("# check=error=true;skip=FromAsCasing,ConsistentInstructionCasing\n" + _BAD)

        assert report.error is None
        assert report.is_clean

    def test_another_mistake_comes_first(self) -> None:
        report = lint("# check=error=true\n" + _BAD + "WORKDIR ${a:b}\n")

        assert report.error is not None
        assert "lint violation" not in report.error.message


class TestArgument:
    def test_replaces_the_directive(self) -> None:
        argument = "skip=ConsistentInstructionCasing;error=true"
        settings = LintSettings(build_args={"BUILDKIT_DOCKERFILE_CHECK": argument})

        report = lint("#check=skip=all\n" + _BAD, settings=settings)

        assert [finding.rule for finding in report.findings] == ["FromAsCasing"]
        assert report.error is not None
        assert report.error.message == "lint violation found for rules: FromAsCasing"

    def test_an_empty_one_replaces_it_too(self) -> None:
        assert _rules("#check=skip=all\n" + _BAD, "") == [
            "FromAsCasing",
            "ConsistentInstructionCasing",
        ]

    def test_turns_error_off(self) -> None:
        assert _rules("#check=error=true\n" + _BAD, "skip=all") == []

    def test_a_malformed_one(self) -> None:
        settings = LintSettings(build_args={"BUILDKIT_DOCKERFILE_CHECK": "x"})

        report = lint(_BAD, settings=settings)

        assert report.error is not None
        assert report.error.message == (
            'failed to parse build-arg:BUILDKIT_DOCKERFILE_CHECK: invalid check option "x"'
        )


def test_only_one_rule_is_experimental() -> None:
    experimental = [rule.name for rule in rules.RULES if rule.is_experimental]

    assert experimental == ["InvalidDefinitionDescription"]
    assert len(rules.RULES) == 22


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.name)
def test_addresses_are_the_name_in_kebab_case(rule: rules.Rule) -> None:
    if rule is rules.INVALID_BASE_IMAGE_PLATFORM:
        assert rule.url == ""
        return
    name = rule.name.replace("JSON", "Json")
    slug = "".join(f"-{char.lower()}" if char.isupper() else char for char in name).strip("-")
    assert rule.url == f"https://docs.docker.com/go/dockerfile/rule/{slug}/"
