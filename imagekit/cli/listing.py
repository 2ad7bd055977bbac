"""Lists of things: a table, JSON, ids only, or a template; and the same action on several names."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from imagekit.base.errors import ImagekitError
from imagekit.base.record import Record
from imagekit.cli import render
from imagekit.cli.declare import bad_parameter
from imagekit.cli.session import Session
from imagekit.cli.tables import Column


class Row(Record):
    """One thing: its table cells, the fields a template sees (texts), and its JSON form."""

    cells: tuple[str, ...]
    fields: Mapping[str, str]
    document: Mapping[str, object]
    id: str


def print_rows(
    heads: Sequence[Column],
    rows: Sequence[Row],
    *,
    as_json: bool = False,
    quiet: bool = False,
    template: str | None = None,
) -> None:
    """Write the rows in the form that the flags ask for; ``--format json`` is a line per row."""
    if quiet:
        for row in rows:
            render.print_line(row.id)
    elif as_json:
        render.print_json([dict(row.document) for row in rows])
    elif template == "json":
        import json

        for row in rows:
            render.print_line(json.dumps(dict(row.document), ensure_ascii=False))
    elif template is not None and template != "table":
        _print_template(rows, template)
    else:
        render.print_table(heads, [row.cells for row in rows])


def _print_template(rows: Sequence[Row], template: str) -> None:
    is_table = template.startswith("table ")
    body = template.removeprefix("table ").lstrip()
    lines = [fill_template(body, row.fields) for row in rows]
    if not is_table:
        for line in lines:
            render.print_line(line)
        return
    import re

    titles = re.sub(r"\{\{\s*\.(\w+)\s*\}\}", lambda match: match[1].upper(), body)
    texts = [titles.replace("\\t", "\t"), *lines]
    width = max(text.count("\t") for text in texts) + 1
    cells = [[*text.split("\t"), *[""] * width][:width] for text in texts]
    render.print_table([Column(title=title) for title in cells[0]], cells[1:])


def fill_template(template: str, document: object) -> str:
    """Return a filled ``--format``.

    Raises:
        click.BadParameter: if the template cannot be used.

    """
    from imagekit.cli.template import render_template

    try:
        return render_template(template, document)
    except ValueError as error:
        raise bad_parameter(str(error), "--format") from error


def for_each(session: Session, names: Iterable[str], action: Callable[[str], None]) -> int:
    """Do something with every name; report what fails, go on, and return the last code.

    As docker does it: ``stop a b`` stops b also when there is no a.
    """
    code = 0
    for name in names:
        try:
            action(name)
        except ImagekitError as error:
            render.report_error(error, debug=session.settings.debug)
            code = error.exit_code
    return code
