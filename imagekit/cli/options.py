"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from imagekit.config import ProgressMode

Decorated = TypeVar("Decorated", bound=Callable[..., object])

PATH = click.Path(path_type=Path, readable=False)
"""A path that click does not look at: the room that opens it has a better error."""


def json_option(function: Decorated) -> Decorated:
    """Add ``--json``: the command's data as one JSON document."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def quiet_option(text: str) -> Callable[[Decorated], Decorated]:
    """Add ``-q``; ``text`` says what is left."""
    return click.option("-q", "--quiet", is_flag=True, help=text)


def progress_option(function: Decorated) -> Decorated:
    """Add ``--progress``."""
    return click.option(
        "--progress",
        type=click.Choice([mode.value for mode in ProgressMode]),
        help="How to show progress (auto: tty on a terminal, plain elsewhere).",
    )(function)


def insecure_option(function: Decorated) -> Decorated:
    """Add ``--insecure`` under docker's and podman's names."""
    return click.option(
        "--insecure",
        is_flag=True,
        help="Talk to this registry without TLS or without checking its certificate.",
    )(function)


def no_trunc_option(function: Decorated) -> Decorated:
    """Add ``--no-trunc``."""
    return click.option("--no-trunc", is_flag=True, help="Show whole ids and texts.")(function)
