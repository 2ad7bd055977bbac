"""An image with its layers in another compression.

The config stays as it is, and with it the image id, the history and the unpacked layers; what
changes are the digests of the layer blobs, and so the manifest and an index above it. Documents
are edited as JSON, so that fields that nobody here knows survive.
"""

import enum
from collections.abc import Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any

import msgspec

from imagekit.base.events import EventSink, Notice, ignore_events
from imagekit.images.errors import ConversionError
from imagekit.images.local import LocalImages
from imagekit.images.recompress import LayerJob, Recompressed, Recompressor
from imagekit.layers.compression import check_level
from imagekit.layers.limits import Limits
from imagekit.layers.pack import layers_at_once
from imagekit.oci import mediatype
from imagekit.oci.descriptor import Descriptor
from imagekit.oci.digest import Digest
from imagekit.oci.documents import decode, encode
from imagekit.oci.image_config import next_chain_id
from imagekit.oci.manifest import Index, Manifest
from imagekit.oci.mediatype import Compression
from imagekit.store.layout import Store
from imagekit.store.leases import Lease

_REFERENCE_TYPE = "vnd.docker.reference.type"
_REFERENCE_DIGEST = "vnd.docker.reference.digest"
"""In an index, what BuildKit's attestations are and what they are about."""

_OF_THE_OLD_BYTES = (
    "containerd.io/snapshot/stargz/",
    "io.containers.estargz.",
    "io.github.containers.zstd-chunked.",
)
"""Annotations of a layer that describe its blob from within: tables of contents, offsets."""

Json = dict[str, Any]


class DocumentFormat(enum.StrEnum):
    """Whose media types a manifest uses."""

    OCI = "oci"
    DOCKER = "docker"


