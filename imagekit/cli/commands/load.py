"""``imagekit load``."""

import sys
from pathlib import Path

from imagekit.base.errors import UserError
from imagekit.cli import declare, options
from imagekit.cli.render import print_line
from imagekit.cli.session import Session


@declare.command("load", short_help="Read images from an archive.")
@declare.option("-i", "--input", "source", type=declare.PATH, metavar="FILE", help="Not stdin.")
@options.quiet_option("Print nothing but the names.")
def command(session: Session, *, source: Path | None, quiet: bool) -> None:
    """Read images from an archive that `save`, docker or skopeo wrote, and print their names.

    Example:
      imagekit load -i app.tar
    """
    if source is None and sys.stdin.isatty():
        raise UserError(
            "cannot read an archive from a terminal", hint="Name a file with -i, or use a pipe."
        )
    with (
        session.transfers(quiet=quiet or not sys.stderr.isatty()) as shown,
        session.engine(shown) as engine,
    ):
        names = engine.load(source or sys.stdin.buffer)
    for name in names:
        print_line(name if quiet else f"Loaded image: {name}")
