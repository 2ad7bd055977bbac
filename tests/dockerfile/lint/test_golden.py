"""Whole files as people write them: what is found, what is corrected, and what is left then."""

import difflib
from pathlib import Path

import pytest

from imagekit.dockerfile.ignore import IgnoreMatcher
from imagekit.dockerfile.lint.check import lint
from imagekit.dockerfile.lint.findings import LintReport
from imagekit.dockerfile.lint.fix import fix
from imagekit.dockerfile.lint.settings import LintSettings

_ROOT = Path(__file__).parents[3] / "testdata" / "lint"
_CASES = sorted(path.name for path in _ROOT.iterdir() if path.is_dir())


@pytest.mark.parametrize("case", _CASES)
def test_file_is_checked_as_recorded(case: str, request: pytest.FixtureRequest) -> None:
    ignore = _ROOT / case / ".dockerignore"
    settings = LintSettings(
        ignore=IgnoreMatcher.parse(ignore.read_text()) if ignore.exists() else None
    )
    text = (_ROOT / case / "Dockerfile").read_text()
    report = lint(text, settings=settings)
    fixed = fix(text, report.findings).text
    lines = [*_lines(report), *_changes(text, fixed)]
    if fixed != text:
        lines += ["", "then:", *_lines(lint(fixed, settings=settings))]
    described = "\n".join(lines) + "\n"

    expected = _ROOT / case / "expected"
    if request.config.getoption("--update-golden", default=False):
        expected.write_text(described)
    assert described == expected.read_text()


def _lines(report: LintReport) -> list[str]:
    lines = [f"{one.span.first_line}-{one.span.last_line} {one.short}" for one in report.findings]
    if report.error is not None:
        span = report.error.span
        place = "nowhere" if span is None else f"{span.first_line}-{span.last_line}"
        lines.append(f"error {place}: {report.error.message}")
    return lines or ["nothing"]


def _changes(text: str, fixed: str) -> list[str]:
    before, after = text.split("\n"), fixed.split("\n")
    changes = difflib.unified_diff(before, after, lineterm="", n=0)
    kept = [line for line in changes if not line.startswith(("---", "+++", "@@"))]
    return ["", *kept] if kept else []
