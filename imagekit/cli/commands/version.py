"""``imagekit version``."""

from imagekit import __version__
from imagekit.cli import declare
from imagekit.cli.options import json_option
from imagekit.cli.render import print_json, print_line
from imagekit.cli.session import Session
from imagekit.cli.version import python_version, version_text


@declare.command("version", short_help="Print the version.")
@json_option
def command(session: Session, *, as_json: bool) -> None:
    """Print the version of imagekit and of the Python that runs it.

    Example:
      imagekit version --json
    """
    del session
    if as_json:
        print_json({"version": __version__, "python": python_version()})
    else:
        print_line(version_text())
