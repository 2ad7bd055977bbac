"""``imagekit version``."""

import click

from imagekit import __version__
from imagekit.cli.lazy import Command
from imagekit.cli.options import json_option
from imagekit.cli.render import print_json, print_line
from imagekit.cli.version import python_version, version_text


@click.command("version", cls=Command, short_help="Print the version.")
@json_option
def command(*, as_json: bool) -> None:
    """Print the version of imagekit and of the Python that runs it.

    Example:
      imagekit version --json
    """
    if as_json:
        print_json({"version": __version__, "python": python_version()})
    else:
        print_line(version_text())
