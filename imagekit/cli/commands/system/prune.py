"""``imagekit system prune``."""

from imagekit.cli import declare, options, render, types
from imagekit.cli.commands.system.group import command
from imagekit.cli.session import Session


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
