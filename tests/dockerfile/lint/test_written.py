"""Rules on the spelling of instructions: messages, lines, and what is not reported."""

import pytest

from imagekit.dockerfile.lint.check import lint


def _found(text: str) -> list[str]:
    return [finding.short for finding in lint(text).findings]


_AS = "FromAsCasing: '{}' and '{}' keywords' casing do not match (line {})"
_MAINTAINER = (
    "MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2)"
)
_CASING = (
    "ConsistentInstructionCasing: Command '{}' should match the case of the command majority ({}) "
    "(line {})"
)
_DEFINITION = (
    "InvalidDefinitionDescription: Comment for {} should follow the format: `# {} <description>` "
    "(line {})"
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("FROM scratch AS base\nFROM base", [], id="lower"),
        pytest.param(
            "FROM scratch AS Base",
            ["StageNameCasing: Stage name 'Base' should be lowercase (line 1)"],
            id="upper",
        ),
        pytest.param(
            "\nFROM scratch \\\n  AS b-X_1.0\n",
            ["StageNameCasing: Stage name 'b-X_1.0' should be lowercase (line 2)"],
            id="several-lines-count-from-the-first",
        ),
    ],
)
def test_stage_name_casing(text: str, expected: list[str]) -> None:
    assert _found(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("FROM scratch AS a", [], id="both-upper"),
        pytest.param("from scratch as a", [], id="both-lower"),
        pytest.param("FROM scratch as a", [_AS.format("as", "FROM", 1)], id="lower-as"),
        pytest.param("from scratch AS a", [_AS.format("AS", "from", 1)], id="upper-as"),
        pytest.param("from scratch aS a", [_AS.format("aS", "from", 1)], id="mixed-as-in-lower"),
        pytest.param("FROM scratch aS a", [_AS.format("aS", "FROM", 1)], id="mixed-as-in-upper"),
        pytest.param(
            "From scratch as a", [_CASING.format("From", "uppercase", 1)], id="mixed-from-is-silent"
        ),
        pytest.param("FROM --platform=$BUILDPLATFORM scratch AS a", [], id="behind-a-flag"),
    ],
)
def test_from_as_casing(text: str, expected: list[str]) -> None:
    assert _found(text) == expected


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param("FROM scratch\nRUN a \\\n\n  b\nRUN c", 4, id="last-line-of-the-instruction"),
        pytest.param("FROM scratch\nRUN a \\\n\n\n  b \\\n \t\n c", 7, id="once-per-instruction"),
        pytest.param("FROM scratch\nRUN a \\\n# comment\n\n  b", 5, id="behind-a-comment"),
        pytest.param("FROM scratch\nRUN a \\\n\n", 3, id="at-the-end"),
        pytest.param("FROM scratch\nRUN <<E \\\n\n\nx\nE\n", 6, id="heredoc-lines-count"),
    ],
)
def test_no_empty_continuation(text: str, line: int) -> None:
    report = lint(text)

    assert [finding.short for finding in report.findings] == [
        f"NoEmptyContinuation: Empty continuation line (line {line})"
    ]
    assert report.findings[0].span.last_line == line


def test_blank_lines_between_instructions_are_no_empty_continuations() -> None:
    assert _found("\n\nFROM scratch\n\nRUN a \\\n  b\n\n") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("FROM scratch\nRUN a", [], id="all-upper"),
        pytest.param("from scratch\nrun a", [], id="all-lower"),
        pytest.param(
            "FROM scratch\nrun a", [_CASING.format("run", "uppercase", 2)], id="upper-wins-a-tie"
        ),
        pytest.param(
            "FROM scratch\nrun a\nrun b", [_CASING.format("FROM", "lowercase", 1)], id="lower-wins"
        ),
        pytest.param(
            "from scratch\nRUN a\nRun b\nRUN c",
            [_CASING.format("from", "uppercase", 1), _CASING.format("Run", "uppercase", 3)],
            id="mixed-counts-for-neither",
        ),
        pytest.param("From scratch", [_CASING.format("From", "uppercase", 1)], id="mixed-only"),
        pytest.param("arg a\narg b\narg c\nFROM scratch", [], id="global-arguments-are-left-out"),
        pytest.param("FROM scratch\nONBUILD run a", [], id="triggers-are-left-out"),
        pytest.param(
            "FROM scratch AS a\nrun x\nFROM scratch",
            [_CASING.format("run", "uppercase", 2)],
            id="unused-stages-count",
        ),
    ],
)
def test_consistent_instruction_casing(text: str, expected: list[str]) -> None:
    assert _found(text) == expected


def test_several_lines_of_an_instruction_are_all_of_its_place() -> None:
    report = lint("FROM scratch\nRUN x\nrun a \\\n  b\n")

    assert [(f.span.first_line, f.span.last_line) for f in report.findings] == [(3, 4)]


