"""``imagekit tag``."""

import click

from imagekit.cli.complete import image_names
from imagekit.cli.lazy import Command
from imagekit.cli.session import Session


@click.command("tag", cls=Command, short_help="Give an image another name.")
@click.argument("source", shell_complete=image_names)
@click.argument("target")
@click.pass_obj
def command(session: Session, *, source: str, target: str) -> None:
    """Give the image SOURCE (a name or an id) the further name TARGET.

    Example:
      imagekit tag app:1.0 registry.example/team/app:1.0
    """
    with session.engine() as engine:
        engine.tag(source, target)
