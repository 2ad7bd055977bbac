"""``imagekit system``."""

from imagekit.cli import declare, options, render, types
from imagekit.cli.session import Session
from imagekit.cli.tables import columns

HEADS = columns("TYPE", "TOTAL>", "ACTIVE>", "SIZE>", "RECLAIMABLE>")


@declare.group("system", short_help="Show and free disk space.")
def command() -> None:
    """Show and free disk space, and show the settings.

    Example:
      imagekit system df
      imagekit system prune
    """


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


@command.command("prune", short_help="Remove what nothing needs.")
@declare.option("-a", "--all", "everything", is_flag=True, help="Also the whole build cache.")
@declare.option("--keep-cache", type=types.SIZE, help="Keep this much of the build cache.")
@declare.option("-n", "--dry-run", is_flag=True, help="Only say what would go.")
@declare.option("-f", "--force", is_flag=True, help="Do not ask.")
@options.json_option
def prune(
    session: Session,
    *,
    everything: bool,
    keep_cache: int | None,
    dry_run: bool,
    force: bool,
    as_json: bool,
) -> int:
    """Remove blobs, layers and cache records that no image and no container needs.

    Example:
      imagekit system prune --dry-run
      imagekit system prune -af
    """
    if not force and not dry_run:
        what = "and the whole build cache" if everything else "and old cache records"
        import click

        if not click.confirm(f"Remove unused content {what}?", err=True):
            render.print_error_line("nothing removed")
            return 1
    with session.engine() as engine:
        report = engine.prune(everything=everything, keep_cache_bytes=keep_cache, dry_run=dry_run)
    counts = {
        "blobs": len(report.blobs),
        "layers": len(report.snapshots),
        "cache records": len(report.cache_records),
        "cache mounts": report.cache_mounts,
    }
    if as_json:
        keys = {name.replace(" ", "_"): count for name, count in counts.items()}
        render.print_json({**keys, "freed_bytes": report.freed_bytes, "dry_run": dry_run})
        return 0
    verb = "would remove" if dry_run else "removed"
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    render.print_line(f"{verb} {told or 'nothing'}: {render.size_text(report.freed_bytes)}")
    return 0


@command.command("info", short_help="Show the settings and where each comes from.")
@options.json_option
def info(session: Session, *, as_json: bool) -> None:
    """Show the settings in force and where each comes from.

    Example:
      imagekit --root /srv/images system info
    """
    settings = session.settings
    values = {
        name: value
        for name, value in settings._asdict().items()
        if name not in ("origins", "proxies")  # a proxy's URL may hold a password
    }
    if as_json:
        shown = {
            name: {"value": _plain(value), "origin": settings.origins.get(name, "default")}
            for name, value in values.items()
        }
        render.print_json(shown)
        return
    rows = [
        (name, _text(value), settings.origins.get(name, "default"))
        for name, value in values.items()
    ]
    render.print_table(columns("SETTING", "VALUE~20", "ORIGIN~12"), rows)


def _share(part: int, whole: int) -> str:
    percent = f" ({100 * part // whole}%)" if whole else ""
    return f"{render.size_text(part)}{percent}"


def _plain(value: object) -> object:
    if isinstance(value, bool | int | None):
        return value
    if isinstance(value, tuple | frozenset):
        return sorted(map(str, value)) if isinstance(value, frozenset) else [str(v) for v in value]
    return str(value)


def _text(value: object) -> str:
    plain = _plain(value)
    if isinstance(plain, list):
        return ", ".join(plain)
    return "" if plain is None else str(plain)
