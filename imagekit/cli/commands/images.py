"""``imagekit images``."""

import fnmatch
from datetime import datetime
from typing import TYPE_CHECKING

from imagekit.cli import declare, options, render
from imagekit.cli.listing import Row, print_rows
from imagekit.cli.session import Session
from imagekit.cli.tables import columns

if TYPE_CHECKING:
    from imagekit.images.local import ImageSummary

HEADS = columns("REPOSITORY~16", "TAG~10", "IMAGE ID", "CREATED", "SIZE>")
DIGEST_HEADS = columns("REPOSITORY~16", "TAG~10", "DIGEST~19", "IMAGE ID", "CREATED", "SIZE>")
NONE = "<none>"


@declare.command("images", short_help="List images.")
@declare.option("-a", "--all", "everything", is_flag=True, help="Accepted: nothing is hidden.")
@declare.option("--digests", is_flag=True, help="Show the digests of manifests.")
@declare.option("--format", "template", metavar="TEMPLATE", help="As docker's: '{{.Repository}}'.")
@options.no_trunc_option
@options.quiet_option("Print ids only.")
@options.json_option
@declare.argument("pattern", metavar="[REPOSITORY[:TAG]]", required=False)
def command(
    session: Session,
    *,
    everything: bool,
    digests: bool,
    template: str | None,
    no_trunc: bool,
    quiet: bool,
    as_json: bool,
    pattern: str | None,
) -> None:
    """List the images that have a name, newest first.

    Example:
      imagekit images
      imagekit images 'registry.example/team/*'
      imagekit images --format '{{.ID}} {{.Size}}' app
    """
    del everything
    with session.engine() as engine:
        found = engine.images()
    now = session.clock.now()
    rows = [
        _row(image, now, whole=no_trunc, with_digest=digests)
        for image in found
        if pattern is None or _matches(image, pattern)
    ]
    if quiet:
        rows = list({row.id: row for row in rows}.values())
    print_rows(
        DIGEST_HEADS if digests else HEADS,
        rows,
        as_json=as_json,
        quiet=quiet,
        template=template,
    )


def _name(image: "ImageSummary") -> tuple[str, str]:
    """Return repository in the short form, and tag."""
    if image.name is None:
        return NONE, NONE
    from imagekit.oci.reference import Reference

    reference = Reference.parse(image.name)
    tag = reference.tag or NONE
    familiar = reference.familiar().partition("@")[0]
    return familiar.removesuffix(f":{tag}"), tag


def _matches(image: "ImageSummary", pattern: str) -> bool:
    """Tell whether a repository, a repository:tag, or a glob over either fits."""
    repository, tag = _name(image)
    short = {repository, f"{repository}:{tag}"}
    return bool(short & {pattern}) or any(fnmatch.fnmatchcase(text, pattern) for text in short)


def _row(image: "ImageSummary", now: datetime, *, whole: bool, with_digest: bool) -> Row:
    repository, tag = _name(image)
    identifier = str(image.id) if whole else render.short_id(image.id)
    age = render.age_text(image.created, now)
    size = render.size_text(image.size_bytes)
    digest = (str(image.digest),) if with_digest else ()
    created = render.local_time_text(image.created) if image.created else None
    return Row(
        id=identifier,
        cells=(repository, tag, *digest, identifier, age, size),
        fields={
            "ID": identifier,
            "Repository": repository,
            "Tag": tag,
            "Digest": str(image.digest),
            "CreatedSince": age,
            "CreatedAt": created or "N/A",
            "Size": size,
            "Platform": str(image.platform),
        },
        document={
            "ID": str(image.id),
            "Repository": repository,
            "Tag": tag,
            "Digest": str(image.digest),
            "Created": created,
            "Size": image.size_bytes,
            "Platform": str(image.platform),
        },
    )
