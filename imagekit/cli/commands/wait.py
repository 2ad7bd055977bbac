"""``imagekit wait``."""

from imagekit.cli import declare
from imagekit.cli.complete import container_names
from imagekit.cli.listing import for_each
from imagekit.cli.render import print_line
from imagekit.cli.session import Session


@declare.command("wait", short_help="Wait until containers end and print their exit codes.")
@declare.argument(
    "containers", shell_complete=container_names, metavar="CONTAINER...", nargs=-1, required=True
)
def command(session: Session, *, containers: tuple[str, ...]) -> int:
    """Wait until each container has ended and print its exit code.

    Example:
      imagekit wait worker
    """
    with session.engine() as engine:
        return for_each(
            session, containers, lambda name: print_line(str(engine.containers.wait(name)))
        )
