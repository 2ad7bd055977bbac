"""``imagekit build --check``: the build checks from request to output and exit code.

Imported by the build command only when it is asked for.
"""

from typing import TYPE_CHECKING, Final

from imagekit.base.errors import HostError, UserError
from imagekit.cli import render
from imagekit.dockerfile.lint.findings import LintReport

if TYPE_CHECKING:
    from pathlib import Path

    from imagekit.build.request import BuildRequest
    from imagekit.cli.session import Session
    from imagekit.engine import Engine

FOUND: Final = 1
"""The exit code when there is a finding or an error, as docker's."""


def print_explanation(rule: str) -> int:
    """Print what a rule is about and return 0.

    Raises:
        DockerfileError: there is no such rule.

    """
    from imagekit.dockerfile.lint.documentation import explain

    render.print_line(explain(rule))
    return 0


def run_checks(
    session: "Session", request: "BuildRequest", *, output_format: str, fix: bool
) -> int:
    """Print what the checks find and return 1 if that is anything, else 0.

    With ``fix`` the Dockerfile is corrected first, and what is left is printed.

    Raises:
        UserError: if the Dockerfile cannot be read, or comes from standard input with ``fix``.
        HostError: if it cannot be corrected in its place.

    """
    with session.engine() as engine:
        if fix:
            _correct(request, engine.check(request, fetch=False))
        report = engine.check(request)
    for name in report.unknown_images:
        render.print_error_line(
            f"note: nothing is known of {name}: variables that it sets count as undefined"
        )
    render.print_line(_rendered(request, report, output_format))
    if output_format == "text" and report.error is not None:
        for other in report.error.others:
            if other.span is not None:
                render.print_excerpt(report.text, other.span)
            render.print_error_line(other.message)
    return 0 if report.is_clean else FOUND


def warning_lines(engine: "Engine", request: "BuildRequest") -> tuple[str, ...]:
    """Return what to say after a build: how many findings there are, and each on a line."""
    findings = engine.check(request, only_needed=True, fetch=False).by_line
    if not findings:
        return ()
    count = "1 warning" if len(findings) == 1 else f"{len(findings)} warnings"
    head = f"{count} found (`imagekit build --check` shows the lines):"
    return (head, *(f" - {finding.short}" for finding in findings))


def _rendered(request: "BuildRequest", report: LintReport, output_format: str) -> str:
    if output_format == "json":
        from imagekit.dockerfile.lint.render_json import render_json

        return render_json(report)
    if output_format == "sarif":
        from imagekit import __version__
        from imagekit.dockerfile.lint.render_sarif import render_sarif

        return render_sarif(_placed(request, report), tool_version=__version__)
    from imagekit.dockerfile.lint.render_text import render_text, summary

    text = render_text(report).removesuffix("\n")
    if report.error is not None and not report.findings:
        return text
    return f"{summary(report)}\n{text}" if text else summary(report)


def _placed(request: "BuildRequest", report: LintReport) -> LintReport:
    """Name the file from where the user stands: there readers of SARIF look, the context is not."""
    from pathlib import Path

    from msgspec.structs import replace

    from imagekit.build.context import find_dockerfile

    if request.dockerfile_text is not None:
        return report
    path = find_dockerfile(request).absolute()
    here = Path.cwd()
    name = path.relative_to(here) if path.is_relative_to(here) else path
    return replace(report, file_name=str(name))


def _correct(request: "BuildRequest", report: LintReport) -> None:
    """Write the corrected Dockerfile, if something can be corrected, and tell of it."""
    from imagekit.dockerfile.lint.fix import fix

    path = _file_of(request)
    result = fix(report.text, report.findings)
    if not result.edits:
        return
    _write(path, result.text.encode("utf-8", "surrogateescape"))
    lines = len({edit.line for edit in result.edits})
    render.print_error_line(f"corrected {lines} {'line' if lines == 1 else 'lines'} of {path}")


def _file_of(request: "BuildRequest") -> "Path":
    from imagekit.build.context import find_dockerfile

    if request.dockerfile_text is not None:
        raise UserError(
            "cannot correct a Dockerfile that comes from standard input",
            hint="Name a file with -f.",
        )
    return find_dockerfile(request)


def _write(path: "Path", data: bytes) -> None:
    """Replace the file that ``path`` leads to; it keeps its permissions."""
    from imagekit.base.atomic import write_file

    target = path.resolve()
    try:
        write_file(target, data, mode=target.stat().st_mode & 0o777)
    except OSError as error:
        raise HostError(f"cannot correct {path}: {error.strerror}") from error
