"""An engine with a small real image in it, and the programs that judge what comes out."""

import hashlib
import io
import os
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from imagekit.base.events import Event
from imagekit.build.request import BuildRequest
from imagekit.config import Settings
from imagekit.containers.request import RunRequest
from imagekit.containers.stdio import Stdio
from imagekit.engine import Engine
from imagekit.sandbox.spec import NetworkMode

BASE = "base:1"
RICH = "rich:1"
EPOCH = 1_500_000_000
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")  # cap_net_bind_service=ep
APPLETS = "sh cat echo ls id mkdir rm ln chmod chown touch cp mv mkfifo stat test readlink"

RICH_DOCKERFILE = """
FROM base:1
RUN mkdir -p /tree/deep /gone/sub /opaque/old && echo one > /tree/file && echo two > /tree/deep/x \\
 && echo x > /gone/sub/file && echo old > /opaque/old/name && echo old > /opaque/file
RUN ln /tree/file /tree/hard && ln /tree/file /tree/deep/hard2 \\
 && ln -s ../tree/file /tree/link && ln -s /nowhere/at/all /tree/dangling && mkfifo /tree/fifo
RUN rm -r /gone /tree/deep/x && rm -r /opaque && mkdir /opaque && echo new > /opaque/new
RUN cp /bin/busybox /tree/su && chmod 4755 /tree/su && mkdir -m 1777 /tree/sticky \\
 && mkdir /tree/group && chmod 2775 /tree/group && chown 12:34 /tree/group \\
 && chmod 000 /tree/deep && chown 1000:1000 /tree/hard
RUN touch -d @1234567890 /tree/file /tree/group && touch -h -d @1111111111 /tree/link \\
 && chmod 711 /capable && echo > "/tree/a name with spaces, \\303\\274 and 'quotes'" \\
 && cd /tree && mkdir replaced && touch replaced/inside
RUN mkdir -p /links/below && echo > /links/a && ln /links/a /links/b && ln /links/a /links/below/c
RUN rm -r /tree/replaced && echo file > /tree/replaced && rm /tree/dangling && mkdir /tree/dangling
COPY --chown=7:8 --chmod=640 copied /tree/copied/
ENV GREETING=hello PATH=/bin
LABEL org.example.a=b
EXPOSE 8080/tcp
VOLUME /data
USER 1000:1000
WORKDIR /tree/work
STOPSIGNAL SIGINT
HEALTHCHECK --interval=5s CMD ["true"]
ENTRYPOINT ["/bin/sh", "-c"]
CMD ["echo $GREETING; id -u"]
"""

Tree = dict[str, tuple[object, ...]]


@dataclass
class Machine:
    """An engine on a store of its own, with short ways to use it."""

    engine: Engine
    directory: Path
    events: list[Event] = field(default_factory=list)

    def build(self, text: str, tag: str, **files: bytes) -> None:
        context = self.directory / f"context-{tag.partition(':')[0]}"
        context.mkdir(exist_ok=True)
        for name, content in files.items():
            (context / name).write_bytes(content)
        self.engine.build(BuildRequest(context=context, dockerfile_text=text, tags=(tag,)))

    def run(self, image: str, *command: str) -> tuple[int | None, str]:
        """Run and return the exit code and everything that was written."""
        with io.FileIO(os.memfd_create("output"), "r+") as out:
            result = self.engine.containers.run(
                RunRequest(image=image, command=command, network=NetworkMode.NONE, remove=True),
                Stdio(stdin=0, stdout=out.fileno(), stderr=out.fileno()),
            )
            out.seek(0)
            return result.exit_code, out.readall().decode()


def program(name: str, *arguments: str | Path, cwd: Path | None = None) -> str:
    """Run a program of another project and return its output; skip when it is not installed."""
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    done = subprocess.run(
        [name, *map(str, arguments)], capture_output=True, text=True, check=False, cwd=cwd
    )
    assert done.returncode == 0, f"{name} {arguments}: {done.stderr}{done.stdout}"
    return done.stdout


def look(root: Path) -> Tree:
    """Everything about a tree that an image promises; times in seconds."""
    tree: Tree = {}
    links: dict[tuple[int, int], str] = {}
    for folder, folders, names in os.walk(root):
        for name in sorted(folders + names):
            path = Path(folder, name)
            status = path.lstat()
            kind = stat.S_IFMT(status.st_mode)
            content: object = None
            if kind == stat.S_IFREG:
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            elif kind == stat.S_IFLNK:
                content = str(path.readlink())
            elif kind in (stat.S_IFCHR, stat.S_IFBLK):
                content = status.st_rdev
            relative = str(path.relative_to(root))
            first = relative
            if kind != stat.S_IFDIR and status.st_nlink > 1:
                first = links.setdefault((status.st_dev, status.st_ino), relative)
            xattrs = tuple(
                (key, os.getxattr(path, key, follow_symlinks=False))
                for key in sorted(os.listxattr(path, follow_symlinks=False))
                if key.startswith("user.") or key == "security.capability"
            )
            tree[relative] = (
                oct(status.st_mode), status.st_uid, status.st_gid, int(status.st_mtime),
                content, first, xattrs,
            )  # fmt: skip
        folders.sort()
    return tree


def base_archive(busybox: Path) -> io.BytesIO:
    """A root file system with users, capabilities, user attributes and hard links."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:

        def add(name: str, content: bytes = b"", **values: object) -> None:
            member = tarfile.TarInfo(name)
            member.mode, member.mtime, member.size = 0o644, EPOCH, len(content)
            for key, value in values.items():
                setattr(member, key, value)
            tar.addfile(member, io.BytesIO(content))

        for folder in ("bin", "etc", "tmp", "proc", "sys", "dev", "data"):
            add(folder, type=tarfile.DIRTYPE, mode=0o1777 if folder == "tmp" else 0o755)
        add("bin/busybox", busybox.read_bytes(), mode=0o755)
        for name in APPLETS.split():
            add(f"bin/{name}", type=tarfile.SYMTYPE, linkname="busybox", mode=0o777)
        add("etc/passwd", b"root:x:0:0::/:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n")
        add("etc/group", b"root:x:0:\nuser:x:1000:\n")
        capability = CAPABILITY.decode("utf-8", "surrogateescape")
        add(
            "capable", b"capable\n", mode=0o755,
            pax_headers={
                "SCHILY.xattr.security.capability": capability,
                "SCHILY.xattr.user.comment": "from the base",
            },
        )  # fmt: skip
        add("etc/first", b"hard\n")
        add("etc/second", type=tarfile.LNKTYPE, linkname="etc/first")
    archive.seek(0)
    return archive


@pytest.fixture(scope="session")
def peer() -> Callable[..., str]:
    """Run a program of another project."""
    return program


@pytest.fixture(scope="session")
def tree_of() -> Callable[[Path], Tree]:
    """Look at a tree."""
    return look


def open_machine(root: Path) -> Iterator[Machine]:
    root.mkdir(exist_ok=True)
    events: list[Event] = []
    with Engine(Settings(root=root / "store"), events=events.append) as engine:
        yield Machine(engine=engine, directory=root, events=events)


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory, busybox: Path) -> Iterator[Machine]:
    """An engine with ``base:1``, imported, and ``rich:1``, built from it."""
    for made in open_machine(tmp_path_factory.mktemp("machine")):
        made.engine.import_image(base_archive(busybox), BASE)
        made.build(RICH_DOCKERFILE, RICH, copied=b"copied\n")
        yield made


@pytest.fixture
def other_machine(tmp_path: Path) -> Iterator[Machine]:
    """An engine with nothing in it."""
    yield from open_machine(tmp_path / "other")
