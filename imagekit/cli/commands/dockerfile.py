"""``imagekit dockerfile``."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from imagekit.cli import declare, render
from imagekit.cli.session import Session

if TYPE_CHECKING:
    from imagekit.dockerfile.document import Dockerfile

_MAX_BYTES = 64 << 20


@declare.group("dockerfile", short_help="Look into a Dockerfile.")
def command() -> None:
    """Show what imagekit understands of a Dockerfile; nothing is built or fetched.

    Example:
      imagekit dockerfile parse Dockerfile
      imagekit dockerfile stages --format dot Dockerfile | dot -Tsvg > stages.svg
    """


@command.command("parse", short_help="Show the instructions of a Dockerfile.")
@declare.option(
    "--format",
    "form",
    type=declare.Choice(("text", "json")),
    default="text",
    help="Statements as BuildKit's parser dumps them, or all fields and places.",
    show_default=True,
)
@declare.argument("file", type=declare.PATH, default=Path("Dockerfile"))
def parse(session: Session, *, form: str, file: Path) -> None:
    """Show the instructions of FILE (- is stdin), after all checks that need no build.

    Example:
      imagekit dockerfile parse --format json Dockerfile
    """
    del session
    with _parsed(file) as dockerfile:
        if form == "json":
            from imagekit.dockerfile.builtins_form import as_builtins

            render.print_json(as_builtins(dockerfile))
        else:
            from imagekit.dockerfile.dump import dump

            render.print_line(_printable(dump(dockerfile.text)))


@command.command("stages", short_help="Show the stages of a Dockerfile and what they need.")
@declare.option(
    "--format",
    "form",
    type=declare.Choice(("tree", "json", "dot")),
    default="tree",
    help="For people, for programs, or for Graphviz.",
    show_default=True,
)
@declare.option(
    "--build-arg", "build_args", multiple=True, metavar="NAME=VALUE", help="Set an ARG for FROM."
)
@declare.argument("file", type=declare.PATH, default=Path("Dockerfile"))
def stages(session: Session, *, form: str, build_args: tuple[str, ...], file: Path) -> None:
    """Show the stages of FILE (- is stdin) and what stages and images each takes something from.

    Example:
      imagekit dockerfile stages Dockerfile
    """
    del session
    with _parsed(file) as dockerfile:
        from imagekit.dockerfile.graph import stage_graph

        given = dict(item.partition("=")[::2] for item in build_args)
        graph = stage_graph(dockerfile, build_args=given, platform_args=_platform_args())
        if form == "json":
            import msgspec

            render.print_json(msgspec.to_builtins(graph))
        else:
            render.print_line(_printable(graph.as_dot() if form == "dot" else graph.as_tree()))


@contextlib.contextmanager
def _parsed(path: Path) -> "Iterator[Dockerfile]":
    """Give the parsed file; an error shows its lines, and the other errors of the file."""
    from imagekit.dockerfile.errors import DockerfileError
    from imagekit.dockerfile.parse import parse as parse_text

    data = _read(path)
    try:
        yield parse_text(data, file_name=str(path))
    except DockerfileError as error:
        text = data.decode("utf-8", "surrogateescape")
        for other in error.others:
            render.print_error_line(_printable(other.message))
            if other.span is not None:
                render.print_excerpt(text, other.span)
        if error.span is not None:
            render.print_excerpt(text, error.span)
        raise


def _read(path: Path) -> bytes:
    from imagekit.dockerfile.errors import DockerfileError

    try:
        with _opened(path) as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise DockerfileError(
            f"cannot read the Dockerfile {path}: {error.strerror}", hint="Name a file."
        ) from error
    if len(data) > _MAX_BYTES:
        raise DockerfileError(
            f"{path} is not a Dockerfile: it is too large", hint="Name another file."
        )
    return data


def _opened(path: Path) -> "contextlib.AbstractContextManager[BinaryIO]":
    """Open a file; ``-`` is standard input, which stays open."""
    if path == Path("-"):
        return contextlib.nullcontext(sys.stdin.buffer)
    return path.open("rb")


def _platform_args() -> dict[str, str]:
    """Values for the predefined arguments, so that FROM lines that use them can be shown."""
    from imagekit.build.environment import platform_arguments
    from imagekit.oci.platform import Platform

    host = Platform.host()
    return platform_arguments(host, host, "default")


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
