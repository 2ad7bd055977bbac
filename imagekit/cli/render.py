"""Text for people and programs: errors with hints, sizes, times, JSON."""

import contextlib
import errno
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

from imagekit.base.errors import ImagekitError
from imagekit.base.sizes import size_text as size_text  # noqa: PLC0414  (render's too)

if TYPE_CHECKING:
    import click

    from imagekit.cli.tables import Column
    from imagekit.dockerfile.errors import Span

INTERNAL_ERROR_CODE = 70
HOST_ERROR_CODE = 3
_HINTS = {
    errno.ENOSPC: "Free some space; `imagekit system prune` removes what nothing needs.",
    errno.EDQUOT: "Free some space; `imagekit system prune` removes what nothing needs.",
    errno.EACCES: "Run as root, or name a directory of yours with --root.",
    errno.EPERM: "Run as root, or name a directory of yours with --root.",
    errno.EROFS: "Name a writable directory with --root.",
    errno.EIO: "Look for errors of the disk among the kernel's messages (dmesg).",
    errno.EMFILE: "Raise the limit on open files with `ulimit -n`.",
}


def print_line(text: str = "") -> None:
    """Write a line to standard output."""
    _write(sys.stdout, text)


def print_error_line(text: str) -> None:
    """Write a line to standard error; one that nobody can read must not change the exit code."""
    with contextlib.suppress(OSError):
        _write(sys.stderr, text)


def _write(stream: TextIO, text: str) -> None:
    """Write a line at once; what the stream's encoding lacks is written as an escape."""
    try:
        stream.write(f"{text}\n")
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write(f"{text.encode(encoding, 'backslashreplace').decode(encoding)}\n")
    stream.flush()


def print_json(document: object) -> None:
    """Write a document to standard output, indented, keys in the given order."""
    import json

    print_line(json.dumps(document, indent=2, ensure_ascii=False))


def report_error(error: ImagekitError, *, debug: bool = False) -> None:
    """Write an error and its hint to standard error; with ``debug`` also where it came from."""
    if debug:
        _print_traceback(error)
    print_error_line(f"imagekit: error: {_clean_lines(error.message)}")
    if error.hint:
        print_error_line(f"hint: {_clean_lines(error.hint)}")


def report_usage(error: "click.ClickException") -> None:
    """Write what is wrong with the command line and how to get help."""
    print_error_line(f"imagekit: error: {_lower_first(error.format_message().rstrip('.'))}")
    context = getattr(error, "ctx", None)
    if context is not None:
        print_error_line(f"hint: Run `{context.command_path} --help`.")


def report_os_error(error: OSError, *, debug: bool = False) -> None:
    """Write a failure of the system that no room has mapped to an error of its own."""
    if debug:
        _print_traceback(error)
    place = f": {error.filename}" if error.filename is not None else ""
    print_error_line(
        f"imagekit: error: {_lower_first(error.strerror or str(error))}{_clean_lines(place)}"
    )
    hint = _HINTS.get(error.errno or 0)
    if hint:
        print_error_line(f"hint: {hint}")


def report_not_utf8(error: UnicodeEncodeError, *, debug: bool = False) -> None:
    """Write that a word of the command line, or what it led to, is no UTF-8 text."""
    if debug:
        _print_traceback(error)
    # The error's own text may be a whole document, or a question mark.
    print_error_line("imagekit: error: an argument or a variable is not UTF-8 text")


def report_internal_error(error: BaseException, *, debug: bool = False) -> None:
    """Write one line about a bug in imagekit, and what to do about it."""
    if debug:
        _print_traceback(error)
    text = _clean_lines(str(error)).partition("\n")[0][:300]
    print_error_line(f"imagekit: internal error: {type(error).__name__}: {text}")
    if not debug:
        print_error_line(
            "hint: Run it again with `imagekit --debug ...` and report the traceback as a bug."
        )


def print_excerpt(text: str, span: "Span") -> None:
    """Write the place of an error in a Dockerfile to standard error."""
    from imagekit.dockerfile.errors import render_excerpt

    print_error_line(_clean_lines(render_excerpt(text, span)))


def print_table(heads: "Sequence[Column]", rows: Sequence[Sequence[str]]) -> None:
    """Write a table to standard output, fitted to the terminal if it is one."""
    from imagekit.cli.tables import render_table

    for line in render_table(heads, rows, width=terminal_width()):
        print_line(line)


def terminal_width() -> int | None:
    """Return the columns of the terminal on standard output, or None if it is not one."""
    if not sys.stdout.isatty():
        return None
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except (OSError, ValueError):
        return None


def error_terminal_size() -> tuple[int, int]:
    """Return columns and lines of the terminal on standard error; (80, 24) if it is not one."""
    try:
        columns, lines = os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError):
        return 80, 24
    return columns or 80, lines or 24


def age_text(moment: datetime | None, now: datetime) -> str:
    """Return ``3 minutes ago``; an unknown or meaningless time (before 1980) is ``N/A``."""
    if moment is None or moment.year < 1980:
        return "N/A"
    from imagekit.containers.model import human_duration

    return f"{human_duration(max(0.0, (now - moment).total_seconds()))} ago"


def seconds_text(seconds: float) -> str:
    """Return a measured time: ``0.4s``, ``12.3s``, ``2m05s``."""
    if seconds < 60:
        return f"{seconds:.1f}s" if seconds >= 0.1 else f"{seconds * 1000:.0f}ms"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    return f"{minutes // 60}h{minutes % 60:02d}m"


def local_time_text(moment: datetime) -> str:
    """Return a time in UTC to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def short_id(identifier: object) -> str:
    """Return the first 12 hex digits of an id, without its algorithm."""
    return str(identifier).rpartition(":")[2][:12]


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def _clean_lines(text: str) -> str:
    """Return text whose only control characters are line ends and tabs."""
    from imagekit.cli.tables import clean

    return "\n".join(
        "\t".join(clean(part) for part in line.split("\t")) for line in text.split("\n")
    )


def _print_traceback(error: BaseException) -> None:
    import traceback

    print_error_line("".join(traceback.format_exception(error)).rstrip())
