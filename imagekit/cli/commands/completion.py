"""``imagekit completion``."""

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from imagekit.cli.click_commands import Command
from imagekit.cli.render import print_line

VARIABLE = "_IMAGEKIT_COMPLETE"
_SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command("completion", cls=Command, short_help="Print a completion script for a shell.")
@click.argument("shell", type=click.Choice(list(_SHELLS)))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script that makes a shell complete commands, options and their values.

    Example:
      imagekit completion bash > /etc/bash_completion.d/imagekit
      imagekit completion zsh > "${fpath[1]}/_imagekit"
      imagekit completion fish > ~/.config/fish/completions/imagekit.fish
    """
    completion = _SHELLS[shell](ctx.find_root().command, {}, "imagekit", VARIABLE)
    # not .source(): it runs bash to ask for its version, which a machine may not have
    print_line(completion.source_template % completion.source_vars())
