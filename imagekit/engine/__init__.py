"""The Python API: what can be done with images and containers, over parts made in ``parts``.

    from imagekit.engine import Engine
    from imagekit.build.request import BuildRequest

    with Engine.open() as engine:
        engine.build(BuildRequest(context=Path("."), tags=("localhost:5000/app:1.0",)))
        engine.push("localhost:5000/app:1.0")

Every method may be called from several threads. What happens meanwhile is told as values of
``imagekit.base.events`` to the ``events`` callable.
"""

import contextlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from imagekit.base.errors import CorruptionError, UserError, naming
from imagekit.engine.files import create_file, open_source
from imagekit.engine.parts import Parts

if TYPE_CHECKING:
    from imagekit.build.builder import BuildResult
    from imagekit.build.request import BuildRequest
    from imagekit.dockerfile.lint.findings import LintReport
    from imagekit.images.convert import Conversion, DocumentFormat
    from imagekit.images.fsck import FsckReport
    from imagekit.images.local import HistoryRow, ImageSummary, LocalImage
    from imagekit.oci.image_config import ImageConfig
    from imagekit.oci.mediatype import Compression
    from imagekit.oci.platform import Platform
    from imagekit.registry.transfer import TransferReport
    from imagekit.store.gc import PruneReport
    from imagekit.store.plan import LabelFilter
    from imagekit.store.usage import Usage


