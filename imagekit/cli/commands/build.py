"""``imagekit build``."""

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from imagekit.base.errors import ImagekitError
from imagekit.cli import declare, options, parsing, render, types
from imagekit.cli.complete import directories, files, rule_names
from imagekit.cli.session import Session
from imagekit.config import ProgressMode

if TYPE_CHECKING:
    from imagekit.build.request import BuildRequest
    from imagekit.engine import Engine
    from imagekit.images.local import LocalImage

CHECK_FORMATS = ("text", "json", "sarif")
ARCHIVE_FORMATS = {"oci": "oci-archive", "docker": "docker-archive"}


@declare.command("build", short_help="Build an image from a Dockerfile.")
@declare.argument("context", metavar="PATH", required=False, shell_complete=directories)
@declare.option("-t", "--tag", "tags", multiple=True, metavar="NAME", help="Name of the image.")
@declare.option(
    "-f",
    "--file",
    metavar="FILE",
    help="Dockerfile (PATH/Dockerfile; - is stdin).",
    shell_complete=files,
)
@declare.option("--build-arg", multiple=True, metavar="KEY[=VALUE]", help="Value of an ARG.")
@declare.option("--target", metavar="STAGE", help="Stop at this stage.")
@declare.option("--label", multiple=True, type=types.LABEL, help="Add a label.")
@declare.option("--no-cache", is_flag=True, help="Run every step again.")
@declare.option("--no-cache-filter", multiple=True, metavar="STAGE", help="Run this stage again.")
@declare.option("--pull", is_flag=True, help="Ask the registry for newer base images.")
@declare.option("--platform", metavar="OS/ARCH", help="Build for this platform.")
@declare.option(
    "--secret",
    multiple=True,
    type=types.FIELDS,
    metavar="id=ID[,src=FILE|,env=NAME]",
    help="A secret for RUN --mount=type=secret.",
)
@declare.option(
    "--build-context",
    multiple=True,
    type=types.PAIR,
    metavar="NAME=VALUE",
    help="A further directory, or docker-image://NAME, for FROM and --from.",
)
@declare.option(
    "--network",
    type=declare.Choice(["default", "none", "host"]),
    default="default",
    help="Network of RUN steps.",
)
@declare.option(
    "--add-host", multiple=True, type=types.ADD_HOST, help="A line of /etc/hosts in RUN steps."
)
@declare.option("-m", "--memory", type=types.SIZE, help="Memory that a RUN step may use.")
@declare.option("--cpus", type=types.CPUS, help="CPUs that a RUN step may use.")
@declare.option(
    "--iidfile", type=declare.PATH, metavar="FILE", help="Write the image's id to FILE."
)
@declare.option(
    "--metadata-file", type=declare.PATH, metavar="FILE", help="Write id, digest, names as JSON."
)
@declare.option("--compression", type=options.COMPRESSIONS, default="gzip", help="Of layers.")
@declare.option("--reproducible", is_flag=True, help="The same inputs give the same digests.")
@declare.option(
    "-o",
    "--output",
    multiple=True,
    type=types.FIELDS,
    metavar="type=oci|docker,dest=FILE",
    help="Also write an archive (- is standard output).",
)
@declare.option("--push", is_flag=True, help="Push every name afterwards.")
@declare.option("--load", is_flag=True, hidden=True, help="Accepted: the image is always stored.")
@declare.option("--check", is_flag=True, help="Look for mistakes and build nothing.")
@declare.option(
    "--format",
    "check_format",
    type=declare.Choice(CHECK_FORMATS),
    default="text",
    help="Of what --check prints.",
)
@declare.option(
    "--explain",
    metavar="RULE",
    help="With --check: say what a rule is about.",
    shell_complete=rule_names,
)
@declare.option(
    "--fix", is_flag=True, help="With --check: correct the Dockerfile where it is safe."
)
@options.insecure_option
@options.quiet_option("Print the image's id only.")
@options.progress_option
def command(
    session: Session,
    *,
    context: str | None,
    tags: tuple[str, ...],
    file: str | None,
    build_arg: tuple[str, ...],
    target: str | None,
    label: tuple[tuple[str, str], ...],
    no_cache: bool,
    no_cache_filter: tuple[str, ...],
    pull: bool,
    platform: str | None,
    secret: tuple[dict[str, str], ...],
    build_context: tuple[tuple[str, str], ...],
    network: str,
    add_host: tuple[tuple[str, str], ...],
    memory: int | None,
    cpus: float | None,
    iidfile: Path | None,
    metadata_file: Path | None,
    compression: str,
    reproducible: bool,
    output: tuple[dict[str, str], ...],
    push: bool,
    load: bool,
    check: bool,
    check_format: str,
    explain: str | None,
    fix: bool,
    insecure: bool,
    quiet: bool,
    progress: str | None,
) -> int | None:
    """Build an image from a Dockerfile and the files in PATH.

    PATH is a directory, or - for a Dockerfile or a tar archive on standard input. Steps whose
    inputs have not changed come from the cache; the others say why they did not.

    Example:
      imagekit build -t app:1.0 .
      imagekit build -t app:dev --target test --build-arg VERSION=1.0 -f docker/Dockerfile .
      imagekit build --secret id=token,env=TOKEN -o type=oci,dest=app.tar .
      imagekit build --check .
      imagekit build --check --explain UndefinedVar
    """
    del load
    if explain is not None and check:
        from imagekit.cli.checks import print_explanation

        return print_explanation(explain)
    if not check and (fix or explain is not None or check_format != "text"):
        raise declare.usage_error("--format, --fix and --explain belong to --check")
    if context is None:
        raise declare.usage_error("Missing argument 'PATH'.")
    from imagekit.build.request import BuildRequest
    from imagekit.cli.build_inputs import open_source, read_secret
    from imagekit.oci.mediatype import Compression
    from imagekit.oci.platform import Platform

    here = Path.cwd()
    archives = [_archive_of(fields) for fields in output]
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(
            open_source(
                context,
                file,
                sys.stdin.buffer,
                directory=here,
                limits=session.settings.archive_limits,
            )
        )
        request = BuildRequest(
            context=source.context,
            dockerfile=source.dockerfile,
            dockerfile_text=source.dockerfile_text,
            tags=tags,
            build_args=_pairs(session.environ, build_arg, "--build-arg"),
            target=target,
            platform=Platform.parse(platform) if platform else None,
            labels=dict(label),
            no_cache=no_cache,
            no_cache_stages=no_cache_filter,
            pull=pull,
            network=network,
            secrets=tuple(read_secret(fields, session.environ, here) for fields in secret),
            add_hosts=tuple(f"{name}:{address}" for name, address in add_host),
            build_contexts={name: _named_context(value, here) for name, value in build_context},
            memory_bytes=memory,
            cpus=cpus,
            compression=Compression(compression),
            source_date_epoch=session.settings.source_date_epoch,
            reproducible=reproducible,
        )
        if check:
            from imagekit.cli.checks import run_checks

            return run_checks(session, request, output_format=check_format, fix=fix)
        shown = stack.enter_context(session.progress(progress, quiet=quiet))
        engine = stack.enter_context(session.engine(shown))
        stack.enter_context(_excerpt_of_errors(request))
        result = engine.build(request)
        image = result.image
        warnings: tuple[str, ...] = ()
        # People see them after builds that took their time; programs ask with --check.
        if sys.stderr.isatty() and not quiet and result.cached < result.steps:
            from imagekit.cli.checks import warning_lines

            warnings = warning_lines(engine, request)
        for archive in archives:
            _save(engine, tags or (image,), *archive)
        if push:
            for name in tags:
                engine.push(name, insecure=insecure)
    if iidfile is not None:
        _write(iidfile, str(image.id))
    if metadata_file is not None:
        _write_metadata(metadata_file, str(image.id), str(image.descriptor.digest), tags)
    if quiet:
        render.print_line(str(image.id))
    elif session.mode(progress) is ProgressMode.JSON:
        _print_event(str(image.id), str(image.descriptor.digest), tags)
    else:
        names = f" as {', '.join(tags)}" if tags else ""
        for line in warnings:
            render.print_error_line(line)
        render.print_error_line(f"built {image.id}{names}")
    return None


