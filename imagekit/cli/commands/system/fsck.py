"""``imagekit system fsck``."""

from typing import TYPE_CHECKING

from imagekit.cli import declare, options, render
from imagekit.cli.commands.system.group import command
from imagekit.cli.session import Session
from imagekit.cli.tables import clean

if TYPE_CHECKING:
    from imagekit.images.fsck import FsckReport, RepairReport
    from imagekit.store.verify import Issue

DAMAGED = 5
"""As of every error about corrupt content."""


@command.command("fsck", short_help="Find damage in what is stored, and remove it.")
@declare.option("--repair", is_flag=True, help="Remove what is damaged.")
@options.json_option
@options.progress_option
def fsck(session: Session, *, repair: bool, as_json: bool, progress: str | None) -> int:
    """Check every blob, layer, snapshot, reference and the database against their digests.

    Other commands may run meanwhile. With --repair damaged content is removed with everything that
    stands on it, and made again from what is whole, or left to a pull or a build. A container keeps
    its own files, and is removed only if these are gone. The exit code is 0 if all is whole (now),
    and 5 if there is damage.

    Example:
      imagekit system fsck
      imagekit system fsck --repair
    """
    with session.checks(progress) as shown, session.engine(shown) as engine:
        report = engine.fsck(repair=repair)
    if as_json:
        import msgspec

        render.print_json({"whole": report.is_whole, **msgspec.to_builtins(report)})
    else:
        _print_report(report)
    return 0 if report.is_whole else DAMAGED


def _print_report(report: "FsckReport") -> None:
    for issue in report.issues:
        render.print_line(_issue_text(issue))
    if report.repair is not None:
        _print_repair(report.repair)
    for note in report.notes:
        render.print_line(f"note: {clean(note)}")
    if report.unverifiable:
        snapshots = _counted(len(report.unverifiable), "snapshot")
        render.print_line(
            f"note: the files of {snapshots} are not verifiable: the layers came from another"
            " tool and are not here as blobs"
        )
    found = _counted(len(report.issues), "problem") if report.issues else "everything is whole"
    blobs, snapshots = _counted(report.blobs, "blob"), _counted(report.snapshots, "snapshot")
    render.print_line(f"checked {blobs} and {snapshots}: {found}")
    if report.issues and report.repair is None:
        render.print_error_line(
            "hint: Remove what is damaged with `imagekit system fsck --repair`."
        )


def _print_repair(repair: "RepairReport") -> None:
    counts = {
        "blob": len(repair.blobs),
        "snapshot": len(repair.snapshots),
        "row": repair.rows,
        "container": len(repair.containers),
    }
    told = ", ".join(_counted(count, what) for what, count in counts.items() if count)
    render.print_line(f"removed {told or 'nothing'}")
    if repair.restored:
        render.print_line(f"restored {_counted(len(repair.restored), 'blob')} from its files")
    for name in repair.lost:
        render.print_line(f"removed image {clean(name)}; pull or build it again")
    for issue in repair.left:
        render.print_line(f"left, as it is in use or beyond repair: {_issue_text(issue)}")


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _issue_text(issue: "Issue") -> str:
    images = f" [{', '.join(issue.images)}]" if issue.images else ""
    return clean(f"{issue.code} {issue.subject}: {issue.message}{images}")
