"""``imagekit logout``."""

import click

from imagekit.cli import render
from imagekit.cli.lazy import Command
from imagekit.cli.session import Session


@click.command("logout", cls=Command, short_help="Forget credentials of a registry.")
@click.argument("server", default="docker.io")
@click.pass_obj
def command(session: Session, *, server: str) -> None:
    """Remove the stored credentials of the registry SERVER.

    Example:
      imagekit logout registry.example
    """
    with session.engine() as engine:
        was_known = engine.logout(server)
    render.print_error_line(f"{'logged out of' if was_known else 'not logged in to'} {server}")
