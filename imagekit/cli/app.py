"""The top-level command: find the command, run it, turn errors into messages and exit codes."""

import errno
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from imagekit.base.errors import ImagekitError
from imagekit.cli import options, render
from imagekit.cli.commands import COMMANDS
from imagekit.cli.lazy import LazyGroup
from imagekit.cli.session import Launch, Session
from imagekit.cli.version import version_text
from imagekit.config import Color, ProgressMode, load_settings

INTERRUPTED = 130
BROKEN_PIPE = 141

EPILOG = """\
\b
Exit codes:
  0    done
  1    a step of a build failed, or something else did
  2    the request is wrong: command line, Dockerfile, name
  3    this machine is in the way: privilege, disk, kernel
  4    a registry refused, failed or could not be reached
  5    content is not what its digest says
  70   a bug in imagekit
  125  `run`, `exec`: imagekit itself failed
  126  `run`, `exec`: the command cannot be run
  127  `run`, `exec`: the command was not found
  130  interrupted by Ctrl-C
  `run` and `exec` otherwise exit with the command's own code (128 + n after signal n).

\b
Files and variables:
  IMAGEKIT_ROOT, --root     the store (/var/lib/imagekit, else ~/.local/share/imagekit)
  IMAGEKIT_CONFIG           a TOML file instead of /etc/imagekit/config.toml and
                            ~/.config/imagekit/config.toml
  IMAGEKIT_PROGRESS, IMAGEKIT_INSECURE_REGISTRIES, SOURCE_DATE_EPOCH, NO_COLOR,
  DOCKER_CONFIG, REGISTRY_AUTH_FILE
"""


class RootGroup(LazyGroup):
    """The top-level command: the one place where errors become messages and exit codes."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT001, FBT002  click's signature
        **extra: Any,  # noqa: ANN401  click's signature
    ) -> NoReturn:
        """Run the command line and exit; never returns and never shows a traceback by itself."""
        del standalone_mode
        arguments = list(sys.argv[1:] if args is None else args)
        debug = self._asks_for_debug(arguments, extra.get("obj"))
        try:
            code = super().main(arguments, prog_name, complete_var, standalone_mode=False, **extra)
            sys.stdout.flush()
        except ImagekitError as error:
            render.report_error(error, debug=debug)
            code = error.exit_code
        except click.exceptions.Abort:
            render.print_error_line("imagekit: interrupted")
            code = INTERRUPTED
        except click.ClickException as error:
            render.report_usage(error)
            code = error.exit_code
        except OSError as error:
            if error.errno == errno.EPIPE:
                _forget_output()
                code = BROKEN_PIPE
            else:
                render.report_os_error(error, debug=debug)
                code = render.HOST_ERROR_CODE
        except Exception as error:  # noqa: BLE001  the last border before the user
            render.report_internal_error(error, debug=debug)
            code = render.INTERNAL_ERROR_CODE
        sys.exit(code if isinstance(code, int) else 0)

    def _asks_for_debug(self, arguments: Sequence[str], launch: object) -> bool:
        """Tell whether tracebacks are wanted, also when the command line cannot be parsed."""
        own = list(itertools.takewhile(lambda argument: argument not in self.entries, arguments))
        environ = (launch if isinstance(launch, Launch) else Launch()).environ
        return "--debug" in own or environ.get("IMAGEKIT_DEBUG", "") not in ("", "0")


@click.group(
    cls=RootGroup,
    entries=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EPILOG,
)
@click.option("--root", type=options.PATH, metavar="DIR", help="Keep everything in DIR.")
@click.option(
    "--config",
    "config_file",
    type=options.PATH,
    metavar="FILE",
    help="Read settings from FILE only.",
)
@click.option(
    "--color",
    type=click.Choice([color.value for color in Color]),
    help="Colour the output.",
)
@click.option(
    "--progress",
    type=click.Choice([mode.value for mode in ProgressMode]),
    help="How to show progress (auto: tty on a terminal, plain elsewhere).",
)
@click.version_option(message=version_text(), help="Print the version.")
@click.option("--debug", is_flag=True, help="Show tracebacks of errors.")
@click.pass_context
def cli(
    ctx: click.Context,
    root: Path | None,
    config_file: Path | None,
    color: str | None,
    progress: str | None,
    *,
    debug: bool,
) -> None:
    """Build, move and run container images without a daemon.

    Example:
      imagekit build -t registry.example/app:1.0 .
      imagekit push registry.example/app:1.0
      imagekit run --rm -p 8080:80 registry.example/app:1.0
    """
    launch = ctx.obj if isinstance(ctx.obj, Launch) else Launch()
    settings = load_settings(
        launch.environ,
        root=root,
        config_file=config_file,
        progress=ProgressMode(progress) if progress else None,
        color=Color(color) if color else None,
        debug=debug or None,
    )
    if settings.color is not Color.AUTO:
        ctx.color = settings.color is Color.ALWAYS
    ctx.obj = Session(settings=settings, launch=launch)


def _forget_output() -> None:
    """Keep the interpreter from flushing to a reader that has gone."""
    import os

    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
