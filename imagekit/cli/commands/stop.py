"""``imagekit stop``."""

from imagekit.cli import declare, types
from imagekit.cli.complete import container_names
from imagekit.cli.listing import for_each
from imagekit.cli.render import print_line
from imagekit.cli.session import Session


@declare.command("stop", short_help="Stop containers, by force after a while.")
@declare.option(
    "-t", "--time", "--timeout", "timeout", type=types.DURATION, help="Time before force."
)
@declare.argument(
    "containers", shell_complete=container_names, metavar="CONTAINER...", nargs=-1, required=True
)
def command(session: Session, *, timeout: float | None, containers: tuple[str, ...]) -> int:
    """Ask containers to end with their stop signal, and kill them when the time is over.

    Example:
      imagekit stop web
      imagekit stop -t 2 web worker
    """
    with session.engine() as engine:

        def stop(name: str) -> None:
            engine.containers.stop(name, timeout_s=timeout)
            print_line(name)

        return for_each(session, containers, stop)
