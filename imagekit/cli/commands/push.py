"""``imagekit push``."""

from imagekit.cli import declare, options, render
from imagekit.cli.complete import image_names
from imagekit.cli.session import Session


@declare.command("push", short_help="Copy an image to a registry.")
@declare.option("--json", "as_json", is_flag=True, help="Print what was moved as JSON.")
@declare.option("--concurrency", type=declare.IntRange(1, 64), help="Blobs moved at the same time.")
@options.insecure_option
@options.quiet_option("Print the digest only.")
@options.progress_option
@declare.argument("name", shell_complete=image_names)
@declare.argument("destination", metavar="[DESTINATION]", required=False)
def command(
    session: Session,
    *,
    as_json: bool,
    concurrency: int | None,
    insecure: bool,
    quiet: bool,
    progress: str | None,
    name: str,
    destination: str | None,
) -> None:
    """Copy the image NAME to its registry, or to DESTINATION, and print its digest.

    Blobs that the registry has are skipped.

    Example:
      imagekit push registry.example/team/app:1.0
      imagekit push app:1.0 localhost:5000/app:1.0
    """
    with session.transfers(progress, quiet=quiet) as shown, session.engine(shown) as engine:
        report = engine.push(
            name,
            destination,
            insecure=insecure,
            concurrency=concurrency or session.settings.concurrency,
        )
    digest = str(report.root.digest)
    if as_json:
        render.print_json(
            {
                "digest": digest,
                "moved_bytes": report.moved_bytes,
                "skipped_bytes": report.skipped_bytes,
                "blobs": [
                    {
                        "digest": str(one.descriptor.digest),
                        "size": one.descriptor.size,
                        "skipped": one.skipped,
                    }
                    for one in report.blobs
                ],
            }
        )
    else:
        render.print_line(digest if quiet else f"{destination or name}: {digest}")
