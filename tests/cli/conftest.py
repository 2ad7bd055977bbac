"""A fake engine that remembers what it was asked, and a way to run the command line with it."""

import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import pytest
from click.testing import CliRunner, Result

from imagekit.base.clock import FixedClock
from imagekit.base.events import EventSink
from imagekit.cli.app import cli
from imagekit.cli.session import EngineFactory, Launch
from imagekit.config import Settings
from tests.cli.program import Program

NOW = datetime(2026, 2, 1, 12, 0, 0, tzinfo=UTC)


@dataclasses.dataclass
class FakeEngine:
    """Records calls as (name, args, kwargs); ``answers`` holds values, errors or functions."""

    answers: dict[str, Any] = dataclasses.field(default_factory=dict)
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = dataclasses.field(
        default_factory=list
    )
    settings: Settings | None = None
    events: EventSink | None = None
    closed: bool = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.closed = True

    @property
    def containers(self) -> "FakePart":
        return FakePart(self, "containers.")

    def __getattr__(self, name: str) -> Any:
        return getattr(FakePart(self, ""), name)

    def only_call(self, name: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        found = [(args, kwargs) for called, args, kwargs in self.calls if called == name]
        assert len(found) == 1, self.calls
        return found[0]


@dataclasses.dataclass
class FakePart:
    engine: FakeEngine
    prefix: str

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        full = f"{self.prefix}{name}"

        def call(*args: Any, **kwargs: Any) -> Any:
            self.engine.calls.append((full, args, kwargs))
            answer = self.engine.answers.get(full)
            if isinstance(answer, BaseException):
                raise answer
            return answer(*args, **kwargs) if callable(answer) else answer

        return call


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


Invoke = Callable[..., Result]


@pytest.fixture
def invoke(engine: FakeEngine, tmp_path: Path) -> Invoke:
    """Run ``imagekit ARGS`` with the fake engine; ``environ`` and ``stdin`` as keywords."""

    def open_fake(settings: Settings, events: EventSink) -> FakeEngine:
        engine.settings, engine.events = settings, events
        return engine

    def run(
        *args: str, environ: Mapping[str, str] | None = None, stdin: str | bytes | None = None
    ) -> Result:
        launch = Launch(
            environ={"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), **(environ or {})},
            make_engine=cast("EngineFactory", open_fake),
            clock=FixedClock(NOW),
        )
        return CliRunner().invoke(cli, list(args), obj=launch, input=stdin, prog_name="imagekit")

    return run


@pytest.fixture
def imagekit(tmp_path: Path) -> Iterator[Program]:
    program = Program(tmp_path)
    yield program
    ids = program("ps", "-aq").stdout.split() if (tmp_path / "store").exists() else []
    if ids:
        program("rm", "-f", *ids)


@pytest.fixture
def base(imagekit: Program, busybox: Path, tmp_path: Path) -> str:
    binaries = tmp_path / "root" / "bin"
    binaries.mkdir(parents=True)
    shutil.copy(busybox, binaries / "busybox")
    for name in ("sh", "cat", "dd", "echo", "sleep", "true", "false"):
        (binaries / name).symlink_to("busybox")
    result = imagekit("import", "-c", "ENV PATH=/bin", "root", "base:1")
    assert result.returncode == 0, result.stderr
    return "base:1"
