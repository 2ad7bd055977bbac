"""``imagekit logout``."""

from imagekit.cli import declare, render
from imagekit.cli.session import Session


@declare.command("logout", short_help="Forget credentials of a registry.")
@declare.argument("server", default="docker.io")
def command(session: Session, *, server: str) -> None:
    """Remove the stored credentials of the registry SERVER.

    Example:
      imagekit logout registry.example
    """
    with session.engine() as engine:
        was_known = engine.logout(server)
    render.print_error_line(f"{'logged out of' if was_known else 'not logged in to'} {server}")
