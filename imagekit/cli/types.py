"""Click parameter types of the small languages in ``imagekit.cli.parsing``."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import click

from imagekit.cli import parsing

Value = TypeVar("Value")


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
