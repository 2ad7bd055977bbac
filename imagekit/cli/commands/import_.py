"""``imagekit import``."""

import sys
from pathlib import Path

import click

from imagekit.cli.lazy import Command
from imagekit.cli.render import print_line
from imagekit.cli.session import Session


@click.command("import", cls=Command, short_help="Make an image from a root file system.")
@click.option(
    "-c", "--change", "changes", multiple=True, metavar="INSTRUCTION", help="Apply CMD, ENV, ..."
)
@click.option("-m", "--message", default="", metavar="TEXT", help="What for; goes to the history.")
@click.argument("source", metavar="FILE|DIRECTORY|-")
@click.argument("name", metavar="[NAME[:TAG]]", required=False)
@click.pass_obj
def command(
    session: Session, *, changes: tuple[str, ...], message: str, source: str, name: str | None
) -> None:
    """Make an image of one layer from a directory or a (packed) tar archive, and print its id.

    Example:
      imagekit import debian.tar.zst debian:12
      mmdebstrap bookworm - | imagekit import -c 'CMD ["bash"]' - debian:12
    """
    with session.engine() as engine:
        image = engine.import_image(
            sys.stdin.buffer if source == "-" else Path(source),
            name,
            changes=changes,
            message=message,
        )
    print_line(str(image.id))
