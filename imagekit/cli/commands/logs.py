"""``imagekit logs``."""

import sys
from datetime import datetime

from imagekit.cli import declare
from imagekit.cli.complete import container_names
from imagekit.cli.parsing import parse_moment
from imagekit.cli.session import Session


@declare.command("logs", short_help="Show what a container wrote.")
@declare.option("-f", "--follow", is_flag=True, help="Go on until the container ends.")
@declare.option("-n", "--tail", default="all", metavar="NUMBER", help="Only the last lines.")
@declare.option("--since", metavar="TIME", help="From 2026-01-31T12:00:00Z, or 10m ago, on.")
@declare.option("-t", "--timestamps", is_flag=True, help="Show when each line was written.")
@declare.argument("container", shell_complete=container_names)
def command(
    session: Session,
    *,
    follow: bool,
    tail: str,
    since: str | None,
    timestamps: bool,
    container: str,
) -> None:
    """Show what a container wrote: its standard output and error, each on ours.

    Example:
      imagekit logs -f --tail 20 web
      imagekit logs --since 10m --timestamps web
    """
    if tail != "all" and not (tail.isascii() and tail.isdigit()):
        raise declare.bad_parameter(f"{tail!r} is not a number or all", "--tail")
    start = _moment(since, session.clock.now()) if since else None
    with session.engine() as engine:
        records = engine.containers.logs(
            container,
            follow=follow,
            tail=None if tail == "all" else int(tail),
            since=start,
            timestamps=timestamps,
        )
        streams = {"stdout": sys.stdout.buffer, "stderr": sys.stderr.buffer}
        for record in records:
            stream = streams[record.stream]
            stream.write(record.data)
            stream.flush()


def _moment(text: str, now: datetime) -> datetime:
    try:
        return parse_moment(text, now)
    except ValueError as error:
        raise declare.bad_parameter(str(error), "--since") from error