def _pairs(environ: Mapping[str, str], texts: tuple[str, ...], option: str) -> dict[str, str]:
    try:
        return dict(parsing.fill_from(environ, texts))
    except ValueError as error:
        raise declare.bad_parameter(str(error), f"{option}") from error


def _named_context(value: str, directory: Path) -> str:
    """Return a named context; a directory becomes absolute, a scheme such as docker-image stays."""
    return value if "://" in value else str(directory / value)


def _archive_of(fields: Mapping[str, str]) -> tuple[str, str]:
    """Return format and destination of ``-o``."""
    kind = fields.get("type", "oci")
    destination = fields.get("dest", "")
    if kind not in ARCHIVE_FORMATS or not destination:
        raise declare.bad_parameter(
            "write it as type=oci,dest=FILE or type=docker,dest=FILE", "--output"
        )
    return ARCHIVE_FORMATS[kind], destination


def _save(
    engine: "Engine", images: "tuple[str | LocalImage, ...]", kind: str, destination: str
) -> None:
    if destination == "-":
        engine.save(images, sys.stdout.buffer, format=kind)
    else:
        engine.save(images, Path(destination), format=kind)


def _write(path: Path, text: str) -> None:
    from imagekit.base.atomic import write_file

    write_file(path.absolute(), text.encode(), durable=False)


def _write_metadata(path: Path, image_id: str, digest: str, names: tuple[str, ...]) -> None:
    import json

    document = {
        "containerimage.config.digest": image_id,
        "containerimage.digest": digest,
        "image.name": ",".join(names),
    }
    _write(path, json.dumps(document, indent=2) + "\n")


def _print_event(image_id: str, digest: str, names: tuple[str, ...]) -> None:
    """Write the last line of ``--progress json``."""
    import json

    document = {"event": "built", "id": image_id, "digest": digest, "names": names}
    render.print_error_line(json.dumps(document))


@contextlib.contextmanager
def _excerpt_of_errors(request: "BuildRequest") -> Iterator[None]:
    """Show the lines of the Dockerfile before an error that has a place in it goes on.

    What else is wrong with the file comes first, so that its first error stands at the end.
    """
    try:
        yield
    except ImagekitError as error:
        from imagekit.dockerfile.errors import DockerfileError, Span

        span = getattr(error, "span", None)
        if isinstance(span, Span):
            text = _dockerfile_text(request)
            if text is not None:
                sys.stdout.flush()
                for other in reversed(error.others if isinstance(error, DockerfileError) else ()):
                    if other.span is not None:
                        render.print_excerpt(text, other.span)
                    render.report_error(other)
                render.print_excerpt(text, span)
        raise


def _dockerfile_text(request: "BuildRequest") -> str | None:
    if request.dockerfile_text is not None:
        return request.dockerfile_text
    candidates = [request.dockerfile or request.context / "Dockerfile"]
    if request.dockerfile is None:
        candidates.append(request.context / "dockerfile")
    for path in candidates:
        with contextlib.suppress(OSError):
            return path.read_text("utf-8", "replace")
    return None
