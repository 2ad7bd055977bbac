"""``imagekit system df``."""

from imagekit.cli import options, render
from imagekit.cli.commands.system.group import command
from imagekit.cli.session import Session
from imagekit.cli.tables import columns

HEADS = columns("TYPE", "TOTAL>", "ACTIVE>", "SIZE>", "RECLAIMABLE>")


@command.command("df", short_help="Show what takes disk space.")
@options.json_option
def df(session: Session, *, as_json: bool) -> None:
    """Show what takes disk space and what a prune would free.

    Example:
      imagekit system df
    """
    with session.engine() as engine:
        rows = engine.disk_usage()
    if as_json:
        import msgspec

        render.print_json([msgspec.structs.asdict(row) for row in rows])
        return
    render.print_table(
        HEADS,
        [
            (
                row.kind,
                str(row.count),
                str(row.active),
                render.size_text(row.size_bytes),
                _share(row.reclaimable_bytes, row.size_bytes),
            )
            for row in rows
        ],
    )


def _share(part: int, whole: int) -> str:
    percent = f" ({100 * part // whole}%)" if whole else ""
    return f"{render.size_text(part)}{percent}"
