"""What is fuzzed: each target takes bytes and raises when a promise is broken.

The promises: only the room's own errors, nothing outside the target touched, lower layers never
touched, no attribute of overlayfs but the marks of deletions, memory and time bounded.
"""

import contextlib
import gzip
import io
import os
import shutil
import stat
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from imagekit.base.errors import ImagekitError
from imagekit.images.archive import ArchiveSource
from imagekit.layers import overlay
from imagekit.layers.apply import WhiteoutForm, apply_layer, extract_archive
from imagekit.layers.compression import open_layer
from imagekit.layers.errors import LayerError
from imagekit.layers.limits import Limits
from imagekit.layers.reader import TarReader
from imagekit.oci.image_config import ImageConfig
from imagekit.oci.manifest import Index, Manifest
from tests.layers.judges import END, member

LIMITS = Limits(entries=200, unpacked_bytes=1 << 22, header_bytes=1 << 16)
FORMS = (*WhiteoutForm, None)
_MARKS = frozenset(("trusted.overlay.opaque", "user.overlay.opaque"))
_ALLOWED = frozenset(("security.capability",))


def read(data: bytes) -> None:
    """Read all entries, and each content whole; what is given in small pieces is the same."""
    assert _entries(io.BytesIO(data)) == _entries(_Trickle(data))


def _entries(stream: "io.BytesIO | _Trickle") -> list[object]:
    found: list[object] = []
    try:
        for entry in TarReader(stream, limits=LIMITS):
            found.append(entry)
            if entry.content is not None:
                crc = size = 0
                for chunk in entry.content.chunks(entry.size):
                    size += len(chunk)
                    crc = zlib.crc32(chunk, crc)
                assert size == entry.size
                found.append(crc)
    except LayerError as error:
        found.append((type(error), error.message))
    return found


class _Trickle:
    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)
        self._turn = 0

    def read(self, size: int = -1, /) -> bytes:
        self._turn = (self._turn * 7 + 3) % 311
        return self._file.read(min(size, self._turn + 1))


class Applying:
    """Unpack in every form beside things that must stay as they are; needs root."""

    def __init__(self) -> None:
        self._house = Path(tempfile.mkdtemp(dir="/dev/shm", prefix="house-"))
        self._target = self._house / "target"
        self._lower = self._house / "below"
        (self._house / "secret").write_text("secret")
        (self._house / "outside").mkdir()
        (self._house / "outside/secret").write_text("secret")
        (self._lower / "lower/sub").mkdir(parents=True)
        (self._lower / "lower/f").write_text("lower")
        (self._lower / "lower/sub/g").write_text("lower")
        (self._lower / "lower/l").symlink_to("../../outside")
        (self._lower / "a").symlink_to("lower")
        (self._lower / "h").write_text("lower")
        self._before = self._outside()

    def __call__(self, data: bytes) -> None:
        """Unpack ``data`` in one of the forms, which depends on ``data`` alone."""
        self.in_form(data, FORMS[zlib.crc32(data) % len(FORMS)])

    def in_form(self, data: bytes, form: WhiteoutForm | None) -> None:
        """Unpack ``data`` in the given form, None for ADD."""
        self._target.mkdir()
        try:
            with contextlib.suppress(LayerError):
                self._unpack(data, form)
            assert self._outside() == self._before
            for path in _walk(self._target):
                _check_xattrs(path, form)
        finally:
            shutil.rmtree(self._target)

    def compare(self, data: bytes) -> None:
        """Unpack over a lower layer and into a copy of it: both give the same tree."""
        seen = []
        for form in (WhiteoutForm.PLAIN, WhiteoutForm.OVERLAY_TRUSTED):
            self._target.mkdir()
            try:
                self._unpack(data, form)
                layers: tuple[Path, ...] = (self._target,)
                if form is not WhiteoutForm.PLAIN:
                    layers += (self._lower,)
                seen.append(dict(_union(tuple(map(str, layers)), "")))
            except LayerError as error:
                seen.append({"": (type(error), error.message)})
            finally:
                shutil.rmtree(self._target)
        assert seen[0] == seen[1]

    def close(self) -> None:
        """Remove everything."""
        shutil.rmtree(self._house)

    def _unpack(self, data: bytes, form: WhiteoutForm | None) -> None:
        if form is None:
            extract_archive(io.BytesIO(data), self._target, "/d/e", limits=LIMITS)
            return
        if form is WhiteoutForm.PLAIN:
            shutil.copytree(self._lower, self._target, symlinks=True, dirs_exist_ok=True)
        lowers = () if form is WhiteoutForm.PLAIN else (self._lower,)
        apply_layer(io.BytesIO(data), self._target, lowerdirs=lowers, form=form, limits=LIMITS)

    def _outside(self) -> list[tuple[object, ...]]:
        return [
            (str(path), *_state(path, is_house=path == self._house))
            for path in (self._house, *_walk(self._house, skip=self._target))
        ]


