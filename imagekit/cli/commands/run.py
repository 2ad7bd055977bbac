"""``imagekit run``."""

from pathlib import Path
from typing import TYPE_CHECKING

from imagekit.cli import declare, options, parsing, render, types
from imagekit.cli.complete import image_names
from imagekit.cli.environment import check_terminal, container_environment
from imagekit.cli.session import Session

if TYPE_CHECKING:
    from imagekit.containers.model import RunResult
    from imagekit.containers.request import RunRequest, VolumeMount
    from imagekit.engine import Engine


@declare.command(
    "run",
    is_container=True,
    short_help="Run a command in a new container.",
    interspersed=False,
)
@declare.option("-d", "--detach", is_flag=True, help="Run in the background and print the id.")
@declare.option("--rm", is_flag=True, help="Remove the container when it ends.")
@declare.option("-i", "--interactive", is_flag=True, help="Pass standard input on.")
@declare.option("-t", "--tty", is_flag=True, help="Give it a terminal.")
@declare.option("-e", "--env", multiple=True, metavar="KEY[=VALUE]", help="Set a variable.")
@declare.option("--env-file", multiple=True, type=declare.PATH, help="Set the variables of a file.")
@declare.option(
    "-v", "--volume", multiple=True, metavar="SOURCE:TARGET[:ro]", help="Mount a path or volume."
)
@declare.option(
    "--mount",
    multiple=True,
    type=types.MOUNT,
    metavar="type=TYPE,source=SOURCE,target=TARGET",
    help="Mount (type bind, volume or tmpfs; readonly).",
)
@declare.option("--tmpfs", multiple=True, metavar="PATH[:OPTIONS]", help="Mount memory at PATH.")
@declare.option("-w", "--workdir", metavar="PATH", help="Working directory.")
@declare.option("-u", "--user", metavar="USER[:GROUP]", help="User name or number.")
@declare.option("-h", "--hostname", metavar="NAME", help="Host name (-h alone: this help).")
@declare.option("--entrypoint", metavar="COMMAND", help="Replace the image's ENTRYPOINT.")
@declare.option("--name", metavar="NAME", help="Name of the container.")
@declare.option(
    "-p", "--publish", multiple=True, type=types.PUBLISH, metavar="[[IP:]HOST:]PORT[/PROTOCOL]",
    help="Make a port reachable.",
)  # fmt: skip
@declare.option(
    "--network",
    "--net",
    type=declare.Choice(["bridge", "host", "none"]),
    default="bridge",
    help="Network that it sees.",
)
@declare.option("-m", "--memory", type=types.SIZE, help="Memory it may use.")
@declare.option("--memory-swap", type=types.SWAP, help="Memory and swap together (-1: any).")
@declare.option("--cpus", type=types.CPUS, help="CPUs it may use.")
@declare.option(
    "--pids-limit", type=declare.INTEGER, metavar="NUMBER", help="Processes it may have (-1: any)."
)
@declare.option("--cap-add", multiple=True, metavar="CAP", help="Add a capability, or ALL.")
@declare.option("--cap-drop", multiple=True, metavar="CAP", help="Drop a capability, or ALL.")
@declare.option("--privileged", is_flag=True, help="Leave out every confinement.")
@declare.option("--read-only", is_flag=True, help="Make the root file system read-only.")
@declare.option("--init", is_flag=True, help="Put an init in front that reaps processes.")
@declare.option("-l", "--label", multiple=True, type=types.LABEL, help="Add a label.")
@declare.option("--stop-signal", metavar="SIGNAL", help="Signal that stops it.")
@declare.option("--stop-timeout", type=types.DURATION, help="Time to stop in, before force.")
@declare.option("--add-host", multiple=True, type=types.ADD_HOST, help="A line of /etc/hosts.")
@declare.option("--dns", multiple=True, metavar="ADDRESS", help="Name server.")
@declare.option("--security-opt", multiple=True, metavar="OPTION", help="As docker's.")
@declare.option(
    "--pull",
    type=declare.Choice(["missing", "always", "never"]),
    default="missing",
    help="When to fetch the image.",
)
@options.insecure_option
@options.quiet_option("Do not show the fetching of the image.")
@declare.argument("image", shell_complete=image_names)
@declare.argument("arguments", metavar="[COMMAND] [ARG]...", nargs=-1)
def command(
    session: Session,
    *,
    detach: bool,
    rm: bool,
    interactive: bool,
    tty: bool,
    env: tuple[str, ...],
    env_file: tuple[Path, ...],
    volume: tuple[str, ...],
    mount: tuple[parsing.MountText, ...],
    tmpfs: tuple[str, ...],
    workdir: str | None,
    user: str | None,
    hostname: str | None,
    entrypoint: str | None,
    name: str | None,
    publish: tuple[tuple[str, ...], ...],
    network: str,
    memory: int | None,
    memory_swap: int | None,
    cpus: float | None,
    pids_limit: int | None,
    cap_add: tuple[str, ...],
    cap_drop: tuple[str, ...],
    privileged: bool,
    read_only: bool,
    init: bool,
    label: tuple[tuple[str, str], ...],
    stop_signal: str | None,
    stop_timeout: float | None,
    add_host: tuple[tuple[str, str], ...],
    dns: tuple[str, ...],
    security_opt: tuple[str, ...],
    pull: str,
    insecure: bool,
    quiet: bool,
    image: str,
    arguments: tuple[str, ...],
) -> int | None:
    """Run a command in a new container made from IMAGE.

    Signals go on to the command, and its exit code becomes imagekit's. Standard input is passed on
    with -i only.

    Example:
      imagekit run --rm debian:12 cat /etc/os-release
      imagekit run --rm -it -v "$PWD:/src" -w /src python:3.12 bash
      imagekit run -d --name web -p 8080:80 --memory 256m --cpus 0.5 app:1.0
    """
    with session.transfers(quiet=quiet) as shown, session.engine(shown) as engine:
        if not detach:
            engine.warm_up(starts=1)  # before the imports below: they take as long as its start
        from imagekit.containers.request import PortMapping, RunRequest, VolumeMount
        from imagekit.sandbox.spec import NetworkMode

        here = Path.cwd()
        request = RunRequest(
            image=image,
            command=arguments,
            detach=detach,
            remove=rm,
            name=name,
            env=container_environment(env, env_file, session.environ),
            volumes=(
                *(VolumeMount.parse(parsing.absolute_source(text, here)) for text in volume),
                *(_volume_of(text, here) for text in mount if text.kind != "tmpfs"),
            ),
            tmpfs=(*tmpfs, *(_tmpfs_of(text) for text in mount if text.kind == "tmpfs")),
            workdir=workdir,
            user=user,
            entrypoint=None if entrypoint is None else (entrypoint,) if entrypoint else (),
            hostname=hostname,
            tty=tty,
            interactive=interactive,
            memory_bytes=memory,
            memory_swap_bytes=memory_swap,
            cpus=cpus,
            pids_limit=pids_limit if pids_limit and pids_limit > 0 else None,
            network=NetworkMode(network),
            publish=tuple(PortMapping.parse(port) for ports in publish for port in ports),
            cap_add=cap_add,
            cap_drop=cap_drop,
            privileged=privileged,
            read_only=read_only,
            init=init,
            labels=dict(label),
            stop_signal=stop_signal,
            stop_timeout_s=10 if stop_timeout is None else stop_timeout,
            add_hosts=tuple(f"{host}:{address}" for host, address in add_host),
            dns=dns,
            security_opt=security_opt,
        )
        request.check()
        if not detach:
            check_terminal(interactive=interactive, tty=tty)
        if pull == "always":
            engine.pull(image, insecure=insecure)
        result = _run(engine, request, fetches=pull == "missing", insecure=insecure, quiet=quiet)
    if result.exit_code is None:
        render.print_line(result.id)
    return result.exit_code


def _run(
    engine: "Engine", request: "RunRequest", *, fetches: bool, insecure: bool, quiet: bool
) -> "RunResult":
    """Run the container; an image that is not here is fetched, and then it is tried again."""
    from imagekit.images.errors import ImageNotFoundError
    from imagekit.images.process import NoCommandError

    try:
        return engine.containers.run(request)
    except ImageNotFoundError as error:
        if not fetches or isinstance(error, NoCommandError):
            raise
    if not quiet:
        render.print_error_line(f"no local image {request.image}: fetching it")
    engine.pull(request.image, insecure=insecure)
    return engine.containers.run(request)


def _volume_of(text: parsing.MountText, directory: Path) -> "VolumeMount":
    from imagekit.containers.request import VolumeMount

    source = str(directory / text.source) if text.kind == "bind" else text.source
    return VolumeMount(source=source, target=text.target, read_only=text.read_only).checked()


def _tmpfs_of(text: parsing.MountText) -> str:
    options_text = [f"size={text.size_bytes}"] if text.size_bytes is not None else []
    if text.read_only:
        options_text.append("ro")
    return f"{text.target}:{','.join(options_text)}" if options_text else text.target
