"""``imagekit exec``."""

from pathlib import Path

from imagekit.cli import declare
from imagekit.cli.complete import container_names
from imagekit.cli.environment import check_terminal, container_environment
from imagekit.cli.session import Session


@declare.command(
    "exec",
    is_container=True,
    short_help="Run a further command in a running container.",
    interspersed=False,
)
@declare.option("-d", "--detach", is_flag=True, help="Do not wait for it.")
@declare.option("-i", "--interactive", is_flag=True, help="Pass standard input on.")
@declare.option("-t", "--tty", is_flag=True, help="Give it a terminal.")
@declare.option("-e", "--env", multiple=True, metavar="KEY[=VALUE]", help="Set a variable.")
@declare.option("--env-file", multiple=True, type=declare.PATH, help="Set a file's variables.")
@declare.option("-w", "--workdir", metavar="PATH", help="Working directory.")
@declare.option("-u", "--user", metavar="USER[:GROUP]", help="User name or number.")
@declare.argument("container", shell_complete=container_names)
@declare.argument("arguments", metavar="COMMAND [ARG]...", nargs=-1, required=True)
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
) -> int:
    """Run a further command in a running container and exit with its code.

    Example:
      imagekit exec -it web sh
      imagekit exec -u root -e DEBUG=1 web apt-get update
    """
    if not detach:
        check_terminal(interactive=interactive, tty=tty)
    environment = container_environment(env, env_file, session.environ)
    with session.engine() as engine:
        engine.warm_up(starts=0)  # what it runs goes into a sandbox that there is
        return engine.containers.exec(
            container,
            arguments,
            env=environment,
            workdir=workdir,
            user=user,
            tty=tty,
            interactive=interactive,
            detach=detach,
        )