class Engine(Parts):
    """One store and all that can be done with it. Close it, or use it as a context manager.

    Nothing heavy is imported or opened before a method needs it: listing images does not load the
    registry client, and building from the cache does not start the sandbox.
    """

    # -- building

    def build(self, request: "BuildRequest") -> "BuildResult":
        """Build an image from a Dockerfile; see ``BuildRequest`` and ``Builder.build``."""
        from imagekit.build.builder import Builder

        builder = Builder(
            store=self._store,
            images=self._images,
            launcher=self._launcher,
            pull=self._pull_base,
            events=self._events,
            clock=self._clock,
            limits=self._settings.archive_limits,
        )
        result = builder.build(request)
        self._store.settle()
        self._keep_within_limits(result.image.descriptor.digest)
        return result

    def check(
        self, request: "BuildRequest", *, only_needed: bool = False, fetch: bool = True
    ) -> "LintReport":
        """Return what the build checks find in a Dockerfile; see ``build.checking.check``.

        Without ``fetch`` no registry is asked about images that are not here.
        """
        from imagekit.build.checking import check, config_at, local_config
        from imagekit.oci.platform import Platform
        from imagekit.oci.reference import Reference

        def find(name: str, platform: "Platform | None") -> "ImageConfig | None":
            found = None if request.pull else local_config(self._images, name, platform)
            if found is not None or not fetch:
                return found
            reference = Reference.parse(name).with_default_tag()
            with self._client(reference, insecure=False) as client:
                source = client.repository(reference)
                return config_at(source, str(reference), platform or Platform.host())

        return check(request, find, only_needed=only_needed)

    # -- images

    def images(self) -> "tuple[ImageSummary, ...]":
        """Return all named images, newest first."""
        return self._images.list()

    def image_history(self, name: str) -> "tuple[HistoryRow, ...]":
        """Return how an image was made, newest step first."""
        return self._images.history(name)

    def image(self, name: str) -> "LocalImage":
        """Return a local image by name, ``repository@digest``, id, or start of an id.

        Raises:
            ImageNotFoundError: if there is none.

        """
        return self._images.resolve(name)

    def inspect(self, name: str) -> tuple[str, dict[str, Any]]:
        """Return ``("container", ...)`` or ``("image", ...)``, in the shape docker gives it.

        Raises:
            ImageNotFoundError: if neither has this name.

        """
        from imagekit.containers.errors import ContainerNotFoundError

        try:
            return "container", self.containers.inspect(name)
        except ContainerNotFoundError:
            pass
        from imagekit.images.inspect import inspection

        image = self._images.resolve(name)
        return "image", inspection(
            image, self._images.names_of(image), self._images.size_bytes(image)
        )

    def tag(self, source: str, target: str) -> None:
        """Give an image a further name."""
        self._images.tag(source, target)

    def remove_image(self, name: str, *, force: bool = False) -> tuple[str, ...]:
        """Remove a name, or with an id all names; return the lines docker prints.

        Content that nothing else uses goes too.
        """
        self._open_store(spend_reserve=True)
        used_by = {c.id: c.image_id for c in self.containers.list(all=True)}
        lines = self._images.remove(name, force=force, used_by=used_by)
        self._store.gc.prune()
        return lines

    def import_image(
        self,
        source: Path | BinaryIO,
        name: str | None = None,
        *,
        changes: Sequence[str] = (),
        message: str = "",
    ) -> "LocalImage":
        """Make an image of one layer from a directory, or from a tar archive of any packing."""
        from imagekit.build.changes import config_edit
        from imagekit.images.import_root import import_root

        edit = config_edit(changes)
        with contextlib.ExitStack() as stack:
            lease = stack.enter_context(self._store.leases.hold("import"))
            content: Path | BinaryIO = source
            if isinstance(source, Path) and not source.is_dir():
                content = stack.enter_context(open_source(source))
            what = f"import {source}" if isinstance(source, Path) else "import"
            stack.enter_context(naming(what, CorruptionError, UserError))
            image = import_root(
                self._store,
                content,
                name=name,
                lease=lease,
                clock=self._clock,
                edit=edit,
                message=message,
                limits=self._settings.archive_limits(),
            )
            self._store.settle()
        self._keep_within_limits(image.descriptor.digest)
        return image

    def convert(
        self,
        name: str,
        target: str | None = None,
        *,
        compression: "Compression",
        level: int | None = None,
        document_format: "DocumentFormat | None" = None,
        force: bool = False,
    ) -> "Conversion":
        """Give an image's layers another compression; see ``images.convert.convert``.

        The result is named ``target``; without it the name of the image moves to the result.
        """
        from imagekit.images.convert import convert
        from imagekit.images.errors import ConversionError
        from imagekit.images.store_content import StoreContent
        from imagekit.oci.reference import Reference

        with self._store.leases.hold("convert") as lease:
            full_name, root = self._images.named(name)
            reference = Reference.parse(target or full_name).with_default_tag()
            if reference.digest is not None:
                raise ConversionError(
                    f"the result cannot be called {reference}: its digest will be another",
                    hint="Give a TARGET, a name with a tag.",
                )
            lease.add("blob", str(root.digest))
            conversion = convert(
                self._store,
                root,
                lease=lease,
                compression=compression,
                level=level,
                document_format=document_format,
                force=force,
                name=full_name,
                limits=self._settings.archive_limits(),
                events=self._events,
            )
            self._store.settle()
            StoreContent(self._store, lease).tag(conversion.descriptor, str(reference))
        self._keep_within_limits(conversion.descriptor.digest)
        return conversion

    # -- moving content

    def save(
        self,
        names: "Sequence[str | LocalImage]",
        output: Path | BinaryIO,
        format: str = "oci-archive",  # noqa: A002 (docker's and skopeo's word)
    ) -> None:
        """Write images to one archive, see ``images.archive``; both formats are the same file.

        An image without a name, such as a build without tags gives, is passed itself.
        """
        from imagekit.images.archive import ArchiveSink
        from imagekit.images.damage import blamed
        from imagekit.images.store_content import StoreContent
        from imagekit.registry.transfer import transfer

        if format not in ("oci-archive", "docker-archive"):
            raise UserError(
                f"unknown archive format {format!r}", hint="Use oci-archive or docker-archive."
            )
        images = [self._images.resolve(name) if isinstance(name, str) else name for name in names]
        with contextlib.ExitStack() as stack:
            lease = stack.enter_context(self._store.leases.hold("save"))
            file = (
                output if not isinstance(output, Path) else stack.enter_context(create_file(output))
            )
            sink = ArchiveSink(file)
            source = StoreContent(self._store, lease)
            for image in images:
                with blamed(self._store, image):
                    transfer(source, sink, image.descriptor, concurrency=1, events=self._events)
                if image.name is not None:
                    sink.tag(image.descriptor, image.name)
                else:
                    sink.keep(image.descriptor)
            sink.close()

    def load(self, source: Path | BinaryIO) -> tuple[str, ...]:
        """Read images from an archive of ``save``, docker or skopeo, and return their names.

        An image without a name is returned by its digest.
        """
        from imagekit.images.archive import ArchiveSource
        from imagekit.images.store_content import StoreContent
        from imagekit.oci.platform import Platform
        from imagekit.oci.reference import Reference
        from imagekit.registry.transfer import transfer

        with contextlib.ExitStack() as stack:
            lease = stack.enter_context(self._store.leases.hold("load"))
            what = str(source) if isinstance(source, Path) else "the archive"
            archive = ArchiveSource(self._seekable(stack, source), what=what)
            sink = StoreContent(self._store, lease)
            names, roots = [], []
            for name, descriptor in archive.images:
                with naming(f"image {name or descriptor.digest} of {what}"):
                    report = transfer(
                        archive,
                        sink,
                        descriptor,
                        platform=Platform.host(),
                        concurrency=1,
                        events=self._events,
                    )
                self._images.load(report.root, name)
                roots.append(report.root.digest)
                if name is not None:
                    sink.tag(report.root, name)
                names.append(Reference.parse(name).familiar() if name else str(report.root.digest))
            self._store.settle()
        self._keep_within_limits(*roots)
        return tuple(names)

    def push(
        self,
        name: str,
        destination: str | None = None,
        *,
        insecure: bool = False,
        concurrency: int | None = None,
    ) -> "TransferReport":
        """Copy a local image to a registry: to that of its name, or to ``destination``."""
        from imagekit.images.damage import blamed
        from imagekit.images.store_content import StoreContent
        from imagekit.oci.reference import Reference
        from imagekit.registry.transfer import transfer

        image = self._images.resolve(name)
        target = Reference.parse(destination or image.name or name).with_default_tag()
        with self._store.leases.hold("push") as lease, self._client(target, insecure) as client:
            lease.add("blob", image.descriptor.digest)
            repository = client.repository(target)
            with blamed(self._store, image):
                report = transfer(
                    StoreContent(self._store, lease),
                    repository,
                    image.descriptor,
                    concurrency=concurrency or self._settings.concurrency,
                    events=self._events,
                )
            repository.tag(report.root, str(target))
            return report

    def pull(
        self, name: str, *, platform: "Platform | None" = None, insecure: bool = False
    ) -> "ImageSummary":
        """Copy an image from its registry, unpack it, and give it its name here."""
        summary = self._pull(name, platform=platform, insecure=insecure)
        self._keep_within_limits()
        return summary

    def _pull(self, name: str, *, platform: "Platform | None", insecure: bool) -> "ImageSummary":
        from imagekit.images.arriving import ArrivingContent, unpacking
        from imagekit.images.unpack import unpack
        from imagekit.oci.platform import Platform
        from imagekit.oci.reference import Reference
        from imagekit.registry.transfer import transfer

        reference = Reference.parse(name).with_default_tag()
        limits = self._settings.archive_limits
        with self._store.leases.hold("pull") as lease, self._client(reference, insecure) as client:
            repository = client.repository(reference)
            sink = ArrivingContent(self._store, lease)
            in_thread = unpacking(self._store, sink, str(reference), lease=lease, limits=limits)
            with naming(reference.familiar()), in_thread as announce:
                report = transfer(
                    repository,
                    sink,
                    repository.resolve(str(reference)),
                    platform=platform or Platform.host(),
                    concurrency=self._settings.concurrency,
                    events=self._events,
                    announce=announce,
                )
            image = self._images.load(report.root, str(reference))
            unpack(self._store, image, lease=lease, limits=limits)
            self._store.settle()
            if reference.tag is not None:
                sink.tag(report.root, str(reference.without_digest()))
            else:
                sink.tag(report.root, str(reference))
            return self._images.summary(image)

    def _pull_base(self, name: str, platform: "Platform | None") -> "LocalImage":
        # Within a build, whose cache is not to be looked through before its end.
        self._pull(name, platform=platform, insecure=False)
        return self._images.resolve(name)

    def login(self, server: str, username: str, password: str) -> None:
        """Try credentials at a registry and keep them for later."""
        from imagekit.registry.auth import Credentials

        with self._client(None, insecure=False) as client:
            client.login(server, Credentials(username=username, password=password))

    def logout(self, server: str) -> bool:
        """Forget the credentials of a registry; tell whether there were any."""
        with self._client(None, insecure=False) as client:
            return client.logout(server)

    # -- the store

    def disk_usage(self) -> "Usage":
        """Return what takes how much space: rows that add up, and the details of each."""
        return self._open_store(spend_reserve=True).gc.usage()

    def prune(
        self,
        *,
        everything: bool = False,
        images: bool = False,
        keep_cache_bytes: int | None = None,
        unused_since: datetime | None = None,
        labels: "Iterable[LabelFilter]" = (),
        dry_run: bool = False,
    ) -> "PruneReport":
        """Remove what no image, container, running command or cache record needs.

        More goes when asked for; see ``Collector.prune``.
        """
        store = self._open_store(spend_reserve=True)
        if not dry_run:
            self.containers.repair()  # one that a killed process left keeps its image
        return store.gc.prune(
            everything=everything,
            images=images,
            keep_cache_bytes=keep_cache_bytes,
            unused_since=unused_since,
            labels=labels,
            dry_run=dry_run,
        )

    def fsck(self, *, repair: bool = False) -> "FsckReport":
        """Check everything in the store against its digests; see ``images.fsck``.

        With ``repair`` what is damaged is removed, so that it can be pulled or built again.
        """
        from imagekit.images.fsck import Fsck

        fsck = Fsck(
            self._store,
            running=self._running,
            clock=self._clock,
            limits=self._settings.archive_limits(),
            events=self._events,
        )
        return fsck.run(repair=repair)

    def _running(self) -> "frozenset[str]":
        """Return the ids of the containers that run, or may run."""
        try:
            return frozenset(container.id for container in self.containers.list())
        except CorruptionError:  # of one container's state: nobody knows which others run
            return frozenset(row.id for row in self._store.containers.all())
