"""A report as JSON, in the shape of ``docker build --call=check,format=json``.

The place of a finding is one range per line. ``sourceIndex`` is left out because it is 0; the
definition of the source in BuildKit's own build language has no counterpart here.

Source: BuildKit frontend/subrequests/lint (LintResults), solver/pb (SourceInfo, Location).
"""

import base64
import json
from typing import TypeAlias

from imagekit.dockerfile.errors import Span
from imagekit.dockerfile.lint.findings import Finding, LintReport

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | bool"

_LANGUAGE = "Dockerfile"


def render_json(report: LintReport) -> str:
    """Return the report with two blanks of indentation and without a final newline.

    The findings are in the order in which they were made. Not only ASCII comes out.
    """
    return json.dumps(document_of(report), indent=2, ensure_ascii=False)


def document_of(report: LintReport) -> dict[str, Json]:
    """Return the report as what JSON can hold."""
    data = report.text.encode("utf-8", "surrogateescape")
    source: dict[str, Json] = {
        "filename": report.file_name,
        "data": base64.b64encode(data).decode("ascii"),
        "language": _LANGUAGE,
    }
    document: dict[str, Json] = {
        "warnings": [_warning(finding) for finding in report.findings],
        "sources": [source],
    }
    if report.error is not None:
        document["buildError"] = {
            "message": report.error.message,
            "location": {} if report.error.span is None else _location(report.error.span),
        }
    return document


def _warning(finding: Finding) -> Json:
    rule = finding.about
    warning: dict[str, Json] = {"ruleName": rule.name, "description": rule.description}
    if rule.url:
        warning["url"] = rule.url
    warning["detail"] = finding.message
    warning["location"] = _location(finding.span)
    return warning


def _location(span: Span) -> dict[str, Json]:
    lines = range(span.first_line, span.last_line + 1)
    return {"ranges": [{"start": {"line": line}, "end": {"line": line}} for line in lines]}
