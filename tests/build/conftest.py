"""A store with a busybox image, and short ways to build on it and look at what came out."""

import io
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from imagekit.base.events import Event, Notice, Outcome, StepEnded, StepOutput
from imagekit.build.builder import BuildResult
from imagekit.build.request import BuildRequest
from imagekit.config import Settings
from imagekit.engine import Engine
from imagekit.images.local import LocalImage
from imagekit.layers.compression import open_layer
from imagekit.store.layout import Store

IMAGE = "busybox:test"
EPOCH = 1_000_000_000
APPLETS = """
    sh cat echo ls id true false sleep env pwd stat head tail dd hostname seq wc touch rm mkdir test
    printf grep cut tr chmod chown ln cp mv find sort awk ip mount date
"""


def busybox_archive(busybox: Path) -> io.BytesIO:
    """A small root file system: busybox under all its names, users, links."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:

        def add(name: str, kind: bytes = tarfile.REGTYPE, **values: object) -> None:
            member = tarfile.TarInfo(name)
            member.type, member.mtime = kind, EPOCH
            content = b""
            for key, value in values.items():
                if key == "text":
                    content = str(value).encode()
                elif key == "data":
                    assert isinstance(value, bytes)
                    content = value
                else:
                    setattr(member, key, value)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))

        for directory in ("bin", "etc", "tmp", "proc", "sys", "dev", "data", "home"):
            add(directory, tarfile.DIRTYPE, mode=0o1777 if directory == "tmp" else 0o755)
        add("bin/busybox", data=busybox.read_bytes(), mode=0o755)
        for name in APPLETS.split():
            add(f"bin/{name}", tarfile.SYMTYPE, linkname="busybox")
        add(
            "etc/passwd",
            text="root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n",
        )
        add("etc/group", text="root:x:0:\napp:x:1001:\nwheel:x:50:app\n")
        add("data/seed", text="from the image\n")
        add("owned", tarfile.DIRTYPE, mode=0o700, uid=7, gid=8)
        add("link-to-data", tarfile.SYMTYPE, linkname="/data")
        add("link-to-nothing", tarfile.SYMTYPE, linkname="/made/up")
        add("link-out", tarfile.SYMTYPE, linkname="../../../../../../data")
        add("link-to-file", tarfile.SYMTYPE, linkname="/data/seed")
    archive.seek(0)
    return archive


def settings(root: Path) -> Settings:
    return Settings(root=root)


@dataclass
class Entry:
    """A file of an image as its layers tell it."""

    info: tarfile.TarInfo
    content: bytes

    @property
    def mode(self) -> int:
        return self.info.mode

    @property
    def owner(self) -> tuple[int, int]:
        return self.info.uid, self.info.gid

    @property
    def mtime(self) -> int:
        return int(self.info.mtime)

    @property
    def text(self) -> str:
        return self.content.decode()


@dataclass
class World:
    """One engine on a store of its own kind, a context, and the events of the last build."""

    engine: Engine
    context: Path
    events: list[Event] = field(default_factory=list)

    @property
    def store(self) -> Store:
        return self.engine._store

    def write(self, name: str, text: str = "", mode: int = 0o644) -> Path:
        path = self.context / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def build(self, dockerfile: str, **options: object) -> BuildResult:
        self.events.clear()
        values: dict[str, object] = {"context": self.context, "dockerfile_text": dockerfile}
        return self.engine.build(BuildRequest(**{**values, **options}))  # type: ignore[arg-type] # checked by the dataclass's own use

    def build_file(self, path: Path, **options: object) -> BuildResult:
        self.events.clear()
        request = BuildRequest(context=self.context, dockerfile=path, **options)  # type: ignore[arg-type] # as above
        return self.engine.build(request)

    def files(self, image: LocalImage, *, layers: int | None = None) -> dict[str, Entry]:
        """The image's files from its layer blobs; of the last ``layers`` only, without the base."""
        merged: dict[str, Entry] = {}
        chosen = image.manifest.layers if layers is None else image.manifest.layers[-layers:]
        for descriptor in chosen:
            for name, entry in self.layer(descriptor.digest).items():
                folder, _, base = name.rpartition("/")
                if base.startswith(".wh."):
                    gone = f"{folder}/{base[4:]}".lstrip("/")
                    for old in [old for old in merged if old == gone or old.startswith(f"{gone}/")]:
                        del merged[old]
                else:
                    merged[name] = entry
        return merged

    def layer(self, digest: object) -> dict[str, Entry]:
        with self.store.blobs.open(digest) as blob:  # type: ignore[arg-type] # a digest
            _, plain = open_layer(blob)
            data = io.BytesIO()
            while piece := plain.read(1 << 20):
                data.write(piece)
        data.seek(0)
        found = {}
        with tarfile.open(fileobj=data) as tar:
            for info in tar:
                file = tar.extractfile(info) if info.isreg() or info.islnk() else None
                found[info.name.rstrip("/")] = Entry(info, file.read() if file else b"")
        return found

    def last(self, image: LocalImage) -> dict[str, Entry]:
        """The files of the topmost layer."""
        return self.layer(image.manifest.layers[-1].digest)

    @staticmethod
    def history(result: BuildResult) -> list[str]:
        """The created_by lines that are not the base's."""
        lines = result.image.config.history
        return [line.created_by for line in lines if "buildkit" in line.comment]

    @property
    def output(self) -> str:
        return b"".join(e.data for e in self.events if isinstance(e, StepOutput)).decode()

    @property
    def ended(self) -> list[StepEnded]:
        return [event for event in self.events if isinstance(event, StepEnded)]

    @property
    def outcomes(self) -> list[str]:
        """Outcomes of the steps, FROM left out."""
        return [str(event.outcome) for event in self.ended if "] FROM " not in event.label]

    @property
    def reasons(self) -> list[str]:
        return [event.reason for event in self.ended if event.outcome is Outcome.DONE]

    @property
    def notices(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, Notice)]


