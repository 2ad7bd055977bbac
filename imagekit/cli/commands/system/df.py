"""``imagekit system df``."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from imagekit.cli import declare, options, render
from imagekit.cli.commands.system.group import command
from imagekit.cli.session import Session
from imagekit.cli.tables import Column, columns

if TYPE_CHECKING:
    from imagekit.store.usage import Usage

HEADS = columns("TYPE", "TOTAL>", "ACTIVE>", "SIZE>", "RECLAIMABLE>")
IMAGES = columns(
    "IMAGE~20", "IMAGE ID", "NAMED", "SIZE>", "SHARED SIZE>", "UNIQUE SIZE>", "CONTAINERS>"
)
CONTAINERS = columns("CONTAINER ID", "IMAGE~20", "CREATED", "SIZE>", "NAMES")
RECORDS = columns("CACHE ID", "STEP~20", "LAST USED", "HITS>", "SIZE>", "SHARED")
MOUNTS = columns("CACHE MOUNT~20", "LAST USED", "SIZE>")


@command.command("df", short_help="Show what takes disk space.")
@declare.option("-v", "--verbose", is_flag=True, help="Also each image, container and cache entry.")
@options.json_option
def df(session: Session, *, verbose: bool, as_json: bool) -> None:
    """Show what takes disk space and what 'prune --all' would free.

    Sizes are what the files take on the disk, as du counts it, and add up to the whole store.
    "in progress" is what running commands are writing, "metadata" the database and the directories.

    Example:
      imagekit system df
      imagekit system df -v
    """
    with session.engine() as engine:
        usage = engine.disk_usage()
    if as_json:
        render.print_json(_document(usage) if verbose else _document(usage)["summary"])
        return
    size = sum(row.size_bytes for row in usage.rows)
    reclaimable = sum(row.reclaimable_bytes for row in usage.rows)
    rows = [
        (
            row.kind,
            str(row.count),
            str(row.active),
            render.size_text(row.size_bytes),
            _share(row.reclaimable_bytes, row.size_bytes),
        )
        for row in usage.rows
    ]
    render.print_table(
        HEADS, [*rows, ("all", "", "", render.size_text(size), _share(reclaimable, size))]
    )
    if verbose:
        _print_details(usage, session.clock.now())


def _print_details(usage: "Usage", now: datetime) -> None:
    def ago(moment: datetime) -> str:
        return render.age_text(moment, now)

    _print_part(
        IMAGES,
        [
            (
                _familiar(row.name),
                "" if row.id is None else render.short_id(row.id),
                ago(row.named),
                render.size_text(row.size_bytes),
                render.size_text(row.shared_bytes),
                render.size_text(row.unique_bytes),
                str(row.containers),
            )
            for row in usage.images
        ],
    )
    _print_part(
        CONTAINERS,
        [
            (
                render.short_id(row.id),
                row.image.partition("@")[0],
                ago(row.created),
                render.size_text(row.size_bytes),
                row.name,
            )
            for row in usage.containers
        ],
    )
    _print_part(
        RECORDS,
        [
            (
                render.short_id(row.key),
                _step(row.inputs),
                ago(row.used),
                str(row.hits),
                render.size_text(row.size_bytes),
                "true" if row.shared else "false",
            )
            for row in usage.cache_records
        ],
    )
    _print_part(
        MOUNTS,
        [
            (row.id or row.key, ago(row.used), render.size_text(row.size_bytes))
            for row in usage.cache_mounts
        ],
    )


def _print_part(heads: tuple[Column, ...], rows: list[tuple[str, ...]]) -> None:
    render.print_line()
    render.print_table(heads, rows)


def _document(usage: "Usage") -> dict[str, object]:
    """Return everything as JSON; times are RFC 3339 in UTC, sizes in bytes."""
    from msgspec.structs import asdict

    document: dict[str, object] = {"total_bytes": usage.total_bytes}
    for field in usage.__struct_fields__:
        rows = [
            {key: _plain(value) for key, value in asdict(row).items()}
            for row in getattr(usage, field)
        ]
        document["summary" if field == "rows" else field] = rows
    return document


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    return value if isinstance(value, str | int | Mapping | None) else str(value)


def _familiar(name: str) -> str:
    from imagekit.oci.reference import Reference

    return Reference.parse(name).familiar()


def _step(inputs: Mapping[str, object]) -> str:
    """Return a step as its author would name it, from what its cache key is made of."""
    command = str(inputs.get("command", ""))
    if not command:
        return f"WORKDIR {inputs.get('workdir', '')}".rstrip()
    if not command.startswith("["):
        sources = " ".join(json.loads(str(inputs.get("sources", "[]"))))
        return f"{command} {sources} {inputs.get('destination', '')}".replace("  ", " ").rstrip()
    words = json.loads(command)
    return f"RUN {words[-1] if words[1:2] == ['-c'] else ' '.join(words)}"


def _share(part: int, whole: int) -> str:
    percent = f" ({100 * part // whole}%)" if whole else ""
    return f"{render.size_text(part)}{percent}"
