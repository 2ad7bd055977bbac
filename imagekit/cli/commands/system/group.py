"""``imagekit system``: the group that its commands join."""

from imagekit.cli import declare


@declare.group("system", short_help="Show and free disk space.")
def command() -> None:
    """Show and free disk space, and show the settings.

    Example:
      imagekit system df
      imagekit system prune
    """
