"""``imagekit save``."""

import sys
from pathlib import Path

from imagekit.base.errors import UserError
from imagekit.cli import declare
from imagekit.cli.complete import image_names
from imagekit.cli.session import Session


@declare.command("save", short_help="Write images to an archive.")
@declare.option("-o", "--output", type=declare.PATH, metavar="FILE", help="Instead of stdout.")
@declare.option(
    "--format",
    "kind",
    type=declare.Choice(["oci-archive", "docker-archive"]),
    default="oci-archive",
    help="Layout of the archive.",
)
@declare.argument("images", shell_complete=image_names, metavar="IMAGE...", nargs=-1, required=True)
def command(session: Session, *, output: Path | None, kind: str, images: tuple[str, ...]) -> None:
    """Write images to an archive that `load`, docker and skopeo read.

    Example:
      imagekit save -o app.tar app:1.0
      imagekit save --format docker-archive app:1.0 | ssh host docker load
    """
    if output is None and sys.stdout.isatty():
        raise UserError(
            "cannot write an archive to a terminal", hint="Name a file with -o, or use a pipe."
        )
    with session.transfers(quiet=not sys.stderr.isatty()) as shown, session.engine(shown) as engine:
        engine.save(images, output or sys.stdout.buffer, format=kind)
