"""What the writer writes is restored by GNU tar, bsdtar, Python and Go's archive/tar."""

import hashlib
import io
import itertools
import os
import shutil
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imagekit.layers.apply import WhiteoutForm, apply_layer
from imagekit.layers.diff import overlay_changes, tree_entries
from imagekit.layers.entry import BytesContent, Entry, EntryType
from imagekit.layers.pack import diff_digest
from imagekit.layers.write import write_layer
from imagekit.oci.digest import Digest
from tests.layers.judges import layout_of

pytestmark = [pytest.mark.root, pytest.mark.peer]

SECOND_NS = 1_000_000_000
ENVIRONMENT = {"LC_ALL": "C.UTF-8", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
MTIME_NS = 1_600_000_000 * SECOND_NS
KINDS = {
    EntryType.REGULAR: stat.S_IFREG, EntryType.HARDLINK: stat.S_IFREG,
    EntryType.SYMLINK: stat.S_IFLNK, EntryType.CHARACTER: stat.S_IFCHR,
    EntryType.BLOCK: stat.S_IFBLK, EntryType.DIRECTORY: stat.S_IFDIR,
    EntryType.FIFO: stat.S_IFIFO,
}  # fmt: skip
Tree = dict[str, tuple[int, int, int, int, int, object, str, object]]
Snapshot = Callable[[Path], Tree]


def run(*command: str | Path, given: bytes = b"") -> bytes:
    return subprocess.run(
        command, check=True, capture_output=True, env=ENVIRONMENT, input=given
    ).stdout


def path_of(length: int, first: str, part: int) -> str:
    """Return a path of ``length`` bytes: directories of ``part`` letters, then the rest."""
    path = first
    while length - len(path) > part:
        path += "d" * (part - 1) + "/"
    return path + "f" * (length - len(path))


LENGTHS = (99, 100, 101, 154, 155, 156, 157, 255, 256, 257, 300)
NAMES = (
    *(path_of(length, f"{length}/", 255) for length in LENGTHS if length < 255),
    *(path_of(length, f"s{length}/", 20) for length in LENGTHS),
    path_of(256, "t" * 155 + "/", 101),  # the longest prefix and the longest name
    path_of(257, "t" * 156 + "/", 101),
    "n" * 255,
    os.fsdecode(b"raw-\xff\xfe"), os.fsdecode(b"raw-\xff" * 40), "grüße-日本", "ü" * 100,
    "new\nline", "tab\tand\x1b[31m", "dots...", "...", "..x", " space ", "-option", "back\\slash",
    "quote'\"", "%n", "a:b", "=", "1 a=b", ".wh", "x.wh.y",
)  # fmt: skip


def regular(path: str, **fields: object) -> Entry:
    data = path.encode("utf-8", "surrogateescape")
    values: dict[str, object] = {"mode": 0o644, "mtime_ns": MTIME_NS} | fields
    return Entry(
        path=path, type=EntryType.REGULAR, size=len(data), content=BytesContent(data=data),
        **values,  # type: ignore[arg-type]  # each test names its own
    )  # fmt: skip


def entries() -> Iterator[Entry]:
    known: set[str] = set()
    for name in NAMES:
        folders = name.split("/")[:-1]
        for depth in range(len(folders)):
            folder = "/".join(folders[: depth + 1])
            if folder not in known:
                known.add(folder)
                yield Entry(path=folder, type=EntryType.DIRECTORY, mode=0o755, mtime_ns=MTIME_NS)
        yield regular(name)
    for number, name in enumerate(NAMES):
        kind = EntryType.HARDLINK if number % 2 else EntryType.SYMLINK
        mode = 0o644 if number % 2 else 0o777
        yield Entry(path=f"l{number:03}", type=kind, mode=mode, link=name, mtime_ns=MTIME_NS)
    yield Entry(path="m" * 200, type=EntryType.HARDLINK, mode=0o644, link="n" * 255,
                mtime_ns=MTIME_NS)  # fmt: skip
    for number, uid in enumerate((1, 2097151, 2097152, 4294967294)):
        yield regular(f"owner{number}", uid=uid, gid=4294967294 - uid)
    for mode in (0o4755, 0o2755, 0o6711, 0o1644, 0o7777, 0):
        yield regular(f"mode{mode:o}", mode=mode)
    for mode in (0o1777, 0o2775, 0o700):
        yield Entry(path=f"d{mode:o}", type=EntryType.DIRECTORY, mode=mode, mtime_ns=MTIME_NS)
    for number, seconds in enumerate((0, 1, 2**31 - 1, 2**31, 2**32, 2**33 - 1, 2**33, 2**33 + 1)):
        yield regular(f"time{number}", mtime_ns=seconds * SECOND_NS)
    yield Entry(path="device", type=EntryType.CHARACTER, mode=0o660, device=(4095, 1048575),
                mtime_ns=MTIME_NS)  # fmt: skip
    yield Entry(path="disk", type=EntryType.BLOCK, mode=0o600, device=(8, 1), mtime_ns=MTIME_NS)
    yield Entry(path="fifo", type=EntryType.FIFO, mode=0o622, mtime_ns=MTIME_NS)


ATTRIBUTES = (
    regular("capable", xattrs=(("security.capability", CAPABILITY),)),
    regular("binary", xattrs=(("user.b", b"\0=\n\xff" * 50), ("user.c", b"1\n9 a=b\n"))),
    regular("named", xattrs=(("user.ü", b"1"), ("user.with space", b"2"))),
)
EARLY = tuple(regular(f"early{number}", mtime_ns=-seconds * SECOND_NS)
              for number, seconds in enumerate((1, 86400, 2**31)))  # fmt: skip


@pytest.fixture(scope="module")
def layer() -> bytes:
    output = io.BytesIO()
    write_layer(itertools.chain(entries(), ATTRIBUTES, EARLY), output)
    return output.getvalue()


def gnu_tar(data: bytes, target: Path) -> None:
    run("tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf", "-", "-C", target,
        given=data)  # fmt: skip


def bsdtar(data: bytes, target: Path) -> None:
    # Without -P it takes "a:" for a drive of Windows.
    run("bsdtar", "--numeric-owner", "-xpPf", "-", "-C", target, given=data)


def python(data: bytes, target: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as archive:
        archive.extractall(target, numeric_owner=True, filter="fully_trusted")


def umoci(data: bytes, target: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        layout_of(data, Path(scratch, "layout"))
        run("umoci", "unpack", "--image", f"{scratch}/layout:1", f"{scratch}/bundle")
        target.rmdir()
        shutil.move(f"{scratch}/bundle/rootfs", target)


def buildah(data: bytes, target: Path) -> None:
    """Skopeo and buildah share this code, and the splitting of archives that registries need."""
    with tempfile.TemporaryDirectory(prefix="buildah-") as scratch:
        layout_of(data, Path(scratch, "layout"))
        storage = ["buildah", "--root", f"{scratch}/root", "--runroot", f"{scratch}/run",
                   "--storage-driver", "vfs"]  # fmt: skip
        container = run(*storage, "from", f"oci:{scratch}/layout:1").decode().strip()
        mounted = run(*storage, "mount", container).decode().strip()
        run("cp", "-a", f"{mounted}/.", target)
        run(*storage, "rm", container)


def ours(data: bytes, target: Path) -> None:
    apply_layer(io.BytesIO(data), target, form=WhiteoutForm.PLAIN)


PROGRAMS = (gnu_tar, bsdtar, python, umoci, buildah, ours)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_everything_is_restored(
    program: Callable[[bytes, Path], None], layer: bytes, tmp_path: Path, snapshot: Snapshot
) -> None:
    name = {"gnu_tar": "tar", "python": "sh", "ours": "sh"}.get(program.__name__, program.__name__)
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    target = tmp_path / "target"
    target.mkdir()

    program(layer, target)

    found = snapshot(target)
    expected = _expected()
    if program is python:  # it restores neither attributes nor times of links
        expected = {path: (*values[:5], ()) for path, values in expected.items()}
        found = {
            path: (*value[:4], MTIME_NS, *value[5:7], ()) if stat.S_ISLNK(value[0]) else value
            for path, value in found.items()
        }
    if program is buildah:  # it has no time before 1970
        for number in range(3):
            expected[f"early{number}"] = (*expected[f"early{number}"][:4], 0, ())
    seen = {path: (*value[:5], value[7]) for path, value in found.items() if path != "."}
    assert seen == expected
    for number in range(1, len(NAMES), 2):
        assert os.path.samefile(target / f"l{number:03}", target / NAMES[number])
    for number in range(0, len(NAMES), 2):
        assert os.readlink(target / f"l{number:03}") == NAMES[number]
    for entry in entries():
        if entry.type is EntryType.REGULAR:
            content = (target / entry.path).read_bytes()
            assert content == entry.path.encode("utf-8", "surrogateescape")


def _expected() -> dict[str, tuple[object, ...]]:
    """Return kind, mode, owner, time and attributes as ``snapshot`` gives them."""
    return {
        entry.path: (KINDS[entry.type], entry.mode, entry.uid, entry.gid, entry.mtime_ns,
                     tuple(sorted(entry.xattrs)))
        for entry in itertools.chain(entries(), ATTRIBUTES, EARLY)
    }  # fmt: skip


@pytest.mark.parametrize("program", [gnu_tar, bsdtar, umoci, buildah, ours],
                         ids=lambda program: program.__name__)  # fmt: skip
def test_nanoseconds_are_restored(program: Callable[[bytes, Path], None], tmp_path: Path) -> None:
    times = (1, 999_999_999, 1_600_000_000_123_456_789, 1_600_000_000_100_000_000)
    output = io.BytesIO()
    write_layer([regular(f"f{time}", mtime_ns=time) for time in times], output, nanoseconds=True)
    target = tmp_path / "target"
    target.mkdir()

    program(output.getvalue(), target)

    assert [(target / f"f{time}").stat().st_mtime_ns for time in times] == list(times)


class Zeros:
    def chunks(self, size: int) -> Iterator[bytes]:
        for _ in range(size >> 20):
            yield bytes(1 << 20)


class HeadError(Exception):
    """Enough was written."""


class Head:
    data = b""

    def write(self, data: bytes, /) -> None:
        self.data += data[:4096]
        raise HeadError


@pytest.mark.parametrize("size", [(8 << 30) - (1 << 20), 8 << 30, 1 << 40])
def test_sizes_over_8_gib_are_listed_by_all(size: int) -> None:
    head = Head()
    big = Entry(path="big", type=EntryType.REGULAR, mode=0o644, size=size, content=Zeros())
    with pytest.raises(HeadError):
        write_layer([big], head)

    for program in ("tar", "bsdtar"):
        done = subprocess.run(
            [program, "-tvf", "-"], check=False, capture_output=True, input=head.data
        )
        assert str(size).encode() in done.stdout.split()
    with tarfile.open(fileobj=io.BytesIO(head.data)) as archive:
        member = archive.next()
        assert member is not None
        assert member.size == size


GOLDEN = "606da8a4f32fe09e4ada0bf8bb24bf5e21d893d8176edd926212c782f84740b9"


def make_tree(root: Path, *, backwards: bool = False) -> None:
    """Make a fixed tree; the order of the names in a directory is that of their creation."""
    numbers = range(40, 0, -1) if backwards else range(1, 41)
    for number in numbers:
        folder = root / f"d{number % 7}"
        folder.mkdir(exist_ok=True, mode=0o755)
        path = folder / f"file-{number}-ü{'x' * number * 3}"
        path.write_bytes(b"%d" % number * number * 1000)
        path.chmod(0o640 + number % 8)
        os.chown(path, number, number * 100_000)
    (root / "link").symlink_to("d1/" + "t" * 120)
    os.link(root / "d1" / min(os.listdir(root / "d1")), root / "hard")
    os.mkfifo(root / "fifo", 0o600)
    os.mknod(root / "null", 0o020666, os.makedev(1, 3))
    (root / "null").chmod(0o666)
    with open(root / "sparse", "wb") as file:
        file.seek(1 << 20)
        file.write(b"data")
        file.truncate(3 << 20)
    for parent, folders, names in os.walk(root, topdown=False):
        for name in (*folders, *names):
            path = Path(parent, name)
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)
            os.utime(path, ns=(0, MTIME_NS + 123), follow_symlinks=False)
    root.chmod(0o755)


@pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("where", ["disk", "tmpfs", "overlay", "ext4"])
def test_the_same_tree_gives_the_same_bytes_on_every_file_system(
    where: str, backwards: bool, tmp_path: Path
) -> None:
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    if where == "ext4":
        if shutil.which("mkfs.ext4") is None or not Path("/dev/loop-control").exists():
            pytest.skip("mkfs.ext4 is not installed, or there are no loop devices")
        run("truncate", "-s", "64M", tmp_path / "image")
        run("mkfs.ext4", "-q", "-b", "1024", tmp_path / "image")
    commands: dict[str, list[str | Path]] = {
        "disk": [],
        "tmpfs": ["mount", "-t", "tmpfs", "tmpfs", mounted],
        "overlay": ["mount", "-t", "tmpfs", "tmpfs", mounted],
        "ext4": ["mount", "-o", "loop", tmp_path / "image", mounted],
    }
    command = commands[where]
    if command:
        run(*command)
    try:
        root = mounted / "tree"
        root.mkdir()
        if where != "overlay":
            make_tree(root, backwards=backwards)
            digest, _ = diff_digest(tree_entries(root))
        else:
            digest = _digest_on_overlay(mounted, backwards=backwards)
    finally:
        if command:
            run("umount", mounted)

    assert digest.hex == GOLDEN


def _digest_on_overlay(folder: Path, *, backwards: bool) -> Digest:
    for name in ("lower", "upper", "work"):
        (folder / name).mkdir()
    options = f"lowerdir={folder}/lower,upperdir={folder}/upper,workdir={folder}/work"
    run("mount", "-t", "overlay", "-o", options, "overlay", folder / "tree")
    try:
        make_tree(folder / "tree", backwards=backwards)
        merged, _ = diff_digest(tree_entries(folder / "tree"))
    finally:
        run("umount", folder / "tree")
    upper, _ = diff_digest(overlay_changes(folder / "upper", [folder / "lower"]))
    assert upper == merged
    return merged


def test_the_digest_is_that_of_the_stream(tmp_path: Path) -> None:
    make_tree(tmp_path)
    output = io.BytesIO()

    write_layer(tree_entries(tmp_path), output)

    assert hashlib.sha256(output.getvalue()).hexdigest() == GOLDEN
