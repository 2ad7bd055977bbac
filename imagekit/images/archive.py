"""Image archives: one tar file that is an OCI image layout and a docker archive at once.

    oci-layout              {"imageLayoutVersion":"1.0.0"}
    blobs/sha256/HEX        every config, manifest and layer
    index.json              the manifests, each with its name as an annotation
    manifest.json           the same images as `docker load` wants them

Source: OCI image-spec image-layout.md; moby image/spec "combined image JSON + filesystem
changeset format". ``docker save`` writes the same two-in-one since version 25.
"""

import io
import os
import posixpath
import tarfile
import threading
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

import msgspec
from msgspec.structs import replace

from imagekit.base.streams import CHUNK_BYTES, HashingReader, Readable, VerifiedReader
from imagekit.images.errors import ArchiveError, ImageNotFoundError
from imagekit.layers.entry import EntryType
from imagekit.layers.errors import LayerError, LayerFormatError, shown
from imagekit.layers.reader import ArchiveContent, TarReader
from imagekit.oci import mediatype
from imagekit.oci.content import OpenBlob
from imagekit.oci.descriptor import Descriptor
from imagekit.oci.digest import Digest
from imagekit.oci.documents import decode
from imagekit.oci.errors import InvalidDocumentError, InvalidReferenceError
from imagekit.oci.manifest import Index, Manifest
from imagekit.oci.reference import Reference

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_MAX_JSON_BYTES = 16 << 20


class _DockerImage(msgspec.Struct, rename="pascal"):
    config: str
    repo_tags: list[str] | None
    layers: list[str]


class ArchiveSink:
    """Write an archive to a stream that need not be seekable. Implements ``ContentSink``.

    Members are written one after the other under a lock; ``close`` writes what names them. Equal
    content gives equal bytes: owners, times and modes are constant.
    """

    def __init__(self, output: BinaryIO) -> None:
        # Not the stream mode of tarfile, which writes once more when an abandoned archive is freed.
        # Headers are plain ustar but for members of 8 GiB and more, whose size needs a PAX record.
        self._tar = tarfile.TarFile(
            fileobj=_Output(output),
            mode="w",
            format=tarfile.PAX_FORMAT,
            copybufsize=CHUNK_BYTES,
        )
        self._lock = threading.Lock()
        self._written: set[Digest] = set()
        self._tags: list[tuple[str, Descriptor]] = []
        self._nameless: list[Descriptor] = []
        self._manifests: dict[Digest, Manifest] = {}
        self._add("oci-layout", _LAYOUT)

    def has(self, descriptor: Descriptor) -> bool:
        """Tell whether the blob has been written."""
        return descriptor.digest in self._written

    def write(self, descriptor: Descriptor, open_source: OpenBlob) -> None:
        """Append a blob, verified while it is copied."""
        source = open_source(0)
        try:
            reader = VerifiedReader(source, digest=str(descriptor.digest), size=descriptor.size)
            with self._lock:
                if descriptor.digest in self._written:
                    return
                self._add_stream(_blob_name(descriptor.digest), descriptor.size, reader)
                reader.finish()
                self._written.add(descriptor.digest)
        finally:
            source.close()

    def put_document(self, descriptor: Descriptor, raw: bytes) -> None:
        """Append a manifest or index."""
        with self._lock:
            if descriptor.digest not in self._written:
                self._add(_blob_name(descriptor.digest), raw)
                self._written.add(descriptor.digest)
            if mediatype.is_manifest(descriptor.media_type):
                self._manifests[descriptor.digest] = Manifest.parse(raw, descriptor.media_type)

    def tag(self, descriptor: Descriptor, reference: str) -> None:
        """Remember a name for ``index.json``."""
        self._tags.append((str(Reference.parse(reference).with_default_tag()), descriptor))

    def keep(self, descriptor: Descriptor) -> None:
        """Remember an image without a name for ``index.json``."""
        self._nameless.append(descriptor)

    def close(self) -> None:
        """Write the indexes and the end of the archive; the stream stays open."""
        named = [
            Descriptor(
                media_type=descriptor.media_type,
                digest=descriptor.digest,
                size=descriptor.size,
                annotations={
                    CONTAINERD_NAME: name,
                    REF_NAME: Reference.parse(name).tag or "latest",
                },
            )
            for name, descriptor in self._tags
        ]
        self._add("index.json", Index.build(manifests=[*named, *self._nameless]).raw)
        self._add("manifest.json", msgspec.json.encode(self._docker_images()))
        self._tar.close()

    def _docker_images(self) -> list[_DockerImage]:
        names: dict[Digest, list[str]] = {}
        for name, descriptor in self._tags:
            names.setdefault(descriptor.digest, []).append(Reference.parse(name).familiar())
        return [
            _DockerImage(
                config=_blob_name(manifest.config.digest),
                repo_tags=names.get(digest),
                layers=[_blob_name(layer.digest) for layer in manifest.layers],
            )
            for digest, manifest in self._manifests.items()
        ]

    def _add(self, name: str, data: bytes) -> None:
        self._add_stream(name, len(data), io.BytesIO(data))

    def _add_stream(self, name: str, size: int, source: Readable) -> None:
        member = tarfile.TarInfo(name)
        member.size = size
        member.mode = 0o644
        self._tar.addfile(member, _Whole(source))


