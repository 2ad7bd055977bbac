"""What a command gets from the program around it: settings, environment, engine, progress.

Imports of other rooms are inside the functions: ``imagekit version`` comes through here.
"""

import sys
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from imagekit.config import ProgressMode, Settings, process_environment

if TYPE_CHECKING:
    from imagekit.base.clock import Clock
    from imagekit.base.events import Event, EventSink
    from imagekit.cli.progress import Progress
    from imagekit.engine import Engine

EngineFactory = Callable[[Settings, "EventSink"], "Engine"]


def open_engine(settings: Settings, events: "EventSink") -> "Engine":
    """Return the real engine; the import costs, so commands that need none never come here."""
    from imagekit.engine import Engine

    return Engine(settings, events=events)


class Launch:
    """The surroundings of one invocation; tests pass their own as click's ``obj``."""

    def __init__(
        self,
        *,
        environ: Mapping[str, str] | None = None,
        make_engine: EngineFactory = open_engine,
        clock: "Clock | None" = None,
    ) -> None:
        self.environ = process_environment() if environ is None else environ
        self.make_engine = make_engine
        self.clock = clock


class Session:
    """A launch together with its settings, made by the top-level group for its commands."""

    def __init__(self, *, settings: Settings, launch: Launch) -> None:
        self.settings = settings
        self.launch = launch

    @property
    def environ(self) -> Mapping[str, str]:
        """The environment of the invocation."""
        return self.launch.environ

    @property
    def clock(self) -> "Clock":
        """The time, for ages."""
        from imagekit.base.clock import SystemClock

        return self.launch.clock or SystemClock()

    def engine(self, events: "EventSink | None" = None) -> "Engine":
        """Return an engine that the caller closes (a context manager)."""
        from imagekit.base.events import ignore_events

        return self.launch.make_engine(self.settings, events or ignore_events)

    def progress(self, flag: str | None = None, *, quiet: bool = False) -> "Progress":
        """Return what shows a build; ``flag`` is the command's own ``--progress``."""
        from imagekit.cli.progress import make_progress
        from imagekit.cli.render import error_terminal_size

        return make_progress(
            self.mode(flag),
            sys.stderr,
            color=self.settings.color,
            size=error_terminal_size,
            quiet=quiet,
        )

    def transfers(self, flag: str | None = None, *, quiet: bool = False) -> "Progress":
        """Return what shows a push, a pull, a save or a load; it costs nothing until one begins."""
        return LateProgress(lambda: self._make_transfers(flag, quiet=quiet))

    def checks(self, flag: str | None) -> "Progress":
        """Return what shows a check of the store: on a terminal, or if somebody asks for it."""
        wants = self.mode(flag) is not ProgressMode.AUTO
        return self.transfers(flag, quiet=not (wants or sys.stderr.isatty()))

    def _make_transfers(self, flag: str | None, *, quiet: bool) -> "Progress":
        from imagekit.cli.transfers import make_transfer_progress

        return make_transfer_progress(
            self.mode(flag), sys.stderr, color=self.settings.color, quiet=quiet
        )

    def mode(self, flag: str | None) -> ProgressMode:
        """Return how to show progress; a command's own flag counts more than the settings."""
        return ProgressMode(flag) if flag else self.settings.progress


class LateProgress:
    """A renderer that is made when there is a first event: most runs fetch no image."""

    def __init__(self, make: "Callable[[], Progress]") -> None:
        self._make = make
        self._made: Progress | None = None
        self._lock = threading.Lock()

    def __call__(self, event: "Event", /) -> None:
        """Hand an event on."""
        with self._lock:
            if self._made is None:
                self._made = self._make()
                self._made.__enter__()
        self._made(event)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._made is not None:
            self._made.__exit__(kind, error, traceback)
