"""``imagekit system``: one module for each of its commands."""

from imagekit.cli.commands.system import df, info, prune
from imagekit.cli.commands.system.group import command

__all__ = ["command", "df", "info", "prune"]