class _Output(io.RawIOBase):
    """Counts what is written, in place of a stream that may not know where it is."""

    def __init__(self, output: BinaryIO) -> None:
        self._output = output
        self._written = 0

    def write(self, data: "ReadableBuffer", /) -> int:
        self._output.write(data)
        self._written += len(memoryview(data))
        return len(memoryview(data))

    def tell(self) -> int:
        return self._written


class _Whole(io.RawIOBase):
    """Reads exactly as much as ``tarfile`` asks for, in large blocks."""

    def __init__(self, source: Readable) -> None:
        self._source = source

    def read(self, size: int = -1, /) -> bytes:
        parts = []
        while size > 0:
            data = self._source.read(min(size, CHUNK_BYTES))
            if not data:
                break
            parts.append(data)
            size -= len(data)
        return b"".join(parts)


class ArchiveSource:
    """Read an archive from a seekable file. Implements ``ContentSource``.

    Nothing is unpacked and only regular members are read, so links in a hostile archive lead
    nowhere. Archives of ``docker save`` before version 25 have no index: their manifest is made
    here from ``manifest.json``, and a layer that is there twice is a symbolic link to the first,
    followed by name within the archive.
    """

    def __init__(self, file: BinaryIO, *, what: str = "archive") -> None:
        self._file = file
        self._what = what
        self._lock = threading.Lock()
        self._members: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}
        self._made: dict[Digest, bytes] = {}
        self._places: dict[Digest, tuple[int, int]] = {}
        try:
            self._list_members()
        except (LayerError, OSError) as error:
            raise ArchiveError(
                f"cannot read {what}: {error}",
                hint="It must be an uncompressed tar made by 'imagekit save' or 'docker save'.",
            ) from error
        self.images = self._read_images()

    def resolve(self, reference: str) -> Descriptor:
        """Return the image of this name; with a single image in the archive any name will do."""
        wanted = str(Reference.parse(reference).with_default_tag())
        for name, descriptor in self.images:
            if name == wanted:
                return descriptor
        raise ImageNotFoundError(f"{self._what} has no image {reference!r}")

    def open(self, descriptor: Descriptor, offset: int = 0) -> "_Slice | io.BytesIO":
        """Open the content at ``offset``."""
        made = self._made.get(descriptor.digest)
        if made is not None:
            return io.BytesIO(made[offset:])
        place = self._places.get(descriptor.digest) or self._members.get(
            _blob_name(descriptor.digest)
        )
        if place is None:
            raise ArchiveError(f"{self._what} lacks {descriptor.digest}")
        start, size = place
        return _Slice(self._file, self._lock, start + offset, max(0, size - offset))

    def _list_members(self) -> None:
        file = self._file
        end = file.seek(0, os.SEEK_END)
        file.seek(0)
        reader = TarReader(file, skip=lambda size: file.seek(size, os.SEEK_CUR), what="archive")
        for entry in reader:
            name = str(PurePosixPath(entry.path))
            if entry.type is EntryType.SYMLINK:
                folder = posixpath.dirname(name)
                self._links[name] = posixpath.normpath(f"{folder}/{entry.link}")
            elif isinstance(entry.content, ArchiveContent) and not entry.content.is_sparse:
                start = file.tell() - reader.ahead_bytes
                if start + entry.size > end:
                    raise LayerFormatError(f"the archive ends in the middle of {shown(name)}")
                self._members[name] = (start, entry.size)

    def _read_images(self) -> tuple[tuple[str | None, Descriptor], ...]:
        if "index.json" in self._members:
            index = Index.parse(self._json("index.json"))
            return tuple((_name_of(d), _without_names(d)) for d in index.manifests)
        if "manifest.json" in self._members:
            return self._docker_images()
        raise ArchiveError(
            f"{self._what} is not an image archive: it has neither index.json nor manifest.json",
            hint="For the files of a root file system use 'imagekit import'.",
        )

    def _docker_images(self) -> tuple[tuple[str | None, Descriptor], ...]:
        try:
            listed = decode(self._json("manifest.json"), list[_DockerImage], "list of images")
        except InvalidDocumentError as error:
            raise ArchiveError(f"{self._what} has a bad manifest.json: {error}") from error
        found: list[tuple[str | None, Descriptor]] = []
        for image in listed:
            config = self._describe(image.config, mediatype.OCI_CONFIG)
            layers = [self._describe(name, None) for name in image.layers]
            manifest = Manifest.build(config=config, layers=layers)
            self._made[manifest.descriptor.digest] = manifest.raw
            names: list[str | None] = [
                str(Reference.parse(tag).with_default_tag()) for tag in image.repo_tags or ()
            ]
            found.extend((name, manifest.descriptor) for name in names or [None])
        return tuple(found)

    def _describe(self, name: str, media_type: str | None) -> Descriptor:
        path = str(PurePosixPath(name))
        place = self._members.get(self._links.get(path, path))
        if place is None:
            raise ArchiveError(f"{self._what} lacks its member {name!r}")
        first = _Slice(self._file, self._lock, *place).read(4)
        reader = HashingReader(_Slice(self._file, self._lock, *place))
        while reader.read(CHUNK_BYTES):
            pass
        digest = Digest("sha256", reader.hexdigest())
        self._places[digest] = place
        return Descriptor(media_type=media_type or _layer_type(first), digest=digest, size=place[1])

    def _json(self, name: str) -> bytes:
        start, size = self._members[name]
        if size > _MAX_JSON_BYTES:
            raise ArchiveError(f"{self._what} has a {name} of {size} bytes")
        return _Slice(self._file, self._lock, start, size).read(size)


