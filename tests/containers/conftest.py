"""A store with a busybox image, and containers in it that are gone after the test."""

import io
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from imagekit.base.clock import SystemClock
from imagekit.base.events import Event
from imagekit.containers.containers import Containers
from imagekit.containers.model import RunResult
from imagekit.containers.request import RunRequest
from imagekit.containers.stdio import Stdio
from imagekit.images.import_root import import_root
from imagekit.images.local import LocalImages
from imagekit.oci.image_config import ContainerConfig
from imagekit.sandbox.launcher import Launcher
from imagekit.sandbox.spec import NetworkMode
from imagekit.store.layout import Store

IMAGE = "busybox:test"
APPLETS = """
    sh cat echo ls id true false sleep env pwd kill mount ps stat head tail dd hostname seq wc touch
    rm mkdir test printf tty stty wget nc httpd ip grep cut tr chmod awk yes chown
"""


@dataclass
class World:
    """Containers of one store, and short ways to use them."""

    store: Store
    containers: Containers
    launcher: Launcher
    events: list[Event] = field(default_factory=list)

    def run(self, *command: str, **options: object) -> tuple[RunResult, bytes, bytes]:
        """Run in the foreground and return the result and what was written."""
        values: dict[str, object] = {"network": NetworkMode.NONE, "remove": True, **options}
        request = RunRequest(image=IMAGE, command=command, **values)  # type: ignore[arg-type] # options are checked by the dataclass's own use
        with _file() as out, _file() as err:
            result = self.containers.run(
                request, Stdio(stdin=0, stdout=out.fileno(), stderr=err.fileno())
            )
            return result, _content(out), _content(err)

    def start(self, *command: str, **options: object) -> str:
        """Run detached and return the id."""
        values: dict[str, object] = {"network": NetworkMode.NONE, "detach": True, **options}
        request = RunRequest(image=IMAGE, command=command, **values)  # type: ignore[arg-type] # as above
        return self.containers.run(request).id

    def exec(self, key: str, *argv: str, **options: object) -> tuple[int, bytes]:
        """Run a further process and return its exit code and output."""
        with _file() as out:
            stdio = Stdio(stdin=0, stdout=out.fileno(), stderr=out.fileno())
            code = self.containers.exec(key, argv, stdio=stdio, **options)  # type: ignore[arg-type] # as above
            return code, _content(out)

    def log(self, key: str, **options: object) -> bytes:
        """Return the whole log."""
        records = self.containers.logs(key, **options)  # type: ignore[arg-type] # as above
        return b"".join(record.data for record in records)


def _file() -> io.FileIO:
    return io.FileIO(os.memfd_create("output"), "r+")


def _content(file: io.FileIO) -> bytes:
    file.seek(0)
    return file.readall()


def busybox_tar(busybox: Path) -> io.BytesIO:
    """Return an archive of a small root file system: busybox under all its names, a user."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for directory in ("bin", "etc", "tmp", "proc", "sys", "dev", "data"):
            member = tarfile.TarInfo(directory)
            member.type = tarfile.DIRTYPE
            member.mode = 0o1777 if directory == "tmp" else 0o755
            tar.addfile(member)
        member = tarfile.TarInfo("bin/busybox")
        content = busybox.read_bytes()
        member.size, member.mode = len(content), 0o755
        tar.addfile(member, io.BytesIO(content))
        for name in APPLETS.split():
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        files = {
            "etc/passwd": "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n",
            "etc/group": "root:x:0:\nuser:x:1000:\n",
            "data/seed": "from the image\n",
            "bin/not-executable": "#!/bin/sh\n",
        }
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(text), 0o644
            tar.addfile(member, io.BytesIO(text.encode()))
    archive.seek(0)
    return archive


def _with_defaults(config: ContainerConfig) -> ContainerConfig:
    return msgspec.structs.replace(
        config, env=("PATH=/bin", "FROM_IMAGE=yes"), cmd=("echo", "the default"), labels={"a": "1"}
    )


@pytest.fixture(scope="session")
def shared_root(tmp_path_factory: pytest.TempPathFactory, busybox: Path) -> Path:
    """A store's root with the test image in it."""
    root = tmp_path_factory.mktemp("store")
    with Store.open(root) as store, store.leases.hold("test") as lease:
        import_root(
            store,
            busybox_tar(busybox),
            name=IMAGE,
            lease=lease,
            clock=SystemClock(),
            edit=_with_defaults,
        )
    return root


@pytest.fixture
def world(shared_root: Path) -> Iterator[World]:
    """Containers that are removed after the test."""
    events: list[Event] = []
    with Store.open(shared_root) as store, Launcher() as launcher:
        containers = Containers(store, LocalImages(store), lambda: launcher, events.append)
        yield World(store=store, containers=containers, launcher=launcher, events=events)
        for summary in containers.list(all=True):
            containers.remove(summary.id, force=True, volumes=True)
