"""The top-level click command: what ``-h``, completion and wrong command lines go through."""

import itertools
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from imagekit.cli import root
from imagekit.cli.click_commands import LazyGroup, click_parameter
from imagekit.cli.commands import COMMANDS
from imagekit.cli.outcome import exit_code_of
from imagekit.cli.session import Launch
from imagekit.cli.version import version_text

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
    """The top-level command; it never shows a traceback by itself."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT001, FBT002  click's signature
        **extra: Any,  # noqa: ANN401  click's signature
    ) -> NoReturn:
        """Run the command line and exit."""
        del standalone_mode
        run = super().main
        arguments = list(sys.argv[1:] if args is None else args)
        given = extra.get("obj")
        launch = given if isinstance(given, Launch) else Launch()
        own = itertools.takewhile(lambda argument: argument not in self.entries, arguments)
        sys.exit(
            exit_code_of(
                lambda: run(arguments, prog_name, complete_var, standalone_mode=False, **extra),
                debug=root.asks_for_debug(launch, flag="--debug" in own),
            )
        )


def _open_session(**values: Any) -> None:  # noqa: ANN401  the declared options
    context = click.get_current_context()
    launch = context.obj if isinstance(context.obj, Launch) else Launch()
    context.obj = root.open_session(launch, **values)


cli = RootGroup(
    "imagekit",
    callback=_open_session,
    params=[click_parameter(one) for one in root.PARAMETERS],
    entries=COMMANDS,
    help="""Build, move and run container images without a daemon.

    Example:
      imagekit build -t registry.example/app:1.0 .
      imagekit push registry.example/app:1.0
      imagekit run --rm -p 8080:80 registry.example/app:1.0
    """,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EPILOG,
)
click.version_option(version_text(), message="%(version)s", help="Print the version.")(cli)
