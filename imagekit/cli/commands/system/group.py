"""``imagekit system``: the group that its commands join."""

from imagekit.cli import declare


@declare.group("system", short_help="Show, free and check what is stored.")
def command() -> None:
    """Show, free and check what is stored, and show the settings.

    Example:
      imagekit system df
      imagekit system prune
    """
