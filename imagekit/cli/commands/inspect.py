"""``imagekit inspect``."""

from imagekit.base.errors import UserError
from imagekit.cli import declare, options, render
from imagekit.cli.complete import image_and_container_names
from imagekit.cli.listing import fill_template, for_each
from imagekit.cli.session import Session


@declare.command("inspect", short_help="Show everything known about images or containers.")
@declare.option(
    "--type", "kind", type=declare.Choice(["image", "container"]), help="Only this kind."
)
@declare.option(
    "-f", "--format", "template", metavar="TEMPLATE", help="As docker's: '{{.Config.User}}'."
)
@options.json_option
@declare.argument(
    "names", shell_complete=image_and_container_names, metavar="NAME...", nargs=-1, required=True
)
def command(
    session: Session,
    *,
    kind: str | None,
    template: str | None,
    as_json: bool,
    names: tuple[str, ...],
) -> int:
    """Show everything known about images or containers as JSON, in docker's shape.

    Example:
      imagekit inspect app:1.0
      imagekit inspect --format '{{json .Config.Env}}' app:1.0
      imagekit inspect --format '{{.State.ExitCode}}' worker
    """
    del as_json  # it always is, unless there is a template
    documents: list[object] = []
    with session.engine() as engine:

        def add(name: str) -> None:
            found, document = engine.inspect(name)
            if kind is not None and kind != found:
                raise UserError(f"{name!r} is not the name of {_a(kind)} but of {_a(found)}")
            documents.append(document)

        try:
            return for_each(session, names, add)
        finally:
            _print(documents, template)


def _print(documents: list[object], template: str | None) -> None:
    if template is None or template == "json":
        render.print_json(documents)
        return
    for document in documents:
        render.print_line(fill_template(template, document))


def _a(kind: str) -> str:
    return f"an {kind}" if kind == "image" else f"a {kind}"
