"""Each rule is explained, and its examples do what they say."""

import pytest

from imagekit.dockerfile.errors import DockerfileError
from imagekit.dockerfile.ignore import IgnoreMatcher
from imagekit.dockerfile.lint.check import lint
from imagekit.dockerfile.lint.documentation import (
    DOCUMENTATION,
    Documentation,
    documentation_of,
    explain,
)
from imagekit.dockerfile.lint.rules import RULES
from imagekit.dockerfile.lint.settings import BaseImage, LintSettings


def _rules(one: Documentation, text: str) -> set[str]:
    report = lint(
        text,
        settings=LintSettings(
            ignore=IgnoreMatcher.parse(one.ignore) if one.ignore else None,
            build_args={"TAG": "1"},
        ),
        find_image=lambda name, _platform: BaseImage(
            platform="linux/arm64" if "arm64" in name else "linux/amd64"
        ),
    )
    assert report.error is None
    return {finding.rule for finding in report.findings}


def test_every_rule_is_explained_in_order() -> None:
    assert [one.rule for one in DOCUMENTATION] == list(RULES)


@pytest.mark.parametrize("one", DOCUMENTATION, ids=lambda one: one.rule.name)
class TestExamples:
    def test_the_bad_one_breaks_the_rule(self, one: Documentation) -> None:
        assert one.rule.name in _rules(one, one.bad)

    def test_the_good_one_breaks_none(self, one: Documentation) -> None:
        assert _rules(one, one.good) == set()

    def test_the_text_fits_a_terminal_and_has_all_parts(self, one: Documentation) -> None:
        text = explain(one.rule.name)

        assert max(map(len, text.split("\n"))) <= 100
        assert text.startswith(one.rule.name)
        for part in ("\nBad:\n", "\nGood:\n", "\n--fix: ", "check="):
            assert part in text
        assert not text.endswith("\n")


@pytest.mark.parametrize("name", ["UndefinedVar", "undefinedvar", "undefined-var", " UNDEFINEDVAR"])
def test_a_rule_is_found_in_any_spelling(name: str) -> None:
    assert documentation_of(name).rule.name == "UndefinedVar"


def test_an_unknown_rule_suggests_the_nearest() -> None:
    with pytest.raises(DockerfileError) as caught:
        explain("UndefindVar")

    assert str(caught.value) == 'unknown rule "UndefindVar" (did you mean UndefinedVar?)'
    assert caught.value.hint is not None
    assert "JSONArgsRecommended" in caught.value.hint


def test_the_example_of_an_ignore_file_is_shown() -> None:
    assert "\n.dockerignore:\n\n    tmp\n" in explain("CopyIgnoredFile")


def test_an_experimental_rule_says_how_to_turn_it_on() -> None:
    text = explain("InvalidDefinitionDescription")

    assert text.startswith("InvalidDefinitionDescription (experimental)\n")
    assert "# check=experimental=InvalidDefinitionDescription" in text
