"""What stands before the command's name: the options of ``imagekit`` itself, and its session."""

from pathlib import Path

from imagekit.cli.declare import PATH, Choice, option, parameters_of
from imagekit.cli.options import MODES
from imagekit.cli.session import Launch, Session
from imagekit.config import Color, ProgressMode, load_settings


@option("--root", type=PATH, metavar="DIR", help="Keep everything in DIR.")
@option("--config", "config_file", type=PATH, metavar="FILE", help="Read settings from FILE only.")
@option("--color", type=Choice([color.value for color in Color]), help="Colour the output.")
@option(
    "--progress",
    type=MODES,
    help="How to show progress (auto: tty on a terminal, plain elsewhere).",
)
@option("--debug", is_flag=True, help="Show tracebacks of errors.")
def open_session(
    launch: Launch,
    *,
    root: Path | None,
    config_file: Path | None,
    color: str | None,
    progress: str | None,
    debug: bool,
) -> Session:
    """Return the session of a launch with these options.

    Raises:
        InvalidSettingError: naming the file, variable or flag whose value is wrong.

    """
    settings = load_settings(
        launch.environ,
        root=root,
        config_file=config_file,
        progress=ProgressMode(progress) if progress else None,
        color=Color(color) if color else None,
        debug=debug or None,
    )
    return Session(settings=settings, launch=launch)


PARAMETERS = parameters_of(open_session)


def asks_for_debug(launch: Launch, *, flag: bool) -> bool:
    """Tell whether tracebacks are wanted, before there are settings."""
    return flag or launch.environ.get("IMAGEKIT_DEBUG", "") not in ("", "0")
