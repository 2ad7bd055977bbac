"""From the instructions of a stage to steps: everything that can be known before anything runs.

Walking the instructions expands their words, carries out what only changes the config, and turns
the rest into operations. Nothing here touches a file.

Source: BuildKit frontend/dockerfile/dockerfile2llb (created_by strings, config effects).
"""

import posixpath
from collections.abc import Mapping

import msgspec

from imagekit.build.cachekey import printable
from imagekit.build.environment import StageEnvironment, proxy_arguments
from imagekit.build.errors import UnsupportedError
from imagekit.build.operations import (
    CopyOperation,
    Document,
    Operation,
    RunOperation,
    Step,
    WorkdirOperation,
)
from imagekit.dockerfile.document import Dockerfile, Stage
from imagekit.dockerfile.errors import DockerfileError, ValueFormatError
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
    StopSignal,
    User,
    Volume,
    Workdir,
)
from imagekit.dockerfile.ports import parse_port
from imagekit.dockerfile.quoting import go_quote_list
from imagekit.dockerfile.stages import resolve_copy_source
from imagekit.dockerfile.values import format_duration, parse_signal
from imagekit.dockerfile.words import expand_document, expand_words
from imagekit.oci import image_config
from imagekit.oci.image_config import ContainerConfig

DEFAULT_SHELL = ("/bin/sh", "-c")


class StageState(msgspec.Struct):
    """What the instructions of a stage change, besides files."""

    config: ContainerConfig
    environment: StageEnvironment
    author: str = ""
    has_cmd: bool = False

    def child(self) -> "StageState":
        """Return the state in which a stage based on this one begins."""
        return StageState(
            config=msgspec.structs.replace(self.config, on_build=None),
            environment=self.environment.child(),
            author=self.author,
        )


class PlanInputs(msgspec.Struct, frozen=True, kw_only=True):
    """What planning needs besides the stage."""

    dockerfile: Dockerfile
    build_args: Mapping[str, str]
    global_args: Mapping[str, str | None]
    named_contexts: frozenset[str] = frozenset()


def plan_stage(
    stage: Stage, instructions: tuple[AnyInstruction, ...], state: StageState, inputs: PlanInputs
) -> tuple[Step, ...]:
    """Return the steps of a stage and leave its final config in ``state``.

    ``instructions`` are the triggers of the base, then the stage's own.

    Raises:
        DockerfileError: with the span of the instruction that cannot be carried out.

    """
    planner = _Planner(stage, state, inputs)
    steps = []
    for instruction in instructions:
        try:
            steps.append(planner.plan(instruction))
        except DockerfileError as error:
            raise error.located(instruction.span) from error
    state.config = msgspec.structs.replace(state.config, env=state.environment.image_env())
    return tuple(steps)


