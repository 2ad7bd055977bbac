"""Build checks for a request: what the rules need besides the text is read and looked up here.

A base image is looked for among those on this machine, then asked for at its registry: only its
configuration is read, nothing is kept. What cannot be had is taken to set PATH only.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from imagekit.base.errors import RemoteError, UserError
from imagekit.build.context import read_dockerfile, read_ignore
from imagekit.build.environment import platform_arguments
from imagekit.build.request import BuildRequest
from imagekit.dockerfile.errors import DockerfileError
from imagekit.dockerfile.lint.check import lint
from imagekit.dockerfile.lint.findings import LintReport
from imagekit.dockerfile.lint.references import PlatformName
from imagekit.dockerfile.lint.settings import BaseImage, LintSettings
from imagekit.images.errors import ImageNotFoundError
from imagekit.oci.image_config import ImageConfig
from imagekit.oci.manifest import Index, Manifest, parse_document
from imagekit.oci.platform import Platform

if TYPE_CHECKING:
    # The parts that build are not loaded for a look at the text.
    from imagekit.build.bases import PullImage
    from imagekit.images.local import LocalImages
    from imagekit.oci.content import ContentSource

_STAGE = "TARGETSTAGE"

FindConfig = Callable[[str, Platform | None], ImageConfig | None]
"""From an image reference, and a platform or None for this machine's, to its configuration."""


def check(
    request: BuildRequest, find_config: FindConfig, *, only_needed: bool = False
) -> LintReport:
    """Return what the build checks find in the Dockerfile of ``request``; nothing is built.

    All stages are looked at when the request has no target, unless ``only_needed``.

    Raises:
        BuildError: if there is no Dockerfile, or it cannot be read.
        PatternError: if the ignore file is malformed.

    """
    file_name, text = read_dockerfile(request)
    target = request.platform or Platform.host()
    predefined = platform_arguments(Platform.host(), target, "")
    del predefined[_STAGE]  # follows from the stages of the file
    settings = LintSettings(
        build_args=request.build_args,
        target=request.target,
        only_needed=only_needed,
        platform=PlatformName(target.os, target.architecture, target.variant or ""),
        platform_args=predefined,
        named_contexts=frozenset(request.build_contexts),
        ignore=read_ignore(request),
    )
    images = _Images(request, find_config)
    return lint(text, file_name=file_name, settings=settings, find_image=images.find)


def refuse_findings(request: BuildRequest, images: "LocalImages", pull: "PullImage") -> None:
    """Refuse to build a file in which a rule is broken, when ``error=true`` stands there.

    Images that are not there yet are pulled: the build needs them. Other mistakes are left for the
    build to find.

    Raises:
        DockerfileError: naming the rules.

    """

    def find(name: str, platform: Platform | None) -> ImageConfig | None:
        found = local_config(images, name, platform)
        return found or pull(name, platform).config

    report = check(request, find, only_needed=True)
    # Only the broken rules themselves have no place: every other mistake has one.
    if report.findings and report.error is not None and report.error.span is None:
        raise DockerfileError(
            report.error.message, hint="See them all with `imagekit build --check`."
        )


def local_config(images: "LocalImages", name: str, platform: Platform | None) -> ImageConfig | None:
    """Return the configuration of an image on this machine, None if it is not there."""
    try:
        config = images.resolve(name).config
    except ImageNotFoundError:
        return None
    return config if platform is None or platform.matches(config.platform) else None


def config_at(source: "ContentSource", reference: str, platform: Platform) -> ImageConfig:
    """Return the configuration of an image at its registry; its layers are not fetched.

    Raises:
        RegistryError: if the registry does not give it.
        NoSuchPlatformError: if it is not there for ``platform``.

    """
    from imagekit.registry.errors import NoSuchPlatformError
    from imagekit.registry.transfer import read_document

    descriptor = source.resolve(reference)
    document = parse_document(read_document(source, descriptor), descriptor.media_type)
    if isinstance(document, Index):
        chosen = document.select(platform)
        if chosen is None:
            raise NoSuchPlatformError(f"{reference} has no image for {platform}")
        document = parse_document(read_document(source, chosen), chosen.media_type)
    if not isinstance(document, Manifest):
        raise NoSuchPlatformError(f"{reference} has an index in an index")
    return ImageConfig.parse(read_document(source, document.config))


class _Images:
    """Finds what the rules ask of base images; when one registry is out of reach, none is asked."""

    def __init__(self, request: BuildRequest, find_config: FindConfig) -> None:
        self._contexts = request.build_contexts
        self._platform = request.platform
        self._find_config = find_config
        self._is_offline = False
        self._known: dict[tuple[str, Platform | None], ImageConfig | None] = {}

    def find(self, name: str, platform: str | None) -> BaseImage | None:
        context = self._contexts.get(name)
        if context is not None:
            from imagekit.build.bases import IMAGE_CONTEXT

            if not context.startswith(IMAGE_CONTEXT):
                return BaseImage()
            name = context.removeprefix(IMAGE_CONTEXT)
        wanted = self._platform if platform is None else Platform.parse(platform)
        if (name, wanted) not in self._known:
            self._known[name, wanted] = self._config(name, wanted)
        config = self._known[name, wanted]
        if config is None:
            return None
        container = config.config
        pairs = [text.partition("=") for text in container.env or ()]
        return BaseImage(
            env=tuple((key, value) for key, _, value in pairs),
            shell=container.shell or (),
            workdir=container.working_dir,
            triggers=container.on_build or (),
            platform=str(config.platform),
        )

    def _config(self, name: str, platform: Platform | None) -> ImageConfig | None:
        from imagekit.registry.errors import UnreachableError

        if self._is_offline:
            return None
        try:
            return self._find_config(name, platform)
        except UnreachableError:
            self._is_offline = True
            return None
        except (RemoteError, UserError) as error:
            raise DockerfileError(f"{name}: {error.message}", hint=error.hint) from error