class TestStageNames:
    def test_the_second_stage_of_a_name_is_a_duplicate_in_any_case(self) -> None:
        assert _found("FROM scratch AS b\nFROM scratch AS B\nFROM scratch AS b") == [
            "StageNameCasing: Stage name 'B' should be lowercase (line 2)",
            'DuplicateStageName: Duplicate stage name "b", stage names should be unique (line 2)',
            'DuplicateStageName: Duplicate stage name "b", stage names should be unique (line 3)',
        ]

    def test_reserved_names_are_reported_once_each_before_duplicates(self) -> None:
        reserved = (
            "ReservedStageName: Stage name should not use the same name as reserved stage {} "
            "(line {})"
        )

        assert _found("FROM scratch AS scratch\nFROM alpine AS Context\nFROM x AS context") == [
            "StageNameCasing: Stage name 'Context' should be lowercase (line 2)",
            reserved.format('"scratch"', 1),
            reserved.format('"context"', 2),
            reserved.format('"context"', 3),
            (
                'DuplicateStageName: Duplicate stage name "context", stage names should be unique '
                "(line 3)"
            ),
        ]

    def test_scratch_as_a_base_is_fine(self) -> None:
        assert _found("FROM scratch\nFROM scratch AS a") == []


class TestMaintainer:
    def test_is_reported_as_spelled_lines(self) -> None:
        assert _found("FROM scratch\nMAINTAINER a <a@b.c>") == [_MAINTAINER]

    def test_label_is_not(self) -> None:
        assert _found('FROM scratch\nLABEL org.opencontainers.image.authors="a"') == []


class TestDefinitionDescription:
    def test_is_off_unless_asked_for(self) -> None:
        assert _found("# nonsense\n#x\nARG foo=1\nFROM scratch") == []

    def test_the_last_comment_has_to_begin_with_the_name(self) -> None:
        text = (
            "# check=experimental=InvalidDefinitionDescription\n"
            "# foo is this\n# bar is that\nARG foo\n"
            "# Base is this\nFROM scratch AS Base\n"
            "# base is this\nFROM scratch AS base\n"
            "# other\nARG a=1 b=2\n"
            "# b is this\nARG a=1 b=2\n"
        )

        assert [short for short in _found(text) if short.startswith("InvalidDef")] == [
            _DEFINITION.format("ARG", "foo", 4),
            _DEFINITION.format("FROM", "base", 6),
            _DEFINITION.format("ARG", "<arg_key>", 10),
        ]

    def test_a_blank_line_does_not_detach_a_comment_and_an_empty_comment_does(self) -> None:
        text = (
            "# check=experimental=all\n# x\n\nARG foo\n# x\n#\nARG bar\nFROM scratch\n"
            "# x\nCOPY a b\n# x\nFROM scratch\n"
        )

        assert _found(text) == [_DEFINITION.format("ARG", "foo", 4)]


class TestMistakes:
    def test_what_stands_before_a_mistake_is_still_reported(self) -> None:
        report = lint("FROM scratch AS Bad\nMAINTAINER a\nBADCMD\nMAINTAINER b\n")

        assert [finding.short for finding in report.findings] == [
            "StageNameCasing: Stage name 'Bad' should be lowercase (line 1)",
            _MAINTAINER,
        ]
        assert report.error is not None
        assert (
            report.error.message == "dockerfile parse error on line 3: unknown instruction: BADCMD"
        )
        assert report.error.span is not None
        assert report.error.span.first_line == 3

    def test_the_bad_line_itself_is_looked_at_first(self) -> None:
        report = lint("FROM scratch as Bad!\n")

        assert [finding.rule for finding in report.findings] == ["StageNameCasing", "FromAsCasing"]
        assert report.error is not None

    def test_any_second_word_counts_as_the_keyword(self) -> None:
        assert _found("FROM a b c") == [_AS.format("b", "FROM", 1)]

    def test_an_instruction_before_from(self) -> None:
        report = lint("MAINTAINER a\nFROM scratch as b\n")

        assert [finding.rule for finding in report.findings] == ["MaintainerDeprecated"]
        assert report.error is not None
        assert report.error.message == "no build stage in current context"

    def test_arguments_only(self) -> None:
        report = lint("# check=experimental=all\n# x\n#\n# y\nARG a\n# x\nARG b\n")

        assert [finding.span.first_line for finding in report.findings] == [5, 7]
        assert report.error is not None
        assert report.error.message == "dockerfile contains no stages to build"

    def test_lines_that_cannot_be_read_leave_no_findings(self) -> None:
        report = lint("FROM scratch AS Bad\nRUN a \\\n\n b\nRUN <<E\nx\n")

        assert report.findings == ()
        assert report.error is not None
        assert "unterminated heredoc" in report.error.message

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "the Dockerfile cannot be empty"),
            ("# only\n", "file with no instructions"),
        ],
    )
    def test_nothing_to_build(self, text: str, message: str) -> None:
        report = lint(text)

        assert report.findings == ()
        assert report.error is not None
        assert report.error.message == message
