"""What the shell completes: files, rules, and names of images and containers in the store."""

from typing import TYPE_CHECKING

from imagekit.base.errors import ImagekitError
from imagekit.cli.session import Launch
from imagekit.config import load_settings

if TYPE_CHECKING:
    import click
    from click.shell_completion import CompletionItem

    from imagekit.engine import Engine


def image_names(ctx: "click.Context", param: "click.Parameter", incomplete: str) -> list[str]:
    """Return the short names of images that begin with ``incomplete``."""
    del param
    from imagekit.oci.reference import Reference

    try:
        with _engine(ctx) as engine:
            names = [image.name for image in engine.images()]
    except (ImagekitError, OSError):
        return []  # the command itself will say what is wrong
    short = sorted({Reference.parse(name).familiar() for name in names if name})
    return [name for name in short if name.startswith(incomplete)]


def container_names(ctx: "click.Context", param: "click.Parameter", incomplete: str) -> list[str]:
    """Return the names of containers that begin with ``incomplete``."""
    del param
    try:
        with _engine(ctx) as engine:
            names = [container.name for container in engine.containers.list(all=True)]
    except (ImagekitError, OSError):
        return []
    return [name for name in names if name.startswith(incomplete)]


def image_and_container_names(
    ctx: "click.Context", param: "click.Parameter", incomplete: str
) -> list[str]:
    """Return both."""
    return [*image_names(ctx, param, incomplete), *container_names(ctx, param, incomplete)]


def files(
    ctx: "click.Context", param: "click.Parameter", incomplete: str
) -> "list[CompletionItem]":
    """Let the shell complete names of files."""
    del ctx, param
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def directories(
    ctx: "click.Context", param: "click.Parameter", incomplete: str
) -> "list[CompletionItem]":
    """Let the shell complete names of directories."""
    del ctx, param
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="dir")]


def rule_names(ctx: "click.Context", param: "click.Parameter", incomplete: str) -> list[str]:
    """Return the build checks' names that begin with ``incomplete``, in any case."""
    del ctx, param
    from imagekit.dockerfile.lint.rules import RULES

    return [rule.name for rule in RULES if rule.name.lower().startswith(incomplete.lower())]


def _engine(ctx: "click.Context") -> "Engine":
    """Return an engine on the store of the half-written command line; no command has begun."""
    from imagekit.base.events import ignore_events

    root = ctx.find_root()
    launch = root.obj if isinstance(root.obj, Launch) else Launch()
    settings = load_settings(
        launch.environ, root=root.params.get("root"), config_file=root.params.get("config_file")
    )
    return launch.make_engine(settings, ignore_events)