def _union(directories: tuple[str, ...], prefix: str) -> Iterator[tuple[str, tuple[object, ...]]]:
    """Yield what overlayfs would show."""
    for name in sorted({name for directory in directories for name in os.listdir(directory)}):
        found = overlay.look_up(directories, name, overlay.OPAQUE_TRUSTED)
        if found is None:
            continue
        mode, path = found.status.st_mode, Path(found.path)
        content: object = None
        if stat.S_ISREG(mode):
            content = path.read_bytes()
        elif stat.S_ISLNK(mode):
            content = path.readlink()
        yield prefix + name, (mode, found.status.st_uid, content)
        if found.directories:
            yield from _union(found.directories, f"{prefix}{name}/")


def _state(path: Path, *, is_house: bool) -> tuple[object, ...]:
    status = path.lstat()
    links = 0 if stat.S_ISDIR(status.st_mode) else status.st_nlink
    mtime_ns = 0 if is_house else status.st_mtime_ns
    xattrs = tuple(os.listxattr(path, follow_symlinks=False))
    return status.st_mode, status.st_uid, status.st_gid, status.st_ino, links, mtime_ns, xattrs


def _walk(root: Path, skip: Path | None = None) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        if skip is not None and Path(folder) == skip.parent:
            folders[:] = [name for name in folders if Path(folder, name) != skip]
        for name in (*folders, *names):
            yield Path(folder, name)


def _check_xattrs(path: Path, form: WhiteoutForm | None) -> None:
    names = set(os.listxattr(path, follow_symlinks=False)) - _ALLOWED
    if form in (WhiteoutForm.OVERLAY_TRUSTED, WhiteoutForm.OVERLAY_USER):
        names -= _MARKS
    assert all(name.startswith("user.") and "overlay" not in name for name in names), names
    if form in (WhiteoutForm.PLAIN, None):
        status = path.lstat()
        assert not (stat.S_ISCHR(status.st_mode) and status.st_rdev == 0), path


def decompress(data: bytes) -> None:
    """Decompress; small reads give what large ones give; gzip agrees with zlib."""
    whole, small = _plain(data, 1 << 16), _plain(data, 777)
    assert whole == small
    if data[:2] == b"\x1f\x8b" and isinstance(whole, bytes) and len(whole) < 1 << 22:
        assert gzip.decompress(data) == whole


def _plain(data: bytes, size: int) -> bytes | type[LayerError]:
    plain = bytearray()
    try:
        _, stream = open_layer(io.BytesIO(data))
        while (piece := stream.read(size)) and len(plain) < 1 << 22:
            assert len(piece) <= size
            plain += piece
    except LayerError as error:
        return type(error)
    return bytes(plain[: 1 << 22])  # a large read may go further than a small one


def documents(data: bytes) -> None:
    """Read ``data`` as every document of an image and of an image archive, and as an archive."""
    parsers: tuple[Callable[[bytes], object], ...] = (
        Index.parse, Manifest.parse, ImageConfig.parse,
        lambda raw: ArchiveSource(io.BytesIO(raw)),
        lambda raw: ArchiveSource(io.BytesIO(member(b"index.json", raw) + END)),
        lambda raw: ArchiveSource(
            io.BytesIO(member(b"c", b"{}") + member(b"l") + member(b"manifest.json", raw) + END)
        ),
    )  # fmt: skip
    for parse in parsers:
        with contextlib.suppress(ImagekitError):
            parse(data)
