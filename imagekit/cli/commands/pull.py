"""``imagekit pull``."""

from imagekit.cli import declare, options, render
from imagekit.cli.session import Session


@declare.command("pull", short_help="Copy an image from a registry.")
@declare.option("--platform", metavar="OS/ARCH", help="Which one of a multi-platform image.")
@options.insecure_option
@options.quiet_option("Print the digest only.")
@options.progress_option
@declare.argument("names", metavar="NAME...", nargs=-1, required=True)
def command(
    session: Session,
    *,
    platform: str | None,
    insecure: bool,
    quiet: bool,
    progress: str | None,
    names: tuple[str, ...],
) -> None:
    """Copy images from their registry, skipping blobs that are here, and print their digests.

    Example:
      imagekit pull debian:12
      imagekit pull --platform linux/arm64 registry.example/team/app:1.0
    """
    from imagekit.oci.platform import Platform

    wanted = Platform.parse(platform) if platform else None
    with session.transfers(progress, quiet=quiet) as shown, session.engine(shown) as engine:
        for name in names:
            image = engine.pull(name, platform=wanted, insecure=insecure)
            render.print_line(str(image.digest) if quiet else f"{image.name}: {image.digest}")
