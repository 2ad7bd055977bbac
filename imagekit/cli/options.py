"""Click parameter types, and the options that several commands share."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import click

from imagekit.cli import parsing
from imagekit.config import ProgressMode

Value = TypeVar("Value")
Decorated = TypeVar("Decorated", bound=Callable[..., object])


class ParsedType(click.ParamType, Generic[Value]):  # type: ignore[type-arg]  # generic since 8.4 only
    """A parameter whose text goes through a function that raises ``ValueError``."""

    def __init__(self, name: str, parse: Callable[[str], Value]) -> None:
        self.name = name
        self.parse = parse

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:  # noqa: ANN401  click's signature
        """Return the parsed value; a usage error that names the option otherwise."""
        if not isinstance(value, str):
            return value
        try:
            return self.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


SIZE = ParsedType("size", parsing.parse_size)
SWAP = ParsedType("size", parsing.parse_swap)
DURATION = ParsedType("duration", parsing.parse_duration)
CPUS = ParsedType("number", parsing.parse_cpus)
PAIR = ParsedType("key=value", parsing.parse_pair)
LABEL = ParsedType("key=value", parsing.parse_label)
FIELDS = ParsedType("fields", parsing.parse_fields)
MOUNT = ParsedType("mount", parsing.parse_mount)
PUBLISH = ParsedType("port", parsing.expand_ports)
ADD_HOST = ParsedType("name:address", parsing.parse_add_host)


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
