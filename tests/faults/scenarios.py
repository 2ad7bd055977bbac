"""Commands that are interrupted, and the stores they are run on.

To add one: a ``Scenario`` in ``SCENARIOS``, whose ``template`` is a function below.
"""

import shutil
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import msgspec

from tests.faults.lab import Lab

BASE = "busybox:test"
OLD = f"""FROM {BASE} AS tools
COPY kept /kept
RUN cat /kept > /copy
FROM {BASE}
COPY --from=tools /copy /copy
RUN mkdir /d; echo 1 > /d/x; ln -s x /d/l
"""
# The first steps come from the cache, the others run; equal stages, several layers, a cache mount.
NEW = f"""FROM {BASE} AS tools
COPY kept /kept
RUN cat /kept > /copy
RUN --mount=type=cache,target=/c echo x > /c/x; rm /kept; echo y > /y
FROM {BASE}
COPY --from=tools /copy /y /new/
COPY many /many
RUN cat /many/* > /all
WORKDIR /w
CMD ["sh"]
"""


# With a volume of its own, which goes with it.
ALONE = ("--network", "none", "-v", "/etc")


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """A command, and the function that makes the store on which it is run.

    ``before_again`` is what a user would do before trying again; it may fail. ``ends`` are exit
    codes that the second try may have beside 0, when the first one was killed after its work. Its
    operations are tried in so many ``parts``, each a test, which run beside each other.
    """

    name: str
    arguments: tuple[str, ...]
    template: Callable[[Lab], None]
    before_again: tuple[str, ...] = ()
    ends: frozenset[int] = frozenset()
    leaves: bool = False
    parts: int = 1

    def __str__(self) -> str:
        return self.name


def empty(lab: Lab) -> None:
    """No store at all; an archive of an image, and of a root file system."""
    full(lab)
    shutil.rmtree(lab.root)


def full(lab: Lab) -> None:
    """A base, a built image under two names, an older one without a name, a container."""
    lab.directory.mkdir()
    (lab.directory / "root.tar").write_bytes(root_archive())
    many = lab.directory / "context" / "many"
    many.mkdir(parents=True)
    for number in range(4):
        (many / str(number)).write_text(str(number) * 100)
    (lab.directory / "context" / "kept").write_text("kept\n")
    (lab.directory / "old").write_text(OLD)
    (lab.directory / "new").write_text(NEW)
    for command in (
        ("import", "-c", "ENV PATH=/bin", "root.tar", BASE),
        ("build", "--reproducible", "-f", "new", "-t", "app:1", "--target", "tools", "context"),
        ("build", "--reproducible", "-f", "old", "-t", "app:1", "context"),
        ("tag", "app:1", "app:second"),
        ("tag", "app:1", "REGISTRY/app:1"),
        ("push", "REGISTRY/app:1"),
        ("rmi", "REGISTRY/app:1"),
        ("save", "-o", "app.tar", "app:1"),
        ("import", "root.tar", "app:old"),
        ("run", "--name", "ended", *ALONE, BASE, "sh", "-c", "echo 1 > /n; rm /etc/p"),
    ):
        run = lab.run(*command)
        assert run.status == 0, run.output


def root_archive() -> bytes:
    """A root file system of a few files, with a shell in it."""
    archive = BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name in ("bin", "etc", "tmp"):
            member = tarfile.TarInfo(name)
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(member)
        busybox = Path(shutil.which("busybox") or "/bin/busybox").read_bytes()
        for name, data in (("bin/busybox", busybox), ("etc/passwd", b"root:x:0:0::/:/bin/sh\n")):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o755
            tar.addfile(member, BytesIO(data))
        for name in ("sh", "cat", "mkdir", "ln", "rm", "sleep", "true", "dd"):
            member = tarfile.TarInfo(f"bin/{name}")
            member.type, member.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(member)
        link = tarfile.TarInfo("etc/p")
        link.type, link.linkname = tarfile.LNKTYPE, "etc/passwd"
        tar.addfile(link)
    return archive.getvalue()


SCENARIOS = (
    Scenario(
        name="build",
        arguments=("build", "--reproducible", "-f", "new", "-t", "app:1", "context"),
        template=full,
        parts=4,
    ),
    Scenario(
        name="pull", arguments=("pull", "--insecure", "REGISTRY/app:1"), template=empty, parts=4
    ),
    Scenario(name="load", arguments=("load", "-i", "app.tar"), template=empty, parts=2),
    Scenario(name="import", arguments=("import", "root.tar", "app:1"), template=full, parts=2),
    Scenario(name="save", arguments=("save", "-o", "saved.tar", "app:1"), template=full),
    Scenario(name="prune", arguments=("system", "prune", "-f"), template=full),
    Scenario(name="prune-all", arguments=("system", "prune", "-af"), template=full, parts=2),
    Scenario(name="tag", arguments=("tag", "app:old", "app:1"), template=full),
    Scenario(name="rmi", arguments=("rmi", "app:1", "app:old"), template=full, ends=frozenset({2})),
    Scenario(name="commit", arguments=("commit", "ended", "app:1"), template=full),
    Scenario(name="rm", arguments=("rm", "-v", "ended"), template=full, ends=frozenset({2})),
    Scenario(
        name="run",
        arguments=("run", "--rm", *ALONE, "app:1", "sh", "-c", "echo 1 > /n"),
        template=full,
        parts=2,
    ),
    Scenario(
        name="run-detached",
        arguments=("run", "-d", "--name", "one", *ALONE, "app:1", "sleep", "0.05"),
        template=full,
        before_again=("rm", "-fv", "one"),
        leaves=True,
    ),
)
