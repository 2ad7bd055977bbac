"""``imagekit import``."""

import sys
from pathlib import Path

from imagekit.cli import declare
from imagekit.cli.render import print_line
from imagekit.cli.session import Session


@declare.command("import", short_help="Make an image from a root file system.")
@declare.option(
    "-c", "--change", "changes", multiple=True, metavar="INSTRUCTION", help="Apply CMD, ENV, ..."
)
@declare.option(
    "-m", "--message", default="", metavar="TEXT", help="What for; goes to the history."
)
@declare.argument("source", metavar="FILE|DIRECTORY|-")
@declare.argument("name", metavar="[NAME[:TAG]]", required=False)
def command(
    session: Session, *, changes: tuple[str, ...], message: str, source: str, name: str | None
) -> None:
    """Make an image of one layer from a directory or a (packed) tar archive, and print its id.

    Example:
      imagekit import debian.tar.zst debian:12
      mmdebstrap bookworm - | imagekit import -c 'CMD ["bash"]' - debian:12
    """
    with session.engine() as engine:
        image = engine.import_image(
            sys.stdin.buffer if source == "-" else Path(source),
            name,
            changes=changes,
            message=message,
        )
    print_line(str(image.id))
