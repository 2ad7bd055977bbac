"""Command groups that import a command only when it is run or asked for help."""

import importlib
import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

OWN_FAILURE = 125


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandEntry:
    """A command's name, the module whose ``command`` it is, its line in the help, its section."""

    name: str
    module: str
    summary: str
    section: str


class Command(click.Command):
    """A command whose ``Example:`` paragraph is shown as it is written."""

    def __init__(self, *args: Any, **extra: Any) -> None:  # noqa: ANN401  click's signature
        super().__init__(*args, **extra)
        self.help = keep_examples(self.help)


class Group(click.Group):
    """A group of such commands."""

    command_class = Command

    def __init__(self, *args: Any, **extra: Any) -> None:  # noqa: ANN401  click's signature
        super().__init__(*args, **extra)
        self.help = keep_examples(self.help)


def keep_examples(text: str | None) -> str | None:
    """Return a help text with click's mark for "do not wrap" before its examples."""
    if text is None:
        return None
    return re.sub(r"(?m)^(?=[ ]*Example:$)", "\b\n", inspect.cleandoc(text))


class LazyGroup(Group):
    """A group made from a table; ``-h`` needs nothing but the table."""

    def __init__(self, *args: Any, entries: Sequence[CommandEntry] = (), **extra: Any) -> None:  # noqa: ANN401  click's signature
        super().__init__(*args, **extra)
        self.entries = {entry.name: entry for entry in entries}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the table's order."""
        del ctx
        return list(self.entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, imported now; None if there is none of this name."""
        del ctx
        entry = self.entries.get(cmd_name)
        if entry is None:
            return None
        command = importlib.import_module(entry.module).command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; an unknown one is told with the nearest known name."""
        if args and args[0] not in self.entries and not args[0].startswith("-"):
            from imagekit.dockerfile.suggestions import did_you_mean

            ctx.fail(f"no such command {args[0]!r}{did_you_mean(args[0], self.entries)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections of the table."""
        del ctx
        sections = dict.fromkeys(entry.section for entry in self.entries.values())
        width = max((len(name) for name in self.entries), default=0)
        for section in sections:
            rows = [
                (entry.name.ljust(width), entry.summary)
                for entry in self.entries.values()
                if entry.section == section
            ]
            with formatter.section(section):
                formatter.write_dl(rows)


class OwnUsageError(click.UsageError):
    """A wrong command line of a command whose other exit codes are a container's."""

    exit_code = OWN_FAILURE


class ContainerCommand(Command):
    """A command that exits with a container's code, and with 125 when imagekit itself fails."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,  # noqa: ANN401  click's signature
    ) -> click.Context:
        """Parse the arguments; ``-h`` alone asks for help although ``-h NAME`` is the host name."""
        if args == ["-h"]:
            args = ["--help"]
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            raise OwnUsageError(error.format_message(), error.ctx) from error

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401  click's signature
        """Run the command; an error of imagekit's keeps its message and exits with 125 to 127."""
        from imagekit.base.errors import ImagekitError
        from imagekit.cli.render import report_error
        from imagekit.cli.session import Session

        try:
            return super().invoke(ctx)
        except ImagekitError as error:
            debug = isinstance(ctx.obj, Session) and ctx.obj.settings.debug
            report_error(error, debug=debug)
            ctx.exit(container_exit_code(error))
        except click.UsageError as error:
            raise OwnUsageError(error.format_message(), error.ctx) from error


def container_exit_code(error: BaseException) -> int:
    """Return docker's code for an error before a container's command could run."""
    code = getattr(error, "container_exit_code", OWN_FAILURE)
    return code if isinstance(code, int) else OWN_FAILURE