class _Planner:
    def __init__(self, stage: Stage, state: StageState, inputs: PlanInputs) -> None:
        self._stage = stage
        self._state = state
        self._inputs = inputs

    def plan(self, instruction: AnyInstruction) -> Step:
        """Carry out one instruction on the state and return its step."""
        created_by, operation = self._dispatch(instruction)
        return Step(
            text=_one_line(instruction.source),
            span=instruction.span,
            created_by=created_by,
            operation=operation,
        )

    def _dispatch(self, item: AnyInstruction) -> tuple[str | None, Operation | None]:
        match item:
            case Run():
                return self._run(item)
            case Copy() | Add():
                return self._copy(item)
            case Workdir():
                return self._workdir(item)
            case Env():
                pairs = self._state.environment.set_env(item.pairs)
                return f"ENV {_join_pairs(pairs)}", None
            case Arg():
                return self._arg(item), None
            case Label():
                return self._label(item), None
            case Cmd() | Entrypoint():
                return self._command(item), None
            case From():
                raise UnsupportedError("FROM inside a stage", span=item.span)
            case _:
                return self._config_only(item), None

    def _config_only(
        self, item: User | Expose | Volume | Shell | StopSignal | Healthcheck | OnBuild | Maintainer
    ) -> str | None:
        match item:
            case User():
                user = self._expand(item.user)
                self._change(user=user)
                return f"USER {user}"
            case Expose():
                return self._expose(item)
            case Volume():
                return self._volume(item)
            case Shell():
                self._change(shell=item.args)
                return f"SHELL [{' '.join(item.args)}]"
            case StopSignal():
                signal = self._expand(item.signal)
                parse_signal(signal)
                self._change(stop_signal=signal)
                return f"STOPSIGNAL {signal}"
            case Healthcheck():
                return self._healthcheck(item)
            case OnBuild():
                self._change(on_build=(*(self._state.config.on_build or ()), item.trigger))
                return None
            case Maintainer():
                self._state.author = item.name
                return f"MAINTAINER {item.name}"

    def _run(self, item: Run) -> tuple[str, Operation]:
        environment = self._state.environment
        shell = self._state.config.shell or DEFAULT_SHELL
        script = None
        command = item.command
        if isinstance(command, ExecForm):
            argv = command.args
        elif command.script is not None:
            script = _script(command.script)
            argv = (*shell, f"/dev/pipes/{command.script.name}")
        else:
            argv = (*shell, command.shell_text)
        created_by = f"RUN {environment.run_prefix()}{' '.join(argv)} # buildkit"
        proxies = proxy_arguments(self._inputs.build_args)
        names = {key for key, _, _ in (pair.partition("=") for pair in environment.run_env())}
        extra = tuple(f"{key}={value}" for key, value in proxies.items() if key not in names)
        operation = RunOperation(
            instruction=item,
            argv=argv,
            key_env=environment.run_env(),
            run_env=(*environment.run_env(), *extra),
            build_env=tuple(environment.build.items()),
            cwd=self._state.config.working_dir or "/",
            user=self._state.config.user,
            script=script,
        )
        return created_by, operation

    def _copy(self, item: Copy | Add) -> tuple[str, Operation]:
        expand = self._expand
        environment = self._state.environment
        written = expand(item.destination)
        sources = tuple(map(expand, item.sources))
        owner = expand(item.chown) if item.chown is not None else None
        mode = expand(item.chmod) if item.chmod is not None else None
        is_add = isinstance(item, Add)
        if isinstance(item, Add) and any(map(_is_git, sources)):
            raise UnsupportedError(
                "ADD of a git repository is not supported yet",
                span=item.span,
                hint="Clone it in a RUN step, or before the build into the context.",
            )
        documents = tuple(_document(heredoc, environment.build) for heredoc in item.heredocs)
        flags = " ".join(
            flag
            for flag in (
                "--parents" if isinstance(item, Copy) and item.parents else "",
                f"--chown={owner}" if owner is not None else "",
                f"--chmod={mode}" if mode is not None else "",
            )
            if flag
        )
        names = " ".join((*sources, *(f"<<{document.name}" for document in documents)))
        words = " ".join(part for part in (flags, names, written) if part)
        created_by = f"{'ADD' if is_add else 'COPY'} {words} # buildkit"
        from_stage, from_name = self._copy_source(item)
        return created_by, CopyOperation(
            sources=sources,
            documents=documents,
            destination=self._destination(written),
            from_stage=from_stage,
            from_name=from_name,
            owner=owner,
            mode=mode,
            exclude=item.exclude,
            link=item.link and mode is None,
            parents=isinstance(item, Copy) and item.parents,
            is_add=is_add,
            unpack=item.unpack if isinstance(item, Add) else None,
            checksum=expand(item.checksum) if isinstance(item, Add) and item.checksum else None,
        )

    def _copy_source(self, item: Copy | Add) -> tuple[int | None, str | None]:
        if not isinstance(item, Copy) or not item.from_:
            return None, None
        if item.from_ in self._inputs.named_contexts:
            return None, item.from_
        stage = resolve_copy_source(self._inputs.dockerfile, item.from_, span=item.span)
        return (None, item.from_) if stage is None else (stage.index, None)

    def _destination(self, written: str) -> str:
        base = self._state.config.working_dir or "/"
        path = posixpath.normpath(posixpath.join("/", base, written))
        path = "/" + path.lstrip("/")
        is_directory = written.endswith(("/", "/.", "/..")) or written in ("", ".", "..")
        return f"{path}/" if is_directory and path != "/" else path

    def _workdir(self, item: Workdir) -> tuple[str, Operation | None]:
        path = self._expand(item.path)
        current = self._state.config.working_dir or "/"
        if not path:
            path = current
        elif not path.startswith("/"):
            path = posixpath.normpath(posixpath.join("/", current, path))
        self._change(working_dir=path)
        created_by = f"WORKDIR {path}"
        clean = "/" + posixpath.normpath(path).lstrip("/")
        if clean == "/":
            return created_by, None
        return created_by, WorkdirOperation(path=clean, user=self._state.config.user)

    def _arg(self, item: Arg) -> str:
        shown = []
        for name, default in item.pairs:
            value = self._state.environment.declare(
                name,
                default,
                build_args=self._inputs.build_args,
                global_args=self._inputs.global_args,
            )
            shown.append(name if value is None else f"{name}={value}")
        return f"ARG {' '.join(shown)}"

    def _label(self, item: Label) -> str:
        pairs = tuple((self._expand(key), self._expand(value)) for key, value in item.pairs)
        self._change(labels={**(self._state.config.labels or {}), **dict(pairs)})
        return f"LABEL {_join_pairs(pairs)}"

    def _command(self, item: Cmd | Entrypoint) -> str:
        argv = self._argv(item.command)
        if isinstance(item, Cmd):
            self._change(cmd=argv, args_escaped=True)
            self._state.has_cmd = True
            return f"CMD {go_quote_list(argv)}"
        self._change(entrypoint=argv or None)
        if not self._state.has_cmd:
            self._change(cmd=None)
        return f"ENTRYPOINT {go_quote_list(argv)}"

    def _argv(self, command: Command) -> tuple[str, ...]:
        if isinstance(command, ExecForm):
            return command.args
        return (*(self._state.config.shell or DEFAULT_SHELL), command.text)

    def _expose(self, item: Expose) -> str:
        environment = self._state.environment
        words = [
            word
            for port in item.ports
            for word in expand_words(port, environment.build, escape=environment.escape)
        ]
        ports = dict.fromkeys(port for word in words for port in parse_port(word).ports())
        self._change(
            exposed_ports={**(self._state.config.exposed_ports or {}), **{p: {} for p in ports}}
        )
        return f"EXPOSE [{' '.join(ports)}]"

    def _volume(self, item: Volume) -> str:
        paths = tuple(map(self._expand, item.paths))
        if not all(paths):
            raise ValueFormatError("VOLUME specified can not be an empty string")
        self._change(volumes={**(self._state.config.volumes or {}), **{p: {} for p in paths}})
        return f"VOLUME [{' '.join(paths)}]"

    def _healthcheck(self, item: Healthcheck) -> str:
        self._change(
            healthcheck=image_config.Healthcheck(
                test=item.test,
                interval_ns=item.interval_ns,
                timeout_ns=item.timeout_ns,
                start_period_ns=item.start_period_ns,
                start_interval_ns=item.start_interval_ns,
                retries=item.retries,
            )
        )
        shown = " ".join(
            f"{name}:{format_duration(value)}"
            for name, value in (
                ("Interval", item.interval_ns),
                ("Timeout", item.timeout_ns),
                ("StartPeriod", item.start_period_ns),
                ("StartInterval", item.start_interval_ns),
            )
        )
        return f"HEALTHCHECK {{Test:[{' '.join(item.test)}] {shown} Retries:{item.retries}}}"

    def _expand(self, word: str) -> str:
        return self._state.environment.expand(word)

    def _change(self, **changes: object) -> None:
        self._state.config = msgspec.structs.replace(self._state.config, **changes)


def _join_pairs(pairs: tuple[tuple[str, str], ...]) -> str:
    return " ".join(f"{key}={value}" for key, value in pairs)


def _one_line(text: str) -> str:
    line = " ".join(printable(text).split())
    return line if len(line) <= 200 else f"{line[:197]}..."


def _document(heredoc: Heredoc, environment: Mapping[str, str]) -> Document:
    text = heredoc.content
    if heredoc.expand:
        text = expand_document(text, environment)
    return Document(name=heredoc.name, content=text.encode(errors="surrogateescape"))


def _script(heredoc: Heredoc) -> Document:
    return Document(name=heredoc.name, content=heredoc.content.encode(errors="surrogateescape"))


def _is_git(source: str) -> bool:
    return source.startswith(("git@", "ssh://", "git://")) or (
        source.startswith(("http://", "https://")) and source.partition("#")[0].endswith(".git")
    )
