"""``imagekit tag``."""

from imagekit.cli import declare
from imagekit.cli.complete import image_names
from imagekit.cli.session import Session


@declare.command("tag", short_help="Give an image another name.")
@declare.argument("source", shell_complete=image_names)
@declare.argument("target")
def command(session: Session, *, source: str, target: str) -> None:
    """Give the image SOURCE (a name or an id) the further name TARGET.

    Example:
      imagekit tag app:1.0 registry.example/team/app:1.0
    """
    with session.engine() as engine:
        engine.tag(source, target)
