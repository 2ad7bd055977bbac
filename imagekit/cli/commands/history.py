"""``imagekit history``."""

from datetime import datetime
from typing import TYPE_CHECKING

from imagekit.cli import declare, options, render
from imagekit.cli.complete import image_names
from imagekit.cli.listing import Row, print_rows
from imagekit.cli.session import Session
from imagekit.cli.tables import columns

if TYPE_CHECKING:
    from imagekit.images.local import HistoryRow

HEADS = columns("LAYER", "CREATED", "CREATED BY~20", "SIZE>", "COMMENT~10")
SHORT = 45


@declare.command("history", short_help="Show how an image was made.")
@declare.option("--format", "template", metavar="TEMPLATE", help="As docker's: '{{.CreatedBy}}'.")
@options.no_trunc_option
@options.quiet_option("Print the digests of layers only.")
@options.json_option
@declare.argument("image", shell_complete=image_names)
def command(
    session: Session,
    *,
    template: str | None,
    no_trunc: bool,
    quiet: bool,
    as_json: bool,
    image: str,
) -> None:
    """Show the steps that made an image, newest first, with the sizes of their layers.

    Example:
      imagekit history app:1.0
      imagekit history --no-trunc --format '{{.CreatedBy}}' app:1.0
    """
    with session.engine() as engine:
        found = engine.image_history(image)
    now = session.clock.now()
    rows = [_row(one, now, whole=no_trunc) for one in found]
    print_rows(HEADS, rows, as_json=as_json, quiet=quiet, template=template)


def _row(one: "HistoryRow", now: datetime, *, whole: bool) -> Row:
    from imagekit.images.local import parse_time

    entry = one.history
    created = parse_time(entry.created)
    digest = str(one.digest) if one.digest else "<missing>"
    identifier = digest if whole or not one.digest else render.short_id(digest)
    maker = entry.created_by or ""
    if not whole and len(maker) > SHORT:
        maker = f"{maker[: SHORT - 1]}…"
    age, size = render.age_text(created, now), render.size_text(one.size_bytes)
    return Row(
        id=identifier,
        cells=(identifier, age, maker, size, entry.comment or ""),
        fields={
            "ID": identifier,
            "CreatedSince": age,
            "CreatedAt": entry.created or "N/A",
            "CreatedBy": maker,
            "Size": size,
            "Comment": entry.comment or "",
        },
        document={
            "Layer": str(one.digest) if one.digest else None,
            "Created": entry.created,
            "CreatedBy": entry.created_by or "",
            "Size": one.size_bytes,
            "Comment": entry.comment or "",
        },
    )
