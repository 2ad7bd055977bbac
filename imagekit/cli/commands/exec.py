"""``imagekit exec``."""

from pathlib import Path

import click

from imagekit.cli import options
from imagekit.cli.complete import container_names
from imagekit.cli.environment import check_terminal, container_environment
from imagekit.cli.lazy import ContainerCommand
from imagekit.cli.session import Session


@click.command(
    "exec",
    cls=ContainerCommand,
    short_help="Run a further command in a running container.",
    context_settings={"allow_interspersed_args": False},
)
@click.option("-d", "--detach", is_flag=True, help="Do not wait for it.")
@click.option("-i", "--interactive", is_flag=True, help="Pass standard input on.")
@click.option("-t", "--tty", is_flag=True, help="Give it a terminal.")
@click.option("-e", "--env", multiple=True, metavar="KEY[=VALUE]", help="Set a variable.")
@click.option("--env-file", multiple=True, type=options.PATH, help="Set a file's variables.")
@click.option("-w", "--workdir", metavar="PATH", help="Working directory.")
@click.option("-u", "--user", metavar="USER[:GROUP]", help="User name or number.")
@click.argument("container", shell_complete=container_names)
@click.argument(
    "arguments", metavar="COMMAND [ARG]...", nargs=-1, type=click.UNPROCESSED, required=True
)
@click.pass_obj
def command(
    session: Session,
    *,
    detach: bool,
    interactive: bool,
    tty: bool,
    env: tuple[str, ...],
    env_file: tuple[Path, ...],
    workdir: str | None,
    user: str | None,
    container: str,
    arguments: tuple[str, ...],
) -> None:
    """Run a further command in a running container and exit with its code.

    Example:
      imagekit exec -it web sh
      imagekit exec -u root -e DEBUG=1 web apt-get update
    """
    if not detach:
        check_terminal(interactive=interactive, tty=tty)
    environment = container_environment(env, env_file, session.environ)
    with session.engine() as engine:
        code = engine.containers.exec(
            container,
            arguments,
            env=environment,
            workdir=workdir,
            user=user,
            tty=tty,
            interactive=interactive,
            detach=detach,
        )
    click.get_current_context().exit(code)
