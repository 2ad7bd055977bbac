"""``imagekit wait``."""

import click

from imagekit.cli.complete import container_names
from imagekit.cli.lazy import Command
from imagekit.cli.listing import for_each
from imagekit.cli.render import print_line
from imagekit.cli.session import Session


@click.command(
    "wait", cls=Command, short_help="Wait until containers end and print their exit codes."
)
@click.argument(
    "containers", shell_complete=container_names, metavar="CONTAINER...", nargs=-1, required=True
)
@click.pass_obj
def command(session: Session, *, containers: tuple[str, ...]) -> None:
    """Wait until each container has ended and print its exit code.

    Example:
      imagekit wait worker
    """
    with session.engine() as engine:
        for_each(session, containers, lambda name: print_line(str(engine.containers.wait(name))))
