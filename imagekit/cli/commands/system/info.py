"""``imagekit system info``."""

from imagekit.cli import options, render
from imagekit.cli.commands.system.group import command
from imagekit.cli.session import Session
from imagekit.cli.tables import columns


@command.command("info", short_help="Show the settings and where each comes from.")
@options.json_option
def info(session: Session, *, as_json: bool) -> None:
    """Show the settings in force and where each comes from.

    Example:
      imagekit --root /srv/images system info
    """
    settings = session.settings
    values = {
        name: value
        for name, value in settings._asdict().items()
        if name not in ("origins", "proxies")  # a proxy's URL may hold a password
    }
    if as_json:
        shown = {
            name: {"value": _plain(value), "origin": settings.origins.get(name, "default")}
            for name, value in values.items()
        }
        render.print_json(shown)
        return
    rows = [
        (name, _text(value), settings.origins.get(name, "default"))
        for name, value in values.items()
    ]
    render.print_table(columns("SETTING", "VALUE~20", "ORIGIN~12"), rows)


def _plain(value: object) -> object:
    if isinstance(value, bool | int | None):
        return value
    if isinstance(value, tuple | frozenset):
        return sorted(map(str, value)) if isinstance(value, frozenset) else [str(v) for v in value]
    return str(value)


def _text(value: object) -> str:
    plain = _plain(value)
    if isinstance(plain, list):
        return ", ".join(plain)
    return "" if plain is None else str(plain)
