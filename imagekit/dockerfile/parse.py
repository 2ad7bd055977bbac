"""Statements to checked instructions, and those to stages.

Everything that BuildKit refuses in an unused stage is refused here; what it finds out while it
expands (bad substitutions, mount keys, modes) is left to who executes the instruction.

Source: Dockerfile reference; BuildKit frontend/dockerfile/instructions/parse.go.
"""

from collections.abc import Callable

from msgspec.structs import replace

from imagekit.dockerfile.characters import SPACE
from imagekit.dockerfile.document import Dockerfile, ParseWarning, Stage
from imagekit.dockerfile.errors import DockerfileError, DockerfileSyntaxError, Span
from imagekit.dockerfile.flags import FlagValues, parse_flags
from imagekit.dockerfile.instructions import (
    Add,
    AnyInstruction,
    Arg,
    Cmd,
    Command,
    Copy,
    Entrypoint,
    Env,
    ExecForm,
    Expose,
    From,
    Healthcheck,
    Heredoc,
    Label,
    Maintainer,
    OnBuild,
    Run,
    Shell,
    ShellForm,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from imagekit.dockerfile.mounts import mount_source
from imagekit.dockerfile.quoting import go_quote
from imagekit.dockerfile.source import SourceReader, heredoc_word
from imagekit.dockerfile.statements import Statement, read_statements
from imagekit.dockerfile.suggestions import did_you_mean
from imagekit.dockerfile.values import parse_duration

_NETWORKS = ("default", "none", "host")
_SECURITIES = ("sandbox", "insecure")
_MIN_DURATION_NS = 1_000_000
_NO_TRIGGERS = ("FROM", "MAINTAINER")
_STAGE_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")


def parse(text: str | bytes, *, file_name: str = "Dockerfile") -> Dockerfile:
    """Return the stages of a Dockerfile. Pure: nothing is read, expanded or looked up.

    ``text`` may be bytes in UTF-8. ``file_name`` is for messages and spans only.

    Raises:
        DockerfileSyntaxError: the text is not a Dockerfile; its span says where.
    """
    source = text.decode("utf-8", "surrogateescape") if isinstance(text, bytes) else text
    whole = Span(file_name=file_name, first_line=1, last_line=1)
    if not source:
        raise DockerfileSyntaxError(
            "the Dockerfile cannot be empty", span=whole, hint="Begin with a FROM instruction."
        )
    reader = SourceReader(source, file_name=file_name)
    statements = list(read_statements(reader))
    if not statements:
        raise DockerfileSyntaxError("file with no instructions", span=whole)
    global_args: list[Arg] = []
    stages: list[tuple[From, list[AnyInstruction]]] = []
    warnings: list[ParseWarning] = []
    for statement in statements:
        _check_characters(statement)
        instruction = _instruction(statement)
        if statement.has_empty_continuation:
            warnings.append(_empty_continuation(statement))
        if isinstance(instruction, From):
            stages.append((instruction, []))
        elif stages:
            stages[-1][1].append(instruction)
        elif isinstance(instruction, Arg):
            global_args.append(instruction)
        else:
            raise DockerfileSyntaxError(
                "no build stage in current context",
                span=statement.origin.span,
                hint="Put a FROM instruction before it; only ARG may come first.",
            )
    if not stages:
        raise DockerfileSyntaxError("dockerfile contains no stages to build", span=whole)
    return Dockerfile(
        file_name=file_name,
        text=source,
        directives=reader.directives,
        global_args=tuple(global_args),
        stages=_numbered(stages),
        warnings=tuple(warnings),
    )


def parse_trigger(text: str, *, span: Span) -> AnyInstruction:
    r"""Return the instruction in an ONBUILD trigger, as stored in an image configuration.

    The escape character is always ``\``. ``span`` is the FROM line that ran into the trigger;
    errors and the instruction carry it.

    Raises:
        DockerfileSyntaxError: it is not exactly one valid instruction.
    """
    reader = SourceReader(text, file_name=span.file_name)
    try:
        statements = list(read_statements(reader))
    except DockerfileError as error:
        raise DockerfileSyntaxError(
            f"invalid ONBUILD trigger {go_quote(text)}: {error.reason}", span=span
        ) from error
    if len(statements) != 1:
        raise DockerfileSyntaxError(
            f"invalid ONBUILD trigger {go_quote(text)}: not a single expression",
            span=span,
        )
    statement = statements[0]
    if statement.line.name in ("ONBUILD", *_NO_TRIGGERS):
        raise DockerfileSyntaxError(
            f"{statement.line.name} isn't allowed as an ONBUILD trigger", span=span
        )
    origin = replace(statement.origin, span=span, comments=())
    return _instruction(Statement(line=statement.line, origin=origin, heredocs=statement.heredocs))


def _numbered(stages: list[tuple[From, list[AnyInstruction]]]) -> tuple[Stage, ...]:
    return tuple(
        Stage(
            index=index,
            name=base.alias.lower() if base.alias else None,
            base=base,
            instructions=tuple(instructions),
            display_name=base.alias.lower()
            if base.alias
            else (f"stage-{index}" if len(stages) > 1 else ""),
        )
        for index, (base, instructions) in enumerate(stages)
    )


def _empty_continuation(statement: Statement) -> ParseWarning:
    span = statement.origin.span
    return ParseWarning(
        rule="NoEmptyContinuation",
        message="Empty continuation line",
        span=Span(file_name=span.file_name, first_line=span.last_line, last_line=span.last_line),
    )


def _check_characters(statement: Statement) -> None:
    """Refuse what no kernel and no image configuration can hold: NUL, and bytes not UTF-8."""
    text = statement.origin.text
    if text.isascii() and text.isprintable():
        return
    if "\0" in text:
        raise DockerfileSyntaxError(
            "instruction contains a NUL character", span=statement.origin.span
        )
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise DockerfileSyntaxError("instruction is not valid UTF-8", span=statement.origin.span)


def _instruction(statement: Statement) -> AnyInstruction:
    parser = _PARSERS.get(statement.line.name)
    prefix = f"dockerfile parse error on line {statement.origin.span.first_line}: "
    try:
        if parser is None:
            known = did_you_mean(statement.origin.keyword, _PARSERS, case_sensitive=False)
            raise DockerfileSyntaxError(f"unknown instruction: {statement.origin.keyword}{known}")
        return parser(statement)
    except DockerfileError as error:
        raise error.located(_place(statement, error), prefix=prefix) from error.__cause__


def _place(statement: Statement, error: DockerfileError) -> Span:
    """The statement's span, with a column when the first word of the complaint is on its line."""
    span = statement.origin.span
    line = statement.origin.source.split("\n", 1)[0]
    sought = statement.origin.keyword
    for flag in statement.origin.flags:
        name = flag.partition("=")[0]
        if name in error.reason:
            sought = name
            break
    column = line.find(sought) + 1 if sought else 0
    return Span(
        file_name=span.file_name,
        first_line=span.first_line,
        last_line=span.last_line,
        column=column or None,
    )


def _flags(statement: Statement) -> FlagValues:
    return parse_flags(statement.line.name, statement.origin.flags)


def _at_least_one(statement: Statement) -> tuple[str, ...]:
    words = statement.line.words
    if not words:
        raise DockerfileSyntaxError(f"{statement.line.name} requires at least one argument")
    return words


def _exactly_one(statement: Statement) -> str:
    words = statement.line.words
    if len(words) != 1:
        raise DockerfileSyntaxError(f"{statement.line.name} requires exactly one argument")
    _flags(statement)
    return words[0]


def _command(statement: Statement) -> Command:
    line = statement.line
    if line.json:
        return ExecForm(args=line.words)
    text = line.words[0] if line.words else ""
    heredocs = statement.heredocs
    document = heredocs[0] if heredocs and heredoc_word(text) is not None else None
    return ShellForm(text=text, heredocs=heredocs, document=document)


def _from(statement: Statement) -> From:
    words = list(statement.line.words)
    alias: str | None = None
    if len(words) == 3 and words[1].lower() == "as":
        alias = words[2]
        name = alias.lower()
        if not ("a" <= name[0] <= "z" and _STAGE_NAME_CHARACTERS.issuperset(name)):
            raise DockerfileSyntaxError(
                f"invalid name for build stage: {go_quote(alias)}, name can't start with a number "
                "or contain symbols"
            )
    elif len(words) != 1:
        raise DockerfileSyntaxError("FROM requires either one or three arguments")
    return From(
        origin=statement.origin,
        image=words[0],
        platform=_flags(statement).text("platform"),
        alias=alias,
        as_keyword=words[1] if alias else None,
    )


def _run(statement: Statement) -> Run:
    flags = _flags(statement)
    network = flags.text("network")
    if network is not None and network not in _NETWORKS:
        raise DockerfileSyntaxError(
            f"invalid network mode {go_quote(network)}{did_you_mean(network, _NETWORKS)}"
        )
    security = flags.text("security")
    if security is not None and security not in _SECURITIES:
        raise DockerfileSyntaxError(
            f"security {go_quote(security)} is not valid{did_you_mean(security, _SECURITIES)}"
        )
    mounts = flags.all("mount")
    for mount in mounts:
        mount_source(mount)
    return Run(
        origin=statement.origin,
        command=_command(statement),
        mounts=mounts,
        network=network or "default",
        security=security or "sandbox",
        devices=flags.all("device"),
    )


def _copied(statement: Statement) -> tuple[tuple[str, ...], tuple[Heredoc, ...], str]:
    """Return the source paths, source documents and destination of COPY or ADD."""
    words = statement.line.words
    if len(words) < 2:
        raise DockerfileSyntaxError(
            f"{statement.line.name} requires at least two arguments, but only one was provided. "
            "Destination could not be determined"
        )
    *sources, destination = words
    by_name = {heredoc.name: heredoc for heredoc in statement.heredocs}
    if not by_name:
        return tuple(sources), (), destination
    paths: list[str] = []
    documents: list[Heredoc] = []
    for source in sources:
        word = heredoc_word(source)
        if word is not None and word.name in by_name:
            documents.append(by_name[word.name])
        else:
            paths.append(source)
    if heredoc_word(destination) is not None:
        raise DockerfileSyntaxError(
            f"{statement.line.name} cannot accept a heredoc as a destination",
            hint="Put the destination path last.",
        )
    return tuple(paths), tuple(documents), destination


def _copy(statement: Statement) -> Copy:
    sources, heredocs, destination = _copied(statement)
    flags = _flags(statement)
    return Copy(
        origin=statement.origin,
        sources=sources,
        heredocs=heredocs,
        destination=destination,
        from_=flags.text("from") or None,
        chown=flags.text("chown") or None,
        chmod=flags.text("chmod") or None,
        link=flags.switch("link") or False,
        parents=flags.switch("parents") or False,
        exclude=flags.all("exclude"),
    )


def _add(statement: Statement) -> Add:
    sources, heredocs, destination = _copied(statement)
    flags = _flags(statement)
    return Add(
        origin=statement.origin,
        sources=sources,
        heredocs=heredocs,
        destination=destination,
        chown=flags.text("chown") or None,
        chmod=flags.text("chmod") or None,
        link=flags.switch("link") or False,
        exclude=flags.all("exclude"),
        keep_git_dir=flags.switch("keep-git-dir"),
        checksum=flags.text("checksum") or None,
        unpack=flags.switch("unpack"),
    )


def _pairs(statement: Statement) -> tuple[tuple[tuple[str, str], ...], bool]:
    """Return the key-value pairs of ENV or LABEL, and whether they are in the legacy form."""
    _flags(statement)
    words = list(_at_least_one(statement))
    if not all(words[0::3]):
        raise DockerfileSyntaxError(f"{statement.line.name} names can not be blank")
    return tuple(zip(words[0::3], words[1::3], strict=True)), not all(words[2::3])


def _env(statement: Statement) -> Env:
    pairs, legacy = _pairs(statement)
    return Env(origin=statement.origin, pairs=pairs, legacy=legacy)


def _label(statement: Statement) -> Label:
    pairs, legacy = _pairs(statement)
    return Label(origin=statement.origin, pairs=pairs, legacy=legacy)


def _arg(statement: Statement) -> Arg:
    pairs: list[tuple[str, str | None]] = []
    for word in _at_least_one(statement):
        name, equals, default = word.partition("=")
        if not name:
            raise DockerfileSyntaxError("ARG names can not be blank")
        pairs.append((name, default if equals else None))
    return Arg(origin=statement.origin, pairs=tuple(pairs))


def _workdir(statement: Statement) -> Workdir:
    return Workdir(path=_exactly_one(statement), origin=statement.origin)


def _user(statement: Statement) -> User:
    return User(user=_exactly_one(statement), origin=statement.origin)


def _maintainer(statement: Statement) -> Maintainer:
    return Maintainer(name=_exactly_one(statement), origin=statement.origin)


def _stop_signal(statement: Statement) -> StopSignal:
    words = statement.line.words
    if len(words) != 1:
        raise DockerfileSyntaxError("STOPSIGNAL requires exactly one argument")
    return StopSignal(signal=words[0], origin=statement.origin)


def _expose(statement: Statement) -> Expose:
    ports = tuple(sorted(_at_least_one(statement)))
    _flags(statement)
    return Expose(ports=ports, origin=statement.origin)


def _volume(statement: Statement) -> Volume:
    _flags(statement)
    paths = tuple(path.strip(SPACE) for path in _at_least_one(statement))
    if not all(paths):
        raise DockerfileSyntaxError("VOLUME specified can not be an empty string")
    return Volume(paths=paths, origin=statement.origin)


def _cmd(statement: Statement) -> Cmd:
    _flags(statement)
    return Cmd(command=_command(statement), origin=statement.origin)


def _entrypoint(statement: Statement) -> Entrypoint:
    _flags(statement)
    return Entrypoint(command=_command(statement), origin=statement.origin)


def _shell(statement: Statement) -> Shell:
    _flags(statement)
    args = _at_least_one(statement)
    if not statement.line.json:
        raise DockerfileSyntaxError(
            "SHELL requires the arguments to be in JSON form",
            hint='Write for example SHELL ["/bin/bash", "-c"].',
        )
    return Shell(args=args, origin=statement.origin)


def _healthcheck(statement: Statement) -> Healthcheck:
    kind, *command = _at_least_one(statement)
    name = kind.upper()
    if name == "NONE":
        if command:
            raise DockerfileSyntaxError("HEALTHCHECK NONE takes no arguments")
        return Healthcheck(test=("NONE",), origin=statement.origin)
    flags = _flags(statement)
    if name != "CMD":
        raise DockerfileSyntaxError(f"Unknown type {go_quote(name)} in HEALTHCHECK (try CMD)")
    if not command:
        raise DockerfileSyntaxError("Missing command after HEALTHCHECK CMD")
    return Healthcheck(
        origin=statement.origin,
        test=("CMD" if statement.line.json else "CMD-SHELL", *command),
        interval_ns=_interval(flags, "interval"),
        timeout_ns=_interval(flags, "timeout"),
        start_period_ns=_interval(flags, "start-period"),
        start_interval_ns=_interval(flags, "start-interval"),
        retries=_retries(flags),
    )


def _interval(flags: FlagValues, name: str) -> int:
    text = flags.text(name)
    duration = parse_duration(text) if text else 0
    if duration != 0 and duration < _MIN_DURATION_NS:
        raise DockerfileSyntaxError(f"Interval {go_quote(name)} cannot be less than 1ms")
    return duration


def _retries(flags: FlagValues) -> int:
    text = flags.text("retries")
    if not text:
        return 0
    digits = text[1:] if text[0] in "+-" else text
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > 10 or int(digits) >= 1 << 31:
        raise DockerfileSyntaxError(f"invalid value for --retries: {text}")
    retries = int(text)
    if retries < 0:
        raise DockerfileSyntaxError(f"--retries cannot be negative ({retries})")
    return retries


def _onbuild(statement: Statement) -> OnBuild:
    inner = statement.line.trigger
    if inner is None:
        raise DockerfileSyntaxError("ONBUILD requires at least one argument")
    _flags(statement)
    if inner.name == "ONBUILD":
        raise DockerfileSyntaxError("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if inner.name in _NO_TRIGGERS:
        raise DockerfileSyntaxError(f"{inner.name} isn't allowed as an ONBUILD trigger")
    trigger = statement.origin.text.lstrip(SPACE)[len(statement.origin.keyword) :].lstrip(SPACE)
    trigger += "".join(f"\n{heredoc.body}{heredoc.name}" for heredoc in statement.heredocs)
    return OnBuild(trigger=trigger, origin=statement.origin)


_PARSERS: dict[str, Callable[[Statement], AnyInstruction]] = {
    "ADD": _add,
    "ARG": _arg,
    "CMD": _cmd,
    "COPY": _copy,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "FROM": _from,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "MAINTAINER": _maintainer,
    "ONBUILD": _onbuild,
    "RUN": _run,
    "SHELL": _shell,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
