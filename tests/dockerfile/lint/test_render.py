"""Reports as text, JSON and SARIF."""

import base64
import json
from typing import Any

from imagekit.dockerfile.lint.check import lint
from imagekit.dockerfile.lint.render_json import document_of, render_json
from imagekit.dockerfile.lint.render_sarif import render_sarif
from imagekit.dockerfile.lint.render_text import render_text, summary
from imagekit.dockerfile.lint.rules import RULES

_RULE = "-" * 20


class TestText:
    def test_a_warning_with_its_lines(self) -> None:
        report = lint("FROM scratch\nENV a=b\nMAINTAINER me\nENV c=d", file_name="my/Dockerfile")

        assert render_text(report) == (
            "\n"
            "WARNING: MaintainerDeprecated - "
            "https://docs.docker.com/go/dockerfile/rule/maintainer-deprecated/\n"
            "Maintainer instruction is deprecated in favor of using label\n"
            "my/Dockerfile:3\n"
            f"{_RULE}\n"
            "   1 |     FROM scratch\n"
            "   2 |     ENV a=b\n"
            "   3 | >>> MAINTAINER me\n"
            "   4 |     ENV c=d\n"
            f"{_RULE}\n"
        )

    def test_several_lines_have_one_line_around_them(self) -> None:
        report = lint("FROM scratch\nENV x=1\nENV a \\\n  b\nENV c=d\nENV e=f\n")

        assert render_text(report).split(_RULE)[1] == (
            "\n   2 |     ENV x=1\n   3 | >>> ENV a \\\n   4 | >>>   b\n   5 |     ENV c=d\n"
        )

    def test_the_piece_behind_the_last_newline_is_a_line(self) -> None:
        report = lint("FROM scratch\nENV a b\n")

        assert render_text(report).split(_RULE)[1].endswith("   2 | >>> ENV a b\n   3 |     \n")

    def test_warnings_are_sorted_by_line_and_stay_in_order_within_one(self) -> None:
        report = lint("FROM scratch AS b\nenv token b\nMAINTAINER a\nRUN a\n")

        warnings = [
            line.split()[1] for line in render_text(report).split("\n") if line[:4] == "WARN"
        ]
        assert next(finding.rule for finding in report.findings) == "MaintainerDeprecated"
        assert warnings == [
            "ConsistentInstructionCasing",
            "LegacyKeyValueFormat",
            "SecretsUsedInArgOrEnv",
            "MaintainerDeprecated",
        ]

    def test_the_error_follows_without_a_caret(self) -> None:
        report = lint("FROM scratch\nMAINTAINER a\nBADCMD x\n")

        assert render_text(report).endswith(
            f"{_RULE}\n\n"
            "dockerfile parse error on line 3: unknown instruction: BADCMD\n"
            "Dockerfile:3\n"
            f"{_RULE}\n"
            "   1 |     FROM scratch\n"
            "   2 |     MAINTAINER a\n"
            "   3 | >>> BADCMD x\n"
            "   4 |     \n"
            f"{_RULE}\n"
        )

    def test_an_error_without_a_place(self) -> None:
        report = lint("# check=nonsense\nFROM scratch\n")

        assert render_text(report) == (
            'failed to parse check options: invalid check option "nonsense"\n'
        )

    def test_nothing(self) -> None:
        assert render_text(lint("FROM scratch\n")) == ""

    def test_bytes_that_are_no_text(self) -> None:
        assert "\ufffd" in render_text(lint(b"# \xff\nFROM scratch AS B\n"))

    def test_summary(self) -> None:
        assert summary(lint("FROM scratch")) == "Check complete, no warnings found."
        assert summary(lint("FROM scratch AS B")) == "Check complete, 1 warning has been found!"
        assert summary(lint("FROM scratch as B")) == ("Check complete, 2 warnings have been found!")


