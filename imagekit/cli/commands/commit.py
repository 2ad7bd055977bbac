"""``imagekit commit``."""

from imagekit.cli import declare
from imagekit.cli.complete import container_names
from imagekit.cli.render import print_line
from imagekit.cli.session import Session


@declare.command("commit", short_help="Make an image from a container's changes.")
@declare.option("-a", "--author", default="", metavar="NAME", help="Who made it.")
@declare.option(
    "-m", "--message", default="", metavar="TEXT", help="What for; goes to the history."
)
@declare.option(
    "-c", "--change", "changes", multiple=True, metavar="INSTRUCTION", help="Apply CMD, ENV, ..."
)
@declare.option("--pause/--no-pause", default=True, help="Hold the container still meanwhile.")
@declare.argument("container", shell_complete=container_names)
@declare.argument("name", metavar="[NAME[:TAG]]", required=False)
def command(
    session: Session,
    *,
    author: str,
    message: str,
    changes: tuple[str, ...],
    pause: bool,
    container: str,
    name: str | None,
) -> None:
    """Make an image from what a container changed, and print its id.

    Example:
      imagekit commit web app:patched
      imagekit commit -c 'CMD ["/bin/app"]' -m 'by hand' web app:patched
    """
    with session.engine() as engine:
        image = engine.containers.commit(
            container, name, changes=changes, author=author, message=message, pause=pause
        )
        print_line(str(image.id))
