"""``imagekit rmi``."""

from imagekit.cli import declare
from imagekit.cli.complete import image_names
from imagekit.cli.listing import for_each
from imagekit.cli.render import print_line
from imagekit.cli.session import Session


@declare.command("rmi", short_help="Remove images.")
@declare.option("-f", "--force", is_flag=True, help="Also with several names, or when in use.")
@declare.argument("images", shell_complete=image_names, metavar="IMAGE...", nargs=-1, required=True)
def command(session: Session, *, force: bool, images: tuple[str, ...]) -> int:
    """Take away names of images; content that nothing needs goes at the next prune.

    Example:
      imagekit rmi app:1.0
      imagekit rmi -f $(imagekit images -q)
    """
    with session.engine() as engine:

        def remove(name: str) -> None:
            for line in engine.remove_image(name, force=force):
                print_line(line)

        return for_each(session, images, remove)
