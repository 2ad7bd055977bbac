"""Click commands made of declarations: help, completion and every message about a wrong word."""

import importlib
import inspect
import re
from collections.abc import Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from imagekit.cli import declare
from imagekit.cli.commands import CommandEntry
from imagekit.cli.outcome import OWN_FAILURE, container_exit_code
from imagekit.cli.session import Session


class KindType(click.ParamType):  # type: ignore[type-arg]  # generic since 8.4 only
    """A parameter whose text goes through the function of its kind."""

    def __init__(self, kind: declare.Kind) -> None:
        self.name = kind.name
        self._parse = kind.parse

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:  # noqa: ANN401  click's signature
        """Return the parsed value; a usage error that names the option otherwise."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class PathType(KindType):
    """Such a parameter that the shell completes with its own names of files."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return what makes the shell's script do it."""
        del ctx, param
        return [CompletionItem(incomplete, type="file")]


def click_command(declared: declare.Command) -> click.Command:
    """Return the click command of a declaration; it passes on the session of the context."""

    def callback(**values: object) -> int | None:
        return declared.function(click.get_current_context().find_object(Session), **values)

    return (ContainerCommand if declared.is_container else Command)(
        declared.name,
        callback=callback,
        params=[click_parameter(one) for one in declared.parameters],
        help=declared.help,
        short_help=declared.short_help,
        context_settings={
            "allow_interspersed_args": declared.interspersed,
            **_help_names(declared),
        },
    )


def click_group(declared: declare.Group) -> click.Group:
    """Return the click group of a declaration."""
    made = Group(declared.name, help=declared.help, short_help=declared.short_help)
    for one in declared.commands.values():
        made.add_command(click_command(one))
    return made


def click_parameter(declared: declare.Parameter) -> click.Parameter:
    """Return the click parameter of a declaration."""
    if isinstance(declared, declare.Argument):
        has_default = not declared.many and declared.default is not None
        default: dict[str, Any] = {"default": declared.default} if has_default else {}
        return click.Argument(
            [declared.name],
            type=_click_type(declared.kind),
            nargs=-1 if declared.many else 1,
            required=declared.required,
            metavar=declared.metavar,
            shell_complete=declared.complete,
            **default,
        )
    assert isinstance(declared, declare.Option)
    on, off = "/".join(declared.spellings[-1:] + declared.off), declared.spellings[:-1]
    shared: dict[str, Any] = {
        "help": declared.help,
        "hidden": declared.hidden,
        "show_default": declared.show_default,
        "shell_complete": declared.complete,
    }
    if declared.is_flag:
        shared |= {"is_flag": True, "default": declared.default}
    else:
        shared |= {
            "type": _click_type(declared.kind),
            "multiple": declared.multiple,
            "metavar": declared.metavar,
        }
        if not declared.multiple and declared.default is not None:
            shared["default"] = declared.default
    return click.Option([*off, on, declared.name], **shared)


def _click_type(kind: declare.Kind) -> click.ParamType[Any]:
    if isinstance(kind, declare.Choice):
        return click.Choice(kind.words)
    if isinstance(kind, declare.IntRange):
        return click.IntRange(kind.least, kind.most)
    if kind is declare.INTEGER:
        return click.INT
    if kind is declare.TEXT:
        return click.STRING
    if kind is declare.PATH:
        return PathType(kind)
    return KindType(kind)


def _help_names(declared: declare.Command) -> dict[str, list[str]]:
    """Leave ``-h`` to a command that has another use for it."""
    taken = any(
        "-h" in one.spellings for one in declared.parameters if isinstance(one, declare.Option)
    )
    return {"help_option_names": ["--help"]} if taken else {}


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
        found = importlib.import_module(entry.module).command
        if isinstance(found, declare.Command):
            return click_command(found)
        if isinstance(found, declare.Group):
            return click_group(found)
        assert isinstance(found, click.Command)
        return found

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

        try:
            return super().invoke(ctx)
        except ImagekitError as error:
            debug = isinstance(ctx.obj, Session) and ctx.obj.settings.debug
            report_error(error, debug=debug)
            ctx.exit(container_exit_code(error))
        except click.UsageError as error:
            raise OwnUsageError(error.format_message(), error.ctx) from error
