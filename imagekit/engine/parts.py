"""What an engine is made of: each part is constructed when it is first needed."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Self

from imagekit.base.clock import Clock, SystemClock
from imagekit.base.errors import ImagekitError
from imagekit.base.events import EventSink, Notice, ignore_events
from imagekit.config import Settings, load_settings, process_environment
from imagekit.engine.files import open_source

if TYPE_CHECKING:
    from imagekit.containers.containers import Containers
    from imagekit.images.local import LocalImages
    from imagekit.oci.digest import Digest
    from imagekit.oci.image_config import ContainerConfig
    from imagekit.oci.reference import Reference
    from imagekit.registry.client import RegistryClient
    from imagekit.sandbox.helper import Helper
    from imagekit.sandbox.launcher import Launcher
    from imagekit.store.layout import Store


class Parts:
    """The parts, and their opening and closing. ``Engine`` has the words for what they do."""

    def __init__(
        self,
        settings: Settings,
        *,
        events: EventSink = ignore_events,
        clock: Clock | None = None,
    ) -> None:
        self._settings = settings
        self._events = events
        self._clock = clock or SystemClock()
        self._closing = contextlib.ExitStack()
        self._lock = threading.RLock()
        self._opened_store: Store | None = None
        self._helper: Helper | None = None
        self._made_launcher: Launcher | None = None
        self._made_containers: Containers | None = None
        self._has_warned = False

    @classmethod
    def open(cls, root: Path | None = None, *, events: EventSink = ignore_events) -> Self:
        """Return an engine with the user's settings, on another ``root`` if one is given."""
        settings = load_settings(process_environment())
        if root is not None:
            settings = settings._replace(root=root)
        return cls(settings, events=events)

    def close(self) -> None:
        """End what is still running for this engine and close the store; safe to repeat."""
        self._closing.close()

    def warm_up(self, *, starts: int | None = None) -> None:
        """Start the sandbox's helper now, so that its start-up passes during other work.

        Worth calling first by a program that is going to run something; ``starts`` is how many
        containers, where that is known.
        """
        with self._lock:
            if self._helper is None and self._made_launcher is None:
                from imagekit.sandbox.helper import Helper

                self._helper = Helper.start(starts=starts)
                self._closing.callback(self._end_helper)
            elif self._made_launcher is not None:
                self._made_launcher.warm_up()

    @property
    def containers(self) -> "Containers":
        """Run containers and work with those that there are."""
        with self._lock:
            if self._made_containers is None:
                from imagekit.containers.containers import Containers

                self._made_containers = Containers(
                    self._store,
                    self._images,
                    self._launcher,
                    self._events,
                    self._clock,
                    editor=_config_edit,
                    limits=self._settings.archive_limits,
                )
            return self._made_containers

    @property
    def _store(self) -> "Store":
        return self._open_store()

    def _open_store(self, *, spend_reserve: bool = False) -> "Store":
        with self._lock:
            if self._opened_store is None:
                from imagekit.store.layout import Store

                self._opened_store = Store.open(
                    self._settings.root, clock=self._clock, spend_reserve=spend_reserve
                )
                self._closing.callback(self._opened_store.close)
            return self._opened_store

    def _keep_within_limits(self, *spared: "Digest") -> None:
        """Make room if something new was stored; ``spared`` manifests may have no name and stay."""
        settings = self._settings
        if (settings.max_size is None and settings.cache_size is None) or not self._store.has_grown:
            return
        from imagekit.store.limits import Limits

        limits = Limits(max_bytes=settings.max_size, cache_bytes=settings.cache_size)
        try:
            warning = self._store.keep_within(limits, spared=spared)
        except ImagekitError as error:
            # What was asked for is done; that other content is damaged is no reason to fail it.
            warning = f"could not keep the store within its limit: {error.message}"
        if warning and not self._has_warned:
            self._has_warned = True
            self._events(Notice(message=warning))

    @property
    def _images(self) -> "LocalImages":
        from imagekit.images.local import LocalImages

        return LocalImages(self._store)

    def _launcher(self) -> "Launcher":
        with self._lock:
            if self._made_launcher is None:
                from imagekit.sandbox.launcher import Launcher

                self._made_launcher = Launcher(helper=self._helper)
                self._helper = None
                self._closing.callback(self._made_launcher.close)
            return self._made_launcher

    def _end_helper(self) -> None:
        """End a helper that no launcher has taken over."""
        if self._helper is not None:
            self._helper.end()

    @contextlib.contextmanager
    def _client(self, reference: "Reference | None", insecure: bool) -> Iterator["RegistryClient"]:  # noqa: FBT001
        from imagekit.registry.client import RegistryClient, RegistrySettings

        settings = self._settings
        hosts = settings.insecure_registries
        if insecure and reference is not None:
            hosts |= {reference.domain}
        client = RegistryClient(
            RegistrySettings(
                config_paths=settings.credential_paths,
                insecure=hosts,
                ca_file=settings.ca_file,
                proxies=settings.proxies,
                no_proxy=settings.no_proxy,
            ),
            clock=self._clock,
        )
        try:
            yield client
        finally:
            client.close()

    def _seekable(self, stack: contextlib.ExitStack, source: Path | BinaryIO) -> BinaryIO:
        """Return a file that can be read at any place; a stream is spooled to the store's disk."""
        if isinstance(source, Path):
            return stack.enter_context(open_source(source))
        if source.seekable():
            return source
        directory = stack.enter_context(self._store.temporary_directory("load"))
        spooled = stack.enter_context((directory / "archive").open("w+b"))
        while data := source.read(1 << 20):
            spooled.write(data)
        spooled.seek(0)
        return spooled

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _config_edit(changes: tuple[str, ...]) -> "Callable[[ContainerConfig], ContainerConfig]":
    from imagekit.build.changes import config_edit

    return config_edit(changes)