def open_world(root: Path, context: Path) -> World:
    events: list[Event] = []
    return World(Engine(settings(root), events=events.append), context, events)


@pytest.fixture(scope="session")
def base_root(tmp_path_factory: pytest.TempPathFactory, busybox: Path) -> Path:
    """The root of a store with the test image in it; copied by those who need one of their own."""
    root = tmp_path_factory.mktemp("store")
    with Engine(settings(root)) as engine:
        engine.import_image(busybox_archive(busybox), IMAGE, changes=("ENV PATH=/bin",))
    return root


@pytest.fixture
def context(tmp_path: Path) -> Path:
    path = tmp_path / "context"
    path.mkdir()
    return path


@pytest.fixture
def world(base_root: Path, context: Path) -> Iterator[World]:
    """A build world on the session's store: cache records of other tests are in it too."""
    made = open_world(base_root, context)
    with made.engine:
        yield made


@pytest.fixture
def new_root(tmp_path: Path, base_root: Path) -> Callable[[], Path]:
    """Make a copy of the store as it was after the import; each call another."""

    def make() -> Path:
        root = tmp_path / f"root{len(list(tmp_path.glob('root*')))}"
        with Engine(settings(root)) as engine:
            engine.import_image(
                busybox_archive(Path(shutil.which("busybox") or "")),
                IMAGE,
                changes=("ENV PATH=/bin",),
            )
        return root

    return make


@pytest.fixture
def fresh(new_root: Callable[[], Path], context: Path) -> Iterator[World]:
    """A build world on a store of its own, whose cache is empty."""
    made = open_world(new_root(), context)
    with made.engine:
        yield made


class Cli:
    """The real program, in a process group of its own."""

    def command(self, *args: object) -> list[str]:
        start = "from imagekit.cli.main import main; main()"
        return [sys.executable, "-c", start, *map(str, args)]

    def environment(self) -> dict[str, str]:
        kept = ("PATH", "HOME", "LANG", "TMPDIR")
        return {name: os.environ[name] for name in kept if name in os.environ}

    def __call__(self, *args: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*args),
            capture_output=True,
            text=True,
            env=self.environment(),
            timeout=60,
            check=False,
            start_new_session=True,
        )


@pytest.fixture
def cli() -> Cli:
    return Cli()
