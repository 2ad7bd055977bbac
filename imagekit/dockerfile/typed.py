"""One statement to one checked instruction: arity, flags, forms.

Everything that BuildKit refuses in an unused stage is refused here, in its order; what it finds out
while it expands (bad substitutions, mount keys, modes) is left to who executes the instruction.

Source: Dockerfile reference; BuildKit frontend/dockerfile/instructions/parse.go.
"""

from collections.abc import Callable

from imagekit.dockerfile.characters import SPACE
from imagekit.dockerfile.errors import DockerfileSyntaxError
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
from imagekit.dockerfile.statements import INSTRUCTION_NAMES, Statement

_NETWORKS = ("default", "none", "host")
_SECURITIES = ("sandbox", "insecure")
NO_TRIGGERS = ("FROM", "MAINTAINER")
"""What cannot stand behind ONBUILD; nor can ONBUILD itself."""
_STAGE_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")


class UnknownInstructionError(DockerfileSyntaxError):
    """No instruction has this name."""


def typed(statement: Statement) -> AnyInstruction:
    """Return the instruction that a statement is.

    Raises:
        DockerfileError: it is unknown or malformed. The error has no span yet.
    """
    parser = _PARSERS.get(statement.line.name)
    if parser is None:
        from imagekit.dockerfile.suggestions import did_you_mean

        keyword = statement.origin.keyword
        is_upper = keyword == keyword.upper()
        names = INSTRUCTION_NAMES if is_upper else map(str.lower, INSTRUCTION_NAMES)
        known = did_you_mean(keyword if is_upper else keyword.lower(), names)
        raise UnknownInstructionError(f"unknown instruction: {keyword}{known}")
    return parser(statement)


def _quoted(text: str) -> str:
    from imagekit.dockerfile.quoting import go_quote

    return go_quote(text)


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
    document: Heredoc | None = None
    if heredocs:
        from imagekit.dockerfile.heredocs import heredoc_word

        document = heredocs[0] if heredoc_word(text) is not None else None
    return ShellForm(text=text, heredocs=heredocs, document=document)


def _from(statement: Statement) -> From:
    words = list(statement.line.words)
    alias: str | None = None
    if len(words) == 3 and words[1].lower() == "as":
        alias = words[2]
        name = alias.lower()
        if not ("a" <= name[0] <= "z" and _STAGE_NAME_CHARACTERS.issuperset(name)):
            raise DockerfileSyntaxError(
                f"invalid name for build stage: {_quoted(alias)}, name can't start with a number "
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
    mounts = flags.all("mount")
    if mounts:
        from imagekit.dockerfile.mount_fields import mount_source

        for mount in mounts:
            mount_source(mount)
    network = flags.text("network")
    if network is not None and network not in _NETWORKS:
        raise DockerfileSyntaxError(
            f"invalid network mode {_quoted(network)}",
            hint=f"Choose one of: {', '.join(_NETWORKS)}.",
        )
    security = flags.text("security")
    if security is not None and security not in _SECURITIES:
        raise DockerfileSyntaxError(
            f"security {_quoted(security)} is not valid",
            hint=f"Choose one of: {', '.join(_SECURITIES)}.",
        )
    return Run(
        origin=statement.origin,
        command=_command(statement),
        mounts=mounts,
        network=network or "default",
        security=security or "sandbox",
        devices=flags.all("device"),
    )


def _copied(
    statement: Statement,
) -> tuple[FlagValues, tuple[str, ...], tuple[Heredoc, ...], str]:
    """Return the flags, source paths, source documents and destination of COPY or ADD."""
    words = statement.line.words
    name = statement.line.name
    if len(words) < 2:
        raise DockerfileSyntaxError(
            f"{name} requires at least two arguments, but only one was provided. "
            "Destination could not be determined"
        )
    flags = _flags(statement)
    *sources, destination = words
    if not any("<<" in word for word in words):
        return flags, tuple(sources), (), destination
    from imagekit.dockerfile.heredocs import heredoc_word

    if heredoc_word(destination) is not None:
        raise DockerfileSyntaxError(
            f"{name} cannot accept a heredoc as a destination",
            hint="Put the destination path last.",
        )
    by_name = {heredoc.name: heredoc for heredoc in statement.heredocs}
    paths: list[str] = []
    documents: list[Heredoc] = []
    for source in sources:
        word = heredoc_word(source)
        if word is None:
            paths.append(source)
            continue
        # A word that looks like a heredoc is one even where none was read, as in a JSON array.
        found = by_name.get(word.name)
        documents.append(
            Heredoc(
                name=word.name,
                body="" if found is None else found.body,
                expand=word.expand,
                strip_tabs=word.strip_tabs,
                span=None if found is None else found.span,
            )
        )
    return flags, tuple(paths), tuple(documents), destination


def _copy(statement: Statement) -> Copy:
    flags, sources, heredocs, destination = _copied(statement)
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
    flags, sources, heredocs, destination = _copied(statement)
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


def _health(statement: Statement) -> Healthcheck:
    from imagekit.dockerfile.health import healthcheck

    return healthcheck(statement)


def _onbuild(statement: Statement) -> OnBuild:
    inner = statement.line.trigger
    if inner is None:
        raise DockerfileSyntaxError("ONBUILD requires at least one argument")
    _flags(statement)
    if inner.name == "ONBUILD":
        raise DockerfileSyntaxError("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if inner.name in NO_TRIGGERS:
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
    "HEALTHCHECK": _health,
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
