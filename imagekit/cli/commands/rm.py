"""``imagekit rm``."""

from imagekit.cli import declare
from imagekit.cli.complete import container_names
from imagekit.cli.listing import for_each
from imagekit.cli.render import print_line
from imagekit.cli.session import Session


@declare.command("rm", short_help="Remove containers.")
@declare.option("-f", "--force", is_flag=True, help="Also one that runs: it is killed.")
@declare.option("-v", "--volumes", is_flag=True, help="Also its volumes that have no name.")
@declare.argument(
    "containers", shell_complete=container_names, metavar="CONTAINER...", nargs=-1, required=True
)
def command(session: Session, *, force: bool, volumes: bool, containers: tuple[str, ...]) -> int:
    """Remove containers with everything they wrote.

    Example:
      imagekit rm web
      imagekit rm -f $(imagekit ps -aq)
    """
    with session.engine() as engine:

        def remove(name: str) -> None:
            engine.containers.remove(name, force=force, volumes=volumes)
            print_line(name)

        return for_each(session, containers, remove)
