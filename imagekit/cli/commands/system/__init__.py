"""``imagekit system``: one module for each of its commands."""

from imagekit.cli.commands.system import df, fsck, info, prune
from imagekit.cli.commands.system.group import command

__all__ = ["command", "df", "fsck", "info", "prune"]
