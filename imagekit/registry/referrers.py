"""What refers to a manifest: signatures, SBOMs and other artifacts with a ``subject``.

Registries without the referrers API get an index under a tag made of the subject's digest, which
clients keep themselves.

Source: OCI distribution-spec 1.1, "Listing Referrers" and "Referrers Tag Schema".
"""

import re

from msgspec.structs import replace

from imagekit.oci.descriptor import Descriptor
from imagekit.oci.digest import Digest
from imagekit.oci.manifest import Document, Index, Manifest

_NOT_IN_TAG = re.compile(r"[^A-Za-z0-9_.-]")


def fallback_tag(subject: Digest) -> str:
    """Return the tag under which referrers of ``subject`` are listed without the API."""
    algorithm, value = subject.algorithm[:32], subject.hex[:64]
    return _NOT_IN_TAG.sub("-", f"{algorithm}-{value}")


def entry_of(document: Document) -> Descriptor:
    """Return how a document is listed: with its artifact type and annotations.

    The type of a manifest without one is the media type of its config.
    """
    kind = document.artifact_type
    if kind is None and isinstance(document, Manifest):
        kind = document.config.media_type
    return replace(document.descriptor, artifact_type=kind, annotations=document.annotations)


def with_entry(index: Index | None, entry: Descriptor) -> Index | None:
    """Return the index with the entry added, None if it lists it already."""
    listed = index.manifests if index else ()
    if any(one.digest == entry.digest for one in listed):
        return None
    return Index.build(manifests=(*listed, entry), annotations=index.annotations if index else None)


def of_type(entries: tuple[Descriptor, ...], artifact_type: str | None) -> tuple[Descriptor, ...]:
    """Return the entries of a type, all without one."""
    return tuple(
        one for one in entries if artifact_type is None or one.artifact_type == artifact_type
    )
