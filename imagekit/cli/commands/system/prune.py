"""``imagekit system prune``."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from imagekit.cli import declare, options, render, types
from imagekit.cli.commands.system.group import command
from imagekit.cli.session import Session

if TYPE_CHECKING:
    from imagekit.store.gc import PruneReport
    from imagekit.store.plan import LabelFilter


@command.command("prune", short_help="Remove what nothing needs.")
@declare.option("-a", "--all", "everything", is_flag=True,
                help="Also the images that no container uses, and the build cache.")  # fmt: skip
@declare.option(
    "--filter",
    "filters",
    multiple=True,
    type=types.PAIR,
    metavar="KEY=VALUE",
    help="until=24h (or a time), label=KEY[=VALUE], label!=KEY[=VALUE].",
)
@declare.option(
    "--keep-bytes",
    "--keep-storage",
    "--keep-cache",
    "keep_bytes",
    type=types.SIZE,
    help="Keep this much of the build cache, the most recently used.",
)
@declare.option("-n", "--dry-run", is_flag=True, help="Only say what would go.")
@declare.option("-f", "--force", is_flag=True, help="Do not ask.")
@options.json_option
def prune(
    session: Session,
    *,
    everything: bool,
    filters: tuple[tuple[str, str], ...],
    keep_bytes: int | None,
    dry_run: bool,
    force: bool,
    as_json: bool,
) -> int:
    """Remove blobs and layers that no image, container or cache record needs.

    --all also removes the images that no container was made from, and the build cache with its
    cache mounts: all of it, or what --keep-bytes does not keep. until= spares what was named, used
    or written since; without --all it removes older cache too. label= chooses the images of --all.
    Containers stay, and so does everything that a running command needs.

    Example:
      imagekit system prune --dry-run
      imagekit system prune --keep-bytes 10g
      imagekit system prune -af --filter until=24h
    """
    until, labels = _parsed(filters, session.clock.now())
    if labels and not everything:
        raise declare.usage_error("--filter label chooses images: use it with --all")
    if not force and not dry_run:
        import click

        text = _question(everything, keep_bytes, until)
        if not click.confirm(text, err=True):
            render.print_error_line("nothing removed")
            return 1
    with session.engine() as engine:
        report = engine.prune(
            everything=everything,
            images=everything,
            keep_cache_bytes=keep_bytes,
            unused_since=until,
            labels=labels,
            dry_run=dry_run,
        )
    _print(report, dry_run=dry_run, as_json=as_json)
    return 0


def _parsed(
    filters: Sequence[tuple[str, str]], now: datetime
) -> "tuple[datetime | None, tuple[LabelFilter, ...]]":
    from imagekit.cli.parsing import parse_moment
    from imagekit.store.plan import LabelFilter

    until = None
    labels = []
    for key, value in filters:
        if key == "until" and until is None:
            try:
                until = parse_moment(value, now)
            except ValueError as error:
                raise declare.bad_parameter(str(error), "--filter") from error
        elif key == "until":
            raise declare.bad_parameter("until is given twice", "--filter")
        elif key in ("label", "label!") and value.partition("=")[0]:
            name, equals, content = value.partition("=")
            labels.append(
                LabelFilter(key=name, value=content if equals else None, negated=key == "label!")
            )
        else:
            raise declare.bad_parameter(
                f"unknown filter {f'{key}={value}'!r}; known are until=TIME, label=KEY[=VALUE] and"
                " label!=KEY[=VALUE]",
                "--filter",
            )
    return until, tuple(labels)


def _question(everything: bool, keep_bytes: int | None, until: datetime | None) -> str:  # noqa: FBT001
    what = "unused content"
    if everything:
        what += ", every image that no container uses, and the build cache"
    elif keep_bytes is not None or until is not None:
        what += " and old build cache"
    if everything and keep_bytes is not None:
        what += f" beyond {render.size_text(keep_bytes)}"
    since = "" if until is None else f" from before {render.local_time_text(until)}"
    return f"Remove {what}{since}?"


def _print(report: "PruneReport", *, dry_run: bool, as_json: bool) -> None:
    counts = {
        "images": len(report.images),
        "blobs": len(report.blobs),
        "layers": len(report.snapshots),
        "cache records": len(report.cache_records),
        "cache mounts": report.cache_mounts,
    }
    if as_json:
        keys = {name.replace(" ", "_"): count for name, count in counts.items()}
        names = {"names": list(report.images)}
        render.print_json({**keys, **names, "freed_bytes": report.freed_bytes, "dry_run": dry_run})
        return
    if report.images:
        from imagekit.oci.reference import Reference

        for name in report.images:
            render.print_line(f"untagged: {Reference.parse(name).familiar()}")
    verb = "would remove" if dry_run else "removed"
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    render.print_line(f"{verb} {told or 'nothing'}: {render.size_text(report.freed_bytes)}")
