"""What ``run`` and ``exec`` take from around them: variables and the terminal."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from imagekit.base.errors import UserError
from imagekit.cli import parsing
from imagekit.cli.declare import bad_parameter


def container_environment(
    texts: Sequence[str], files: Sequence[Path], environ: Mapping[str, str]
) -> tuple[str, ...]:
    """Return ``KEY=VALUE`` texts: files first, then ``-e``; a later one wins.

    Raises:
        click.BadParameter: if a file cannot be read or a line is not a pair.

    """
    merged: dict[str, str] = {}
    for path in files:
        try:
            merged.update(parsing.parse_env_file(path.read_text("utf-8"), environ))
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise bad_parameter(f"{path}: {reason}", "--env-file") from error
        except ValueError as error:
            raise bad_parameter(f"{path}: {error}", "--env-file") from error
    try:
        merged.update(parsing.fill_from(environ, texts))
    except ValueError as error:
        raise bad_parameter(str(error), "--env") from error
    return tuple(f"{key}={value}" for key, value in merged.items())


def check_terminal(*, interactive: bool, tty: bool) -> None:
    """Refuse ``-it`` without a terminal to type on, as docker does.

    Raises:
        UserError: if standard input is not a terminal.

    """
    if interactive and tty and not sys.stdin.isatty():
        raise UserError(
            "cannot give the container a terminal: standard input is not one",
            hint="Leave out -t.",
        )
