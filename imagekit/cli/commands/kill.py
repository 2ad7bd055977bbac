"""``imagekit kill``."""

from imagekit.cli import declare
from imagekit.cli.complete import container_names
from imagekit.cli.listing import for_each
from imagekit.cli.render import print_line
from imagekit.cli.session import Session


@declare.command("kill", short_help="Send a signal to containers.")
@declare.option(
    "-s", "--signal", "signal_name", default="KILL", metavar="SIGNAL", show_default=True
)
@declare.argument(
    "containers", shell_complete=container_names, metavar="CONTAINER...", nargs=-1, required=True
)
def command(session: Session, *, signal_name: str, containers: tuple[str, ...]) -> int:
    """Send a signal, by name or number, to the first process of running containers.

    Example:
      imagekit kill web
      imagekit kill -s HUP web
    """
    with session.engine() as engine:

        def kill(name: str) -> None:
            engine.containers.kill(name, signal_name)
            print_line(name)

        return for_each(session, containers, kill)
