"""``imagekit login``."""

import sys

from imagekit.base.errors import UserError
from imagekit.cli import declare, render
from imagekit.cli.session import Session

MAX_PASSWORD_CHARACTERS = 65536


@declare.command("login", short_help="Store credentials of a registry.")
@declare.option("-u", "--username", metavar="NAME", help="User name.")
@declare.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@declare.option("-p", "--password", metavar="PASSWORD", help="Unsafe: others see command lines.")
@declare.argument("server", default="docker.io")
def command(
    session: Session,
    *,
    username: str | None,
    password_stdin: bool,
    password: str | None,
    server: str,
) -> None:
    """Check the credentials with the registry SERVER and store them where docker does.

    Example:
      imagekit login registry.example
      pass registry | imagekit login -u me --password-stdin registry.example
    """
    if password is not None and password_stdin:
        raise declare.usage_error("--password and --password-stdin exclude each other")
    if password is not None:
        render.print_error_line(
            "warning: every user of this machine can read a password on the command line; "
            "use --password-stdin"
        )
    if password_stdin and username is None:
        raise declare.usage_error("--password-stdin needs --username")
    if username is None or (password is None and not password_stdin):
        if not sys.stdin.isatty():
            raise UserError(
                "cannot ask for credentials: standard input is not a terminal",
                hint="Use --username and --password-stdin.",
            )
        import click

        username = username or click.prompt("Username", err=True)
        password = password or click.prompt("Password", hide_input=True, err=True)
    elif password_stdin:
        password = sys.stdin.read(MAX_PASSWORD_CHARACTERS).rstrip("\r\n")
    if not password:
        raise UserError("the password is empty")
    with session.engine() as engine:
        engine.login(server, str(username), password)
    render.print_error_line(f"logged in to {server}")
