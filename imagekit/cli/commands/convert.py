"""``imagekit convert``."""

from imagekit.cli import declare, options, render
from imagekit.cli.complete import image_names
from imagekit.cli.session import Session

FORMATS = ("oci", "docker")


@declare.command("convert", short_help="Give an image's layers another compression.")
@declare.option(
    "--compression",
    type=options.COMPRESSIONS,
    default="gzip",
    show_default=True,
    help="Of layers.",
)
@declare.option(
    "--level", type=declare.INTEGER, metavar="N", help="How hard: gzip 0 to 3, zstd 1 to 22."
)
@declare.option(
    "--format",
    "document_format",
    type=declare.Choice(FORMATS),
    help="Media types of the manifest (as it has them; docker's have no zstd).",
)
@declare.option("--force", is_flag=True, help="Pack layers again that have the compression.")
@options.json_option
@options.quiet_option("Print the digest only.")
@options.progress_option
@declare.argument("image", shell_complete=image_names)
@declare.argument("target", metavar="[TARGET]", required=False)
def command(
    session: Session,
    *,
    compression: str,
    level: int | None,
    document_format: str | None,
    force: bool,
    as_json: bool,
    quiet: bool,
    progress: str | None,
    image: str,
    target: str | None,
) -> None:
    """Pack the layers of IMAGE another way, name the result TARGET, and print its digest.

    Without TARGET the name of IMAGE moves to the result. The content, the config and so the image
    id stay the same. Layers that have the compression already are not packed again.

    Example:
      imagekit convert app:1.0 app:1.0-zstd --compression zstd --level 9
      imagekit convert --format docker app:1.0
    """
    from imagekit.images.convert import DocumentFormat
    from imagekit.oci.mediatype import Compression

    with session.transfers(progress, quiet=quiet) as shown, session.engine(shown) as engine:
        conversion = engine.convert(
            image,
            target,
            compression=Compression(compression),
            level=level,
            document_format=DocumentFormat(document_format) if document_format else None,
            force=force,
        )
    descriptor = conversion.descriptor
    if as_json:
        render.print_json(
            {
                "name": target or image,
                "digest": str(descriptor.digest),
                "media_type": descriptor.media_type,
                "layers": [
                    {
                        "diff_id": str(layer.diff_id),
                        "from": str(layer.source.digest),
                        "from_size": layer.source.size,
                        "digest": str(layer.digest),
                        "size": layer.size,
                        "reused": layer.reused,
                    }
                    for layer in conversion.layers
                ],
            }
        )
    else:
        digest = str(descriptor.digest)
        render.print_line(digest if quiet else f"{target or image}: {digest}")
