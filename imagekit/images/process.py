"""From an image's config and the user's overrides to the process that runs."""

from imagekit.images.errors import ImageNotFoundError
from imagekit.oci.image_config import DEFAULT_PATH, ContainerConfig
from imagekit.sandbox.spec import ProcessSpec


class NoCommandError(ImageNotFoundError):
    """Neither the image nor the user says what to run."""

    code = "no-command"


def merged_environment(base: tuple[str, ...], overrides: tuple[str, ...]) -> tuple[str, ...]:
    """Return ``base`` with each ``KEY=value`` of ``overrides`` in its place or at the end."""
    merged = {item.partition("=")[0]: item for item in base}
    merged.update({item.partition("=")[0]: item for item in overrides})
    return tuple(merged.values())


def process_spec(
    config: ContainerConfig,
    *,
    command: tuple[str, ...] = (),
    entrypoint: tuple[str, ...] | None = None,
    env: tuple[str, ...] = (),
    workdir: str | None = None,
    user: str | None = None,
    tty: bool = False,
) -> ProcessSpec:
    """Return the process that docker would run for the same image and flags.

    A given ``entrypoint`` drops the image's Cmd; a given ``command`` replaces it. PATH is added
    when the image has none, TERM with a terminal.

    Raises:
        NoCommandError: if nothing is left to run.

    """
    head = config.entrypoint or () if entrypoint is None else entrypoint
    tail = command or (() if entrypoint is not None else config.cmd or ())
    argv = (*head, *tail)
    if not argv:
        raise NoCommandError(
            "the image has no command", hint="Name one after the image, or set CMD in it."
        )
    defaults = (f"PATH={DEFAULT_PATH}", *(("TERM=xterm",) if tty else ()))
    return ProcessSpec(
        argv=argv,
        env=merged_environment(merged_environment(defaults, config.env or ()), env),
        cwd=workdir or config.working_dir or "/",
        user=config.user if user is None else user,
        tty=tty,
    )