class Conversion(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an image: its new manifest or index, and each of its layers once."""

    descriptor: Descriptor
    layers: tuple[Recompressed, ...]


def convert(
    store: Store,
    root: Descriptor,
    *,
    lease: Lease,
    compression: Compression,
    level: int | None = None,
    document_format: DocumentFormat | None = None,
    force: bool = False,
    name: str | None = None,
    limits: Limits | None = None,
    events: EventSink = ignore_events,
) -> Conversion:
    """Store the image of the manifest or index ``root`` with all layers in ``compression``.

    Of an index, manifests that are here are converted, the others and what is no image
    (attestations) stay. Layers that have the compression already stay as they are, unless
    ``force``. Several layers are packed at once. Without ``document_format`` documents keep theirs,
    but docker's has no zstd: such become OCI's, which an event tells. Nothing is named; ``name`` is
    what messages call the image. ``limits`` are of each layer that is unpacked.

    Raises:
        ConversionError: ``root`` is no image, or docker's format was asked for with zstd.
        LayerLevelError: the compression has no such level.
        LayerMismatchError: manifest and config have different numbers of layers.
        BlobMissingError, CorruptionError, LayerLimitError: from a layer; see ``Recompressor``.

    """
    check_level(compression, level)
    if document_format is DocumentFormat.DOCKER and compression is Compression.ZSTD:
        raise ConversionError(
            "docker's manifests have no layers packed by zstd", hint="Use the OCI format."
        )
    recompressor = Recompressor(
        store,
        lease,
        compression=compression,
        level=level,
        force=force,
        limits=limits,
        events=events,
    )
    converter = _Converter(store, lease, recompressor, compression, document_format, name, events)
    return converter.convert(root)


class _Converter:
    def __init__(
        self,
        store: Store,
        lease: Lease,
        recompressor: Recompressor,
        compression: Compression,
        document_format: DocumentFormat | None,
        name: str | None,
        events: EventSink,
    ) -> None:
        self._store = store
        self._lease = lease
        self._recompressor = recompressor
        self._compression = compression
        self._format = document_format
        self._name = name
        self._events = events
        self._layers: dict[Digest, Recompressed] = {}

    def convert(self, root: Descriptor) -> Conversion:
        manifests = self._manifests(root)
        jobs = {job.layer.digest: job for manifest in manifests for job in self._jobs(manifest)}
        self._run(list(jobs.values()))
        if mediatype.is_index(root.media_type):
            descriptor = self._write_index(root)
        else:
            descriptor = self._write_manifest(manifests[0])
        return Conversion(descriptor=descriptor, layers=tuple(self._layers[key] for key in jobs))

    def _manifests(self, root: Descriptor) -> list[Manifest]:
        """Return the manifests of images that are here, of an index in its order."""
        raw = self._store.blobs.read(root.digest)
        if not mediatype.is_index(root.media_type):
            manifest = Manifest.parse(raw, root.media_type)
            if not _is_image(manifest):
                raise ConversionError(
                    f"{root.digest} is no image: it has other content than layers"
                )
            return [manifest]
        children = map(self._image_at, Index.parse(raw, root.media_type).manifests)
        found = [manifest for manifest in children if manifest is not None]
        if not found:
            raise ConversionError(f"nothing of index {root.digest} is here")
        return found

    def _image_at(self, child: Descriptor) -> Manifest | None:
        is_manifest = mediatype.is_manifest(child.media_type)
        if (
            not is_manifest
            or _REFERENCE_TYPE in child.annotations
            or not self._store.blobs.has(child.digest)
        ):
            return None
        manifest = Manifest.parse(self._store.blobs.read(child.digest), child.media_type)
        return manifest if _is_image(manifest) else None

    def _jobs(self, manifest: Manifest) -> list[LayerJob]:
        image = LocalImages(self._store).load(manifest.descriptor, self._name)
        jobs = []
        parent: Digest | None = None
        for layer, diff_id in zip(image.manifest.layers, image.config.diff_ids, strict=True):
            if mediatype.is_distributable(layer.media_type):
                jobs.append(
                    LayerJob(image=image, layer=layer, diff_id=diff_id, parent_chain_id=parent)
                )
            parent = next_chain_id(parent, diff_id)
        return jobs

    def _run(self, jobs: list[LayerJob]) -> None:
        """Convert layers, the largest first; after a failure the others end soon."""
        jobs.sort(key=lambda job: job.layer.size, reverse=True)
        with ThreadPoolExecutor(layers_at_once(), thread_name_prefix="convert") as pool:
            futures = {pool.submit(self._recompressor.convert, job): job for job in jobs}
            try:
                for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                    self._layers[futures[future].layer.digest] = future.result()
            except BaseException:
                self._recompressor.cancelled.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _write_manifest(self, manifest: Manifest) -> Descriptor:
        document = decode(manifest.raw, Json, "manifest")
        kind = self._format_of(manifest)
        docker = kind is DocumentFormat.DOCKER
        document["mediaType"] = mediatype.DOCKER_MANIFEST if docker else mediatype.OCI_MANIFEST
        document["config"]["mediaType"] = (
            mediatype.DOCKER_CONFIG if docker else mediatype.OCI_CONFIG
        )
        for entry, layer in zip(document["layers"], manifest.layers, strict=True):
            result = self._layers.get(layer.digest)
            if result is not None:
                media_type = mediatype.layer_media_type(self._compression, docker=docker)
                _replace(entry, media_type, result.digest, result.size)
        return self._put(document, manifest.raw, manifest.media_type)

    def _format_of(self, manifest: Manifest) -> DocumentFormat:
        if self._format is not None:
            return self._format
        if manifest.media_type != mediatype.DOCKER_MANIFEST:
            return DocumentFormat.OCI
        if self._compression is not Compression.ZSTD:
            return DocumentFormat.DOCKER
        self._events(
            Notice(message="the manifest becomes an OCI one: docker's has no layers packed by zstd")
        )
        return DocumentFormat.OCI

    def _write_index(self, root: Descriptor) -> Descriptor:
        raw = self._store.blobs.read(root.digest)
        index = Index.parse(raw, root.media_type)
        document = decode(raw, Json, "index")
        renamed: dict[str, str] = {}
        for entry, child in zip(document["manifests"], index.manifests, strict=True):
            manifest = self._image_at(child)
            if manifest is not None:
                written = self._write_manifest(manifest)
                renamed[str(child.digest)] = str(written.digest)
                _replace(entry, written.media_type, written.digest, written.size)
        for entry in document["manifests"]:  # an attestation goes with the image it is about
            annotations = entry.get("annotations") or {}
            if (about := annotations.get(_REFERENCE_DIGEST)) in renamed:
                annotations[_REFERENCE_DIGEST] = renamed[about]
        types = {entry.get("mediaType") for entry in document["manifests"]}
        is_docker = root.media_type == mediatype.DOCKER_LIST or self._format == "docker"
        docker = is_docker and mediatype.OCI_MANIFEST not in types
        document["mediaType"] = mediatype.DOCKER_LIST if docker else mediatype.OCI_INDEX
        return self._put(document, raw, root.media_type)

    def _put(self, document: Json, raw: bytes, media_type: str) -> Descriptor:
        """Store a document; one in which nothing changed keeps its bytes."""
        kind: str = document["mediaType"]
        if {"mediaType": media_type, **decode(raw, Json, "document")} != document:
            raw = encode(document)
        digest = Digest.of(raw)
        self._lease.add("blob", str(digest))
        self._store.blobs.put(raw)
        return Descriptor(media_type=kind, digest=digest, size=len(raw))


def _is_image(manifest: Manifest) -> bool:
    return manifest.config.media_type in (mediatype.OCI_CONFIG, mediatype.DOCKER_CONFIG) and all(
        mediatype.is_layer(layer.media_type) for layer in manifest.layers
    )


def _replace(entry: Json, media_type: str, digest: Digest, size: int) -> None:
    """Have a descriptor name other content; what was true only of the old bytes goes."""
    if entry.get("digest") != str(digest):
        entry.pop("urls", None)
        entry.pop("data", None)
        if annotations := entry.get("annotations"):
            entry["annotations"] = _still_true(annotations)
            if not entry["annotations"]:
                del entry["annotations"]
    entry.update(mediaType=media_type, digest=str(digest), size=size)


def _still_true(annotations: Mapping[str, str]) -> dict[str, str]:
    return {
        key: value for key, value in annotations.items() if not key.startswith(_OF_THE_OLD_BYTES)
    }
