"""The third look: the instructions of the stages that are built, with the variables they see.

Source: BuildKit frontend/dockerfile/dockerfile2llb/convert.go (dispatch and its functions),
convert_copy.go, convert_expose.go; validations.go.
"""

import csv
import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from imagekit.dockerfile.chmod import parse_chmod
from imagekit.dockerfile.document import Dockerfile, Stage
from imagekit.dockerfile.errors import DockerfileError, DockerfileSyntaxError, Span
from imagekit.dockerfile.instructions import (
    Add,
    AnyInstruction,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Label,
    Run,
    Shell,
    ShellForm,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from imagekit.dockerfile.lint import rules
from imagekit.dockerfile.lint.copying import check_checksum, check_sources
from imagekit.dockerfile.lint.scope import Expanded, expand_document_watched, expand_watched
from imagekit.dockerfile.lint.settings import BaseImage, LintSettings
from imagekit.dockerfile.lint.written import Checks
from imagekit.dockerfile.mounts import resolve_mount
from imagekit.dockerfile.ports import parse_port
from imagekit.dockerfile.quoting import go_quote
from imagekit.dockerfile.stages import instruction_dependencies
from imagekit.dockerfile.suggestions import nearest
from imagekit.dockerfile.values import parse_signal
from imagekit.dockerfile.words import expand_words

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_WINDOWS = "windows"
_NEVER_IN_ENVIRONMENT = ("BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE")
_PROTOCOLS = ("", "tcp", "udp", "sctp")
_SECRET = re.compile(
    r"(?:_|^)(?:apikey|auth|credential|credentials|key|password|pword|passwd|secret|token)(?:_|\Z)",
    re.IGNORECASE,
)
_NO_SECRET = re.compile(r"(?:_|^)(?:public|file|version)(?:_|\Z)", re.IGNORECASE)


@dataclass(slots=True)
class StageState:
    """What a stage knows at one point. ``environment`` has the last one set at its end.

    ``system`` is what the stage is built for; ``declared`` are the names of ARG so far, ``earlier``
    the places of the instructions of which the last one counts.
    """

    system: str

    environment: dict[str, str] = field(default_factory=dict)
    declared: dict[str, None] = field(default_factory=dict)
    has_shell: bool = False
    workdir: str = "/"
    has_workdir: bool = False
    earlier: dict[str, Span] = field(default_factory=dict)

    @classmethod
    def on_image(cls, image: BaseImage | None, system: str) -> "StageState":
        """Return the state at the beginning of a stage that starts from an image."""
        image = image or BaseImage()
        state = cls(system, has_shell=bool(image.shell), workdir=image.workdir or "/")
        for name, value in image.env:
            state.set(name, value)
        if system != _WINDOWS:
            state.environment.setdefault("PATH", _DEFAULT_PATH)
        return state

    def child(self) -> "StageState":
        """Return the state at the beginning of a stage that starts from this one."""
        return StageState(
            self.system,
            environment=dict(self.environment),
            declared=dict(self.declared),
            has_shell=self.has_shell,
            workdir=self.workdir,
            has_workdir=self.has_workdir,
        )

    def set(self, name: str, value: str) -> None:
        """Set a variable; suggestions prefer what was set first."""
        self.environment.pop(name, None)
        self.environment[name] = value


class StageWalk:
    """Walks over the instructions of one stage."""

    def __init__(
        self,
        dockerfile: Dockerfile,
        stage: Stage,
        state: StageState,
        *,
        scope: Mapping[str, str],
        settings: LintSettings,
        checks: Checks,
    ) -> None:
        self._dockerfile = dockerfile
        self._stage = stage
        self._state = state
        self._scope = scope
        self._settings = settings
        self._all_checks = checks
        self._checks = checks
        self._escape = dockerfile.escape

    def run(self, instructions: Iterable[AnyInstruction]) -> None:
        """Look at ``instructions`` in order.

        Raises:
            DockerfileError: an instruction cannot be carried out; what is behind it is not seen.
        """
        for item in instructions:
            self._checks = self._all_checks.above(item.origin.comments)
            try:
                self._look_at(item)
            except DockerfileError as error:
                raise error.located(item.span) from error.__cause__

    def _look_at(self, item: AnyInstruction) -> None:
        match item:
            case Env() | Label():
                self._pairs(item)
            case Arg():
                self._arg(item)
            case Run():
                self._run(item)
            case Copy() | Add():
                self._copied(item)
            case Workdir():
                self._workdir(item)
            case Cmd() | Entrypoint() | Healthcheck():
                self._counted_once(item)
            case Shell():
                self._state.has_shell = True
            case Expose():
                self._expose(item)
            case User():
                self._word(item.user, item)
            case Volume():
                paths = [self._word(path, item) for path in item.paths]
                if "" in paths:
                    raise DockerfileSyntaxError("VOLUME specified can not be an empty string")
            case StopSignal():
                parse_signal(self._word(item.signal, item))
            case _:
                pass

    def _report(self, rule: rules.Rule, item: AnyInstruction, message: str) -> None:
        self._checks.report(rule, item.span, message)

    def _word(self, word: str, item: AnyInstruction) -> str:
        value = expand_watched(word, self._state.environment, escape=self._escape)
        return self._checked(value, item)

    def _checked(self, value: Expanded, item: AnyInstruction) -> str:
        for name in value.undefined:
            if name in self._state.declared or name in _NEVER_IN_ENVIRONMENT:
                continue
            close = nearest(name, self._state.environment)
            suggestion = "" if close is None else f" (did you mean ${close}?)"
            self._report(
                rules.UNDEFINED_VAR, item, f"Usage of undefined variable '${name}'{suggestion}"
            )
        if value.error is not None:
            raise value.error
        return value.text

    def _pairs(self, item: Env | Label) -> None:
        pairs = [(self._word(key, item), self._word(value, item)) for key, value in item.pairs]
        keyword = item.origin.keyword
        for key, value in pairs:
            if item.legacy:
                self._report(
                    rules.LEGACY_KEY_VALUE_FORMAT,
                    item,
                    f'"{keyword} key=value" should be used instead of legacy '
                    f'"{keyword} key value" format',
                )
            if isinstance(item, Env):
                self._check_secret("ENV", key, item)
                self._state.set(key, value)

    def _arg(self, item: Arg) -> None:
        for name, default in item.pairs:
            self._check_secret("ARG", name, item)
            value = self._settings.build_args.get(name)
            if value is None and default is not None:
                value = self._word(default, item)
            elif value is None:
                value = self._scope.get(name)
            if value is not None and name not in _NEVER_IN_ENVIRONMENT:
                self._state.set(name, value)
            self._state.declared[name] = None

    def _check_secret(self, instruction: str, name: str, item: AnyInstruction) -> None:
        if _SECRET.search(name) and not _NO_SECRET.search(name):
            self._report(
                rules.SECRETS_USED_IN_ARG_OR_ENV,
                item,
                f"Do not use ARG or ENV instructions for sensitive data ({instruction} "
                f"{go_quote(name)})",
            )

    def _run(self, item: Run) -> None:
        environment, workdir = self._state.environment, self._state.workdir
        for mount in item.mounts:
            for text in _fields(mount):
                if "$" in text:
                    self._word(text.partition("=")[2], item)
            resolve_mount(mount, environment, workdir=workdir, escape=self._escape)
        self._check_order(item)

    def _copied(self, item: Copy | Add) -> None:
        self._word(item.chown or "", item)
        mode = self._word(item.chmod or "", item)
        checksum = self._word(item.checksum or "", item) if isinstance(item, Add) else ""
        sources = [self._word(source, item) for source in item.sources]
        self._word(item.destination, item)
        for heredoc in item.heredocs:
            if heredoc.expand:
                value = expand_document_watched(heredoc.content, self._state.environment)
                self._checked(value, item)
        self._check_order(item)
        if mode:
            parse_chmod(mode)
        if checksum:
            check_checksum(sources)
        check_sources(item, sources, self._settings.ignore, self._checks)

    def _check_order(self, item: AnyInstruction) -> None:
        instruction_dependencies(self._dockerfile, self._stage, (item,))

    def _workdir(self, item: Workdir) -> None:
        path = self._word(item.path, item)
        if not self._state.has_workdir and not _is_absolute(path, self._state.system):
            self._report(
                rules.WORKDIR_RELATIVE_PATH,
                item,
                f"Relative workdir {go_quote(path)} can have unexpected results if the base image "
                "changes",
            )
        self._state.has_workdir = True
        self._state.workdir = posixpath.join(self._state.workdir, path)

    def _counted_once(self, item: Cmd | Entrypoint | Healthcheck) -> None:
        earlier = self._state.earlier.get(item.NAME)
        if earlier is not None:
            self._checks.report(
                rules.MULTIPLE_INSTRUCTIONS_DISALLOWED,
                earlier,
                f"Multiple {item.origin.keyword} instructions should not be used in the same stage "
                "because only the last one will be used",
            )
        self._state.earlier[item.NAME] = item.span
        is_text = not isinstance(item, Healthcheck) and isinstance(item.command, ShellForm)
        if is_text and not self._state.has_shell:
            self._report(
                rules.JSON_ARGS_RECOMMENDED,
                item,
                f"JSON arguments recommended for {item.origin.keyword} to prevent unintended "
                "behavior related to OS signals",
            )

    def _expose(self, item: Expose) -> None:
        environment = self._state.environment
        words = [
            word
            for port in item.ports
            for word in expand_words(port, environment, escape=self._escape)
        ]
        for word in words:
            *mapping, container = word.split(":")
            port, _, protocol = container.partition("/")
            if port and protocol.lower() in _PROTOCOLS:
                if protocol != protocol.lower():
                    self._report(
                        rules.EXPOSE_PROTO_CASING,
                        item,
                        f"Defined protocol '{word}' in EXPOSE instruction should be lowercase",
                    )
                if ":".join(mapping[:-1]) or "".join(mapping[-1:]):
                    self._report(
                        rules.EXPOSE_INVALID_FORMAT,
                        item,
                        "EXPOSE instruction should not define an IP address or host-port mapping, "
                        f"found '{word}'",
                    )
            parse_port(word)


def _is_absolute(path: str, system: str) -> bool:
    if system == _WINDOWS:
        path = path[2:] if path[:2].lower() == "c:" else path
        path = path.replace("\\", "/")
    return path.startswith("/")


def _fields(mount: str) -> list[str]:
    """The ``key=value`` texts of a mount; what is malformed is told by ``resolve_mount``."""
    return next(csv.reader([mount]), []) if '"' in mount else mount.split(",")
