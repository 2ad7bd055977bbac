"""Images in the local store: found by name, digest or id; listed, tagged, removed."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from imagekit.images.errors import ImageInUseError, ImageNotFoundError, LayerMismatchError
from imagekit.oci import mediatype
from imagekit.oci.descriptor import Descriptor
from imagekit.oci.digest import Digest
from imagekit.oci.errors import InvalidReferenceError
from imagekit.oci.image_config import History, ImageConfig
from imagekit.oci.manifest import Index, Manifest
from imagekit.oci.platform import Platform
from imagekit.oci.reference import Reference
from imagekit.store.errors import ContentNotFoundError
from imagekit.store.layout import Store

_HEX_DIGITS = "0123456789abcdef"
_ID_LENGTHS = range(4, 65)


class LocalImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image whose manifest and config are at hand. ``name`` is the full reference, or None."""

    name: str | None
    descriptor: Descriptor
    manifest: Manifest
    config: ImageConfig

    @property
    def id(self) -> Digest:
        """The image id as docker counts it: the digest of the config."""
        return self.manifest.config.digest

    @property
    def chain_id(self) -> Digest | None:
        """The identity of its root file system; None when it has no layer."""
        return self.config.chain_id


class ImageSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A line of ``imagekit images``. ``size_bytes`` is of the unpacked layers where known."""

    name: str | None
    id: Digest
    digest: Digest
    created: datetime | None
    size_bytes: int
    platform: Platform


class HistoryRow(msgspec.Struct, frozen=True, kw_only=True):
    """A line of ``imagekit history``, newest first; size 0 for steps without a layer."""

    history: History
    size_bytes: int
    digest: Digest | None


class LocalImages:
    """Reads and changes the names of images in a store."""

    def __init__(self, store: Store, *, platform: Platform | None = None) -> None:
        self._store = store
        self._platform = platform or Platform.host()

    def resolve(self, name: str) -> LocalImage:
        """Return the image with this name, ``repository@digest``, id, or unique start of an id.

        Raises:
            ImageNotFoundError: with the nearest name as a hint.

        """
        tagged = self._by_name(name)
        if tagged is not None:
            return self.load(tagged[1], tagged[0])
        start = name.removeprefix("sha256:")
        if len(start) in _ID_LENGTHS and not start.strip(_HEX_DIGITS):
            found = self._by_id(start)
            if found is not None:
                return found
        raise ImageNotFoundError(f"no local image {name!r}", hint=self._hint(name))

    def named(self, name: str) -> tuple[str, Descriptor]:
        """Return the full name of the image ``name`` and what that names: perhaps an index.

        Raises:
            ImageNotFoundError: as ``resolve``.

        """
        tagged = self._by_name(name)
        if tagged is None:
            image = self.resolve(name)
            assert image.name is not None  # ids are looked for among the names
            tagged = self._by_name(image.name) or (image.name, image.descriptor)
        return tagged

    def load(self, descriptor: Descriptor, name: str | None = None) -> LocalImage:
        """Return the image of a stored manifest, or the one of an index for this platform.

        Raises:
            ImageNotFoundError: if an index has nothing for this platform.
            LayerMismatchError: if manifest and config have different numbers of layers.
            BlobMissingError, BlobDamagedError: if manifest or config are not what they were.

        """
        raw = self._read(descriptor.digest, name)
        if mediatype.is_index(descriptor.media_type):
            index = Index.parse(raw, descriptor.media_type)
            chosen = index.select(self._platform)
            if chosen is None or not self._store.blobs.has(chosen.digest):
                raise ImageNotFoundError(
                    f"image {name or descriptor.digest} has no content for {self._platform}",
                    hint="Pull it for this platform.",
                )
            return self.load(chosen, name)
        manifest = Manifest.parse(raw, descriptor.media_type)
        config = ImageConfig.parse(self._read(manifest.config.digest, name))
        if len(manifest.layers) != len(config.diff_ids):
            raise LayerMismatchError(
                f"image {name or manifest.config.digest} has {len(manifest.layers)} layers "
                f"but {len(config.diff_ids)} diff ids"
            )
        return LocalImage(name=name, descriptor=descriptor, manifest=manifest, config=config)

    def list(self) -> tuple[ImageSummary, ...]:
        """Return all named images, newest first."""
        known = self._store.layers.uncompressed_sizes()  # one query, not one for each layer
        loaded = [self.load(t.descriptor, t.name) for t in self._store.images.all()]
        rows = [_summary(image, sum(_layer_sizes(image, known))) for image in loaded]
        return tuple(
            sorted(
                rows, key=lambda row: row.created.timestamp() if row.created else 0.0, reverse=True
            )
        )

    def summary(self, image: LocalImage) -> ImageSummary:
        """Return the line of one image."""
        return _summary(image, self.size_bytes(image))

    def size_bytes(self, image: LocalImage) -> int:
        """Return the size of its layers, unpacked where that is known."""
        return sum(self._layer_sizes(image))

    def history(self, name: str) -> tuple[HistoryRow, ...]:
        """Return how the image was made, newest step first."""
        image = self.resolve(name)
        layers = iter(zip(self._layer_sizes(image), image.manifest.layers, strict=True))
        rows = []
        for entry in image.config.history:
            size, digest = 0, None
            # The history is only told, not promised: it may name more layers than there are.
            if not entry.empty_layer and (found := next(layers, None)) is not None:
                size, digest = found[0], found[1].digest
            rows.append(HistoryRow(history=entry, size_bytes=size, digest=digest))
        rows.extend(
            HistoryRow(history=History(), size_bytes=size, digest=layer.digest)
            for size, layer in layers
        )
        return tuple(reversed(rows))

    def names_of(self, image: LocalImage) -> tuple[str, ...]:
        """Return every name of the same manifest."""
        digest = image.descriptor.digest
        return tuple(
            tagged.name for tagged in self._store.images.all() if tagged.descriptor.digest == digest
        )

    def tag(self, source: str, target: str) -> LocalImage:
        """Give the image ``source`` the further name ``target``."""
        image = self.resolve(source)
        reference = Reference.parse(target)
        if reference.digest is not None:
            raise InvalidReferenceError(f"cannot tag as {target!r}: a tag has no digest")
        self._store.images.set(str(reference.with_default_tag()), image.descriptor)
        return image

    def remove(
        self, name: str, *, force: bool = False, used_by: dict[str, str] | None = None
    ) -> tuple[str, ...]:
        """Take away a name, or with an id all names of the image.

        Returns the lines docker prints. ``used_by`` maps container ids to image ids. The content
        goes at the next prune.

        Raises:
            ImageInUseError: if a container uses the last name, or an id has several names, unless
                ``force``.

        """
        image = self.resolve(name)
        names = self.names_of(image)
        given = self._by_name(name)
        removed = names if given is None else (given[0],)
        if given is None and len(names) > 1 and not force:
            raise ImageInUseError(
                f"image {name} has {len(names)} names",
                hint="Remove them one by one, or use --force.",
            )
        if len(removed) == len(names) and not force:
            for container, image_id in (used_by or {}).items():
                if image_id == str(image.id):
                    raise ImageInUseError(
                        f"image {name} is used by container {container[:12]}",
                        hint=f"Remove it first: imagekit rm -f {container[:12]}",
                    )
        for tag in removed:
            self._store.images.delete(tag)
        lines = [f"Untagged: {Reference.parse(tag).familiar()}" for tag in removed]
        if len(removed) == len(names):
            lines.append(f"Deleted: {image.id}")
        return tuple(lines)

    def _by_name(self, name: str) -> tuple[str, Descriptor] | None:
        try:
            reference = Reference.parse(name).with_default_tag()
        except InvalidReferenceError:
            return None
        if reference.digest is not None:
            for tagged in self._store.images.all():
                if (
                    tagged.descriptor.digest == reference.digest
                    and Reference.parse(tagged.name).repository == reference.repository
                ):
                    return tagged.name, tagged.descriptor
            return None
        found = self._store.images.get(str(reference))
        return None if found is None else (found.name, found.descriptor)

    def _by_id(self, start: str) -> LocalImage | None:
        found = {}
        for tagged in self._store.images.all():
            image = self.load(tagged.descriptor, tagged.name)
            if image.id.hex.startswith(start) or image.descriptor.digest.hex.startswith(start):
                found[image.id] = image
        if len(found) > 1:
            raise ImageNotFoundError(
                f"several images have an id that begins with {start}", hint="Write more digits."
            )
        return next(iter(found.values()), None)

    def _hint(self, name: str) -> str:
        import difflib  # late: only a wrong name comes here

        names = [Reference.parse(tagged.name).familiar() for tagged in self._store.images.all()]
        near = difflib.get_close_matches(name if ":" in name else f"{name}:latest", names, n=1)
        if near:
            return f"Did you mean {near[0]}?"
        return f"Fetch it with: imagekit pull {name}"

    def _layer_sizes(self, image: LocalImage) -> tuple[int, ...]:
        known = {}
        for diff_id in image.config.diff_ids:
            for layer in self._store.layers.blobs_of(diff_id):
                known[str(diff_id)] = layer.uncompressed_size
        return _layer_sizes(image, known)

    def _read(self, digest: Digest, name: str | None) -> bytes:
        """Return a document, verified: a changed one may still be JSON, and would be obeyed."""
        try:
            raw = self._store.blobs.read(digest)
        except ContentNotFoundError as error:
            from imagekit.images.damage import missing_blob, shown_name  # late, here and below

            raise missing_blob(digest, shown_name(name, digest)) from error
        if Digest.of(raw, digest.algorithm) != digest:
            from imagekit.images.damage import damaged_blob, shown_name

            raise damaged_blob(digest, shown_name(name, digest))
        return raw


def _summary(image: LocalImage, size_bytes: int) -> ImageSummary:
    return ImageSummary(
        name=image.name,
        id=image.id,
        digest=image.descriptor.digest,
        created=parse_time(image.config.created),
        size_bytes=size_bytes,
        platform=image.config.platform,
    )


def _layer_sizes(image: LocalImage, known: Mapping[str, int]) -> tuple[int, ...]:
    """Return the size of each layer; ``known`` has unpacked ones by the text of their diff id."""
    layers = zip(image.config.diff_ids, image.manifest.layers, strict=True)
    return tuple(known.get(str(diff_id), layer.size) for diff_id, layer in layers)


def parse_time(text: str | None) -> datetime | None:
    """Return an RFC 3339 time of an image document, aware; None if it is missing or odd."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
