"""Options that several commands share."""

from collections.abc import Callable

from imagekit.cli.declare import Choice, Decorated, option
from imagekit.config import ProgressMode

COMPRESSIONS = Choice(["gzip", "zstd", "none"])
MODES = Choice([mode.value for mode in ProgressMode])


def json_option(function: Decorated) -> Decorated:
    """Add ``--json``: the command's data as one JSON document."""
    return option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def quiet_option(text: str) -> Callable[[Decorated], Decorated]:
    """Add ``-q``; ``text`` says what is left."""
    return option("-q", "--quiet", is_flag=True, help=text)


def progress_option(function: Decorated) -> Decorated:
    """Add ``--progress``."""
    return option(
        "--progress",
        type=MODES,
        help="How to show progress (auto: tty on a terminal, plain elsewhere).",
    )(function)


def insecure_option(function: Decorated) -> Decorated:
    """Add ``--insecure`` under docker's and podman's names."""
    return option(
        "--insecure",
        is_flag=True,
        help="Talk to this registry without TLS or without checking its certificate.",
    )(function)


def no_trunc_option(function: Decorated) -> Decorated:
    """Add ``--no-trunc``."""
    return option("--no-trunc", is_flag=True, help="Show whole ids and texts.")(function)
