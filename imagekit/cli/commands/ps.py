"""``imagekit ps``."""

from datetime import datetime
from typing import TYPE_CHECKING

from imagekit.cli import declare, options, render, types
from imagekit.cli.listing import Row, print_rows
from imagekit.cli.session import Session
from imagekit.cli.tables import columns

if TYPE_CHECKING:
    from imagekit.containers.model import ContainerSummary

HEADS = columns(
    "CONTAINER ID", "IMAGE~12", "COMMAND~10", "CREATED", "STATUS~10", "PORTS~10", "NAMES"
)
FILTERS = ("id", "name", "status", "label", "ancestor")


@declare.command("ps", short_help="List containers.")
@declare.option("-a", "--all", "everything", is_flag=True, help="Also those that do not run.")
@declare.option("-l", "--latest", is_flag=True, help="Only the newest, whatever its state.")
@declare.option("-f", "--filter", "filters", multiple=True, type=types.PAIR,
              help=f"Only those that match ({', '.join(FILTERS)}).")  # fmt: skip
@declare.option(
    "--format", "template", metavar="TEMPLATE", help="As docker's: '{{.ID}} {{.Names}}'."
)
@options.no_trunc_option
@options.quiet_option("Print ids only.")
@options.json_option
def command(
    session: Session,
    *,
    everything: bool,
    latest: bool,
    filters: tuple[tuple[str, str], ...],
    template: str | None,
    no_trunc: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """List running containers, newest first.

    Example:
      imagekit ps -a
      imagekit ps --filter name=web --format '{{.Names}} {{.Status}}'
      imagekit rm $(imagekit ps -aq)
    """
    for key, _ in filters:
        if key not in FILTERS:
            raise declare.bad_parameter(
                f"unknown filter {key!r}; known are {', '.join(FILTERS)}", "--filter"
            )
    wants_all = everything or latest or any(key == "status" for key, _ in filters)
    with session.engine() as engine:
        found = engine.containers.list(all=wants_all)
    shown = [one for one in found if all(_matches(one, *pair) for pair in filters)]
    if latest:
        shown = shown[:1]
    now = session.clock.now()
    rows = [_row(one, now, whole=no_trunc) for one in shown]
    print_rows(HEADS, rows, as_json=as_json, quiet=quiet, template=template)


def _matches(one: "ContainerSummary", key: str, value: str) -> bool:
    match key:
        case "id":
            return one.id.startswith(value)
        case "name":
            return value in one.name
        case "status":
            return one.status.value == value
        case "ancestor":
            return value in (one.image, one.image_id, render.short_id(one.image_id))
        case _:
            name, equals, content = value.partition("=")
            return name in one.labels and (not equals or one.labels[name] == content)


def _row(one: "ContainerSummary", now: datetime, *, whole: bool) -> Row:
    identifier = one.id if whole else render.short_id(one.id)
    ports = ", ".join(map(str, one.ports))
    text = f'"{one.command}"'
    if not whole and len(text) > 22:
        text = f'{text[:20]}…"'
    age = render.age_text(one.created, now)
    return Row(
        id=identifier,
        cells=(identifier, one.image, text, age, one.state, ports, one.name),
        fields={
            "ID": identifier,
            "Image": one.image,
            "ImageID": one.image_id,
            "Command": text,
            "CreatedAt": render.local_time_text(one.created),
            "RunningFor": age,
            "Status": one.state,
            "State": one.status.value,
            "Ports": ports,
            "Names": one.name,
            "Labels": ",".join(f"{key}={value}" for key, value in one.labels.items()),
        },
        document={
            "ID": one.id,
            "Image": one.image,
            "ImageID": one.image_id,
            "Command": one.command,
            "Created": render.local_time_text(one.created),
            "State": one.status.value,
            "Status": one.state,
            "ExitCode": one.exit_code,
            "Ports": [str(port) for port in one.ports],
            "Names": one.name,
            "Labels": dict(one.labels),
        },
    )
