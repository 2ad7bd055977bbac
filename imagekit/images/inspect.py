"""Everything known about an image, in the shape of ``docker image inspect``."""

from typing import Any

import msgspec

from imagekit.images.local import LocalImage
from imagekit.oci.reference import Reference


def inspection(image: LocalImage, names: tuple[str, ...], size_bytes: int) -> dict[str, Any]:
    """Return the document; ``names`` are all names of the image, ``size_bytes`` of its layers."""
    config = image.config
    references = [Reference.parse(name) for name in names]
    repositories = dict.fromkeys(
        Reference(reference.domain, reference.path).familiar() for reference in references
    )
    return {
        "Id": str(image.id),
        "RepoTags": [reference.familiar() for reference in references if reference.tag],
        "RepoDigests": [f"{name}@{image.descriptor.digest}" for name in repositories],
        "Comment": config.history[-1].comment if config.history else "",
        "Created": config.created,
        "Author": config.author,
        "Architecture": config.platform.architecture,
        "Variant": config.platform.variant or "",
        "Os": config.platform.os,
        "Size": size_bytes,
        "Config": msgspec.to_builtins(config.config),
        "RootFS": {"Type": "layers", "Layers": [str(diff_id) for diff_id in config.diff_ids]},
        "Descriptor": msgspec.to_builtins(image.descriptor.to_raw()),
    }
