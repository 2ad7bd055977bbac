"""What holds for every file: places, names, switches, and the renderers."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.dockerfile.lint.check import lint
from imagekit.dockerfile.lint.render_json import render_json
from imagekit.dockerfile.lint.render_sarif import render_sarif
from imagekit.dockerfile.lint.render_text import render_text
from imagekit.dockerfile.lint.rules import RULES
from imagekit.dockerfile.lint.settings import LintSettings

_NAMES = {rule.name for rule in RULES}
_LINES = st.sampled_from(
    [
        "FROM scratch",
        "FROM alpine as One",
        "FROM one AS two",
        "from $x",
        "FROM --platform=$TARGETPLATFORM alpine AS one",
        "FROM --platform=linux/amd64 x",
        "ARG x=alpine",
        "ARG TOKEN y",
        "ENV a b",
        "ENV k=$y w=$z",
        "run echo \\\n\n  hello",
        "COPY $x $nope /",
        "COPY --from=one a b",
        "COPY <<E /x\n$y $q\nE",
        "WORKDIR app",
        "WORKDIR /app",
        "CMD x",
        "ENTRYPOINT x",
        "HEALTHCHECK NONE",
        "EXPOSE 80/TCP 1.2.3.4:5:6",
        "MAINTAINER me",
        "ONBUILD CMD y",
        'SHELL ["sh"]',
        "# check=skip=UndefinedVar",
        "# text",
        "#",
        "",
        "USER ${u:?}",
        "nonsense",
    ]
)
_FILES = st.lists(_LINES, max_size=10).map("\n".join)


@settings(deadline=None)
@given(text=_FILES)
def test_findings_have_a_rule_and_a_place_in_the_file(text: str) -> None:
    report = lint(text)

    lines = len(text.split("\n"))
    for finding in report.findings:
        assert finding.rule in _NAMES
        assert 1 <= finding.span.first_line <= finding.span.last_line <= lines
    assert render_text(report).count("WARNING: ") == len(report.findings)
    assert len(json.loads(render_json(report))["warnings"]) == len(report.findings)
    assert len(json.loads(render_sarif(report))["runs"][0]["results"]) == len(report.findings)
    assert lint(text) == report


@settings(deadline=None)
@given(text=_FILES)
def test_skipping_all_leaves_the_error_alone(text: str) -> None:
    skipped = lint(
        text, settings=LintSettings(build_args={"BUILDKIT_DOCKERFILE_CHECK": "skip=all"})
    )

    assert skipped.findings == ()
    assert skipped.error == lint(text).error


@settings(deadline=None)
@given(text=_FILES)
def test_a_build_finds_no_more_than_a_check(text: str) -> None:
    check, build = lint(text), lint(text, settings=LintSettings(only_needed=True))

    if check.error is None:
        assert build.error is None
        remaining = list(check.findings)
        for finding in build.findings:
            remaining.remove(finding)


@settings(deadline=None)
@given(text=_FILES, rule=st.sampled_from(sorted(_NAMES)))
def test_skipping_one_rule_takes_away_that_one(text: str, rule: str) -> None:
    text = "\n" + text  # the argument would replace a directive
    skipped = lint(
        text, settings=LintSettings(build_args={"BUILDKIT_DOCKERFILE_CHECK": f"skip={rule}"})
    )

    kept = tuple(finding for finding in lint(text).findings if finding.rule != rule)
    assert skipped.findings == kept