class TestJson:
    def test_the_shape(self) -> None:
        text = "FROM scratch\nENV a \\\n b\n"

        assert json.loads(render_json(lint(text, file_name="D"))) == {
            "warnings": [
                {
                    "ruleName": "LegacyKeyValueFormat",
                    "description": (
                        "Legacy key/value format with whitespace separator should not be used"
                    ),
                    "url": ("https://docs.docker.com/go/dockerfile/rule/legacy-key-value-format/"),
                    "detail": (
                        '"ENV key=value" should be used instead of legacy "ENV key value" format'
                    ),
                    "location": {
                        "ranges": [
                            {"start": {"line": 2}, "end": {"line": 2}},
                            {"start": {"line": 3}, "end": {"line": 3}},
                        ]
                    },
                }
            ],
            "sources": [
                {
                    "filename": "D",
                    "data": base64.b64encode(text.encode()).decode(),
                    "language": "Dockerfile",
                }
            ],
        }

    def test_the_error_has_a_place_that_may_be_empty(self) -> None:
        placed = document_of(lint("BAD\n"))
        unplaced = document_of(lint("# check=x\n"))

        assert placed["warnings"] == []
        assert placed["buildError"] == {
            "message": "dockerfile parse error on line 1: unknown instruction: BAD (did you mean "
            "ADD?)",
            "location": {"ranges": [{"start": {"line": 1}, "end": {"line": 1}}]},
        }
        assert unplaced["buildError"] == {
            "message": 'failed to parse check options: invalid check option "x"',
            "location": {},
        }

    def test_warnings_are_in_the_order_of_making(self) -> None:
        report = lint("FROM scratch\nENV a b\nMAINTAINER x\n")

        names = [warning["ruleName"] for warning in json.loads(render_json(report))["warnings"]]
        assert names == ["MaintainerDeprecated", "LegacyKeyValueFormat"]

    def test_bytes_that_are_no_text_come_back(self) -> None:
        source = json.loads(render_json(lint(b"# \xff\nFROM scratch\n")))["sources"][0]

        assert base64.b64decode(source["data"]) == b"# \xff\nFROM scratch\n"


class TestSarif:
    @staticmethod
    def _log(text: str, **arguments: Any) -> Any:
        return json.loads(render_sarif(lint(text, file_name="a b/Dockerfile"), **arguments))

    def test_the_log_has_what_the_schema_requires(self) -> None:
        log = self._log("FROM scratch\nENV a \\\n b\n", tool_version="1.2")

        assert log["version"] == "2.1.0"
        (run,) = log["runs"]
        assert run["tool"]["driver"]["name"] == "imagekit"
        assert run["tool"]["driver"]["version"] == "1.2"
        assert run["invocations"] == [{"executionSuccessful": True}]
        assert run["results"] == [
            {
                "ruleId": "LegacyKeyValueFormat",
                "ruleIndex": 12,
                "level": "warning",
                "message": {
                    "text": '"ENV key=value" should be used instead of legacy "ENV key value" '
                    "format"
                },
                "locations": [
                    {
                        "physicalLocation": {
                            "artifactLocation": {"uri": "a%20b/Dockerfile"},
                            "region": {"startLine": 2, "endLine": 3},
                        }
                    }
                ],
            }
        ]

    def test_every_rule_is_described(self) -> None:
        rules = self._log("FROM scratch")["runs"][0]["tool"]["driver"]["rules"]

        assert [rule["id"] for rule in rules] == [rule.name for rule in RULES]
        for rule in rules:
            assert rule["helpUri"].startswith("https://")
            assert rule["fullDescription"]["text"]
            assert rule["shortDescription"]["text"]
            assert "```dockerfile" in rule["help"]["markdown"]
        off = [rule["id"] for rule in rules if not rule["defaultConfiguration"]["enabled"]]
        assert off == ["InvalidDefinitionDescription"]

    def test_the_index_of_a_result_is_that_of_its_rule(self) -> None:
        run = self._log("FROM scratch as B\nENV a b\nCMD x\n")["runs"][0]

        for result in run["results"]:
            assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]

    def test_an_error_is_a_notification(self) -> None:
        (invocation,) = self._log("FROM scratch\nBAD\n")["runs"][0]["invocations"]

        assert invocation["executionSuccessful"] is False
        (notification,) = invocation["toolExecutionNotifications"]
        assert notification["level"] == "error"
        assert notification["locations"][0]["physicalLocation"]["region"]["startLine"] == 2
        (invocation,) = self._log("# check=x\n")["runs"][0]["invocations"]
        assert "locations" not in invocation["toolExecutionNotifications"][0]
