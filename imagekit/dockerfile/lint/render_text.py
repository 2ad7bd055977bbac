"""A report as ``docker build --check`` prints it.

Source: BuildKit frontend/subrequests/lint (PrintTo, PrintErrorTo), solver/errdefs (Source.Print).
"""

from msgspec.structs import replace

from imagekit.dockerfile.errors import Span, render_excerpt
from imagekit.dockerfile.lint.findings import Finding, LintReport


def render_text(report: LintReport) -> str:
    """Return the warnings by line, each with its lines, and then the error; "" when all is well.

    The result ends in a newline. Bytes that are not UTF-8 come out as U+FFFD.
    """
    blocks = [_warning(finding, report) for finding in report.by_line]
    if report.error is not None:
        separator = "\n" if blocks else ""
        blocks.append(separator + _error(report))
    text = "".join(blocks)
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def summary(report: LintReport) -> str:
    """Return the line that ``docker build --check`` puts above the warnings."""
    match len(report.findings):
        case 0:
            return "Check complete, no warnings found."
        case 1:
            return "Check complete, 1 warning has been found!"
        case count:
            return f"Check complete, {count} warnings have been found!"


def _warning(finding: Finding, report: LintReport) -> str:
    rule = finding.about
    address = f" - {rule.url}" if rule.url else ""
    excerpt = _excerpt(report, finding.span)
    return f"\nWARNING: {rule.name}{address}\n{finding.message}\n{excerpt}"


def _error(report: LintReport) -> str:
    assert report.error is not None
    excerpt = "" if report.error.span is None else _excerpt(report, report.error.span)
    return f"{report.error.message}\n{excerpt}"


def _excerpt(report: LintReport, span: Span) -> str:
    return render_excerpt(report.text, replace(span, column=None)) + "\n"