class _Slice:
    """A part of a shared file, with a position of its own."""

    def __init__(self, file: BinaryIO, lock: threading.Lock, start: int, size: int) -> None:
        self._file = file
        self._lock = lock
        self._position = start
        self._left = size

    def read(self, size: int = -1, /) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        with self._lock:
            self._file.seek(self._position)
            data = self._file.read(wanted)
        self._position += len(data)
        self._left -= len(data)
        return data

    def close(self) -> None:
        """Do nothing: the file belongs to the archive."""


def _blob_name(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.hex}"


def _layer_type(magic: bytes) -> str:
    if magic[:2] == b"\x1f\x8b":
        return mediatype.OCI_LAYER_GZIP
    if magic == b"\x28\xb5\x2f\xfd":
        return mediatype.OCI_LAYER_ZSTD
    return mediatype.OCI_LAYER


def _without_names(descriptor: Descriptor) -> Descriptor:
    """Return the descriptor that every name of the image shares."""
    kept = {
        key: value
        for key, value in descriptor.annotations.items()
        if key not in (CONTAINERD_NAME, REF_NAME)
    }
    return replace(descriptor, annotations=kept)


def _name_of(descriptor: Descriptor) -> str | None:
    annotations = descriptor.annotations
    name = annotations.get(CONTAINERD_NAME) or annotations.get(REF_NAME)
    if not name:
        return None
    try:
        return str(Reference.parse(name).with_default_tag())
    except InvalidReferenceError:
        return None  # the annotation may hold any text; the image is found by its digest
