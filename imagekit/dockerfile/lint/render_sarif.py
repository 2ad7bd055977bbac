"""A report as SARIF 2.1.0, the form that code scanning services read.

Source: OASIS SARIF 2.1.0.
"""

import json
from typing import Final
from urllib.parse import quote

from imagekit.dockerfile.errors import Span
from imagekit.dockerfile.lint.documentation import DOCUMENTATION, Documentation, explain
from imagekit.dockerfile.lint.findings import Finding, LintReport
from imagekit.dockerfile.lint.render_json import Json
from imagekit.dockerfile.lint.rules import RULES

_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
_ALL_RULES: Final = "https://docs.docker.com/reference/build-checks/"
_LEVEL: Final = "warning"


def render_sarif(report: LintReport, *, tool_version: str = "") -> str:
    """Return a log with one run, with two blanks of indentation and without a final newline.

    Every rule is described, broken or not. An error of the build is a notification of the tool. A
    relative ``file_name`` is relative to where the reader looks, usually the root of a repository.
    """
    driver: dict[str, Json] = {
        "name": "imagekit",
        "rules": [_rule(one) for one in DOCUMENTATION],
    }
    if tool_version:
        driver["version"] = tool_version
    invocation: dict[str, Json] = {"executionSuccessful": report.error is None}
    if report.error is not None:
        notification: dict[str, Json] = {
            "level": "error",
            "message": {"text": report.error.message},
        }
        if report.error.span is not None:
            notification["locations"] = [_location(report, report.error.span)]
        invocation["toolExecutionNotifications"] = [notification]
    run: dict[str, Json] = {
        "tool": {"driver": driver},
        "invocations": [invocation],
        "results": [_result(report, finding) for finding in report.findings],
    }
    log: dict[str, Json] = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=2, ensure_ascii=False)


def _rule(one: Documentation) -> Json:
    rule = one.rule
    return {
        "id": rule.name,
        "name": rule.name,
        "shortDescription": {"text": rule.description},
        "fullDescription": {"text": one.text},
        "help": {"text": explain(rule.name), "markdown": _markdown(one)},
        "helpUri": rule.url or _ALL_RULES,
        "defaultConfiguration": {"level": _LEVEL, "enabled": not rule.is_experimental},
    }


def _markdown(one: Documentation) -> str:
    return (
        f"{one.text}\n\nBad:\n\n```dockerfile\n{one.bad}```\n\n"
        f"Good:\n\n```dockerfile\n{one.good}```\n"
    )


def _result(report: LintReport, finding: Finding) -> Json:
    return {
        "ruleId": finding.rule,
        "ruleIndex": RULES.index(finding.about),
        "level": _LEVEL,
        "message": {"text": finding.message},
        "locations": [_location(report, finding.span)],
    }


def _location(report: LintReport, span: Span) -> Json:
    region: dict[str, Json] = {"startLine": span.first_line, "endLine": span.last_line}
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": quote(report.file_name, errors="surrogateescape")},
            "region": region,
        }
    }
