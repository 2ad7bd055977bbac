"""The grammar of what a URL may name, checked before any of it comes near a path.

Source: distribution-spec 1.1, "Pulling manifests" (name, reference) and "Pushing blobs".
"""

import re
import uuid

from imagekit.oci.digest import Digest
from imagekit.oci.errors import InvalidReferenceError
from registry_server import errors
from registry_server.errors import RegistryError

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*\Z")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}\Z")
_UPLOAD = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
NAME_MAX = 255


def parse_repository(text: str) -> str:
    """Return ``text`` when it is a repository name.

    Raises:
        RegistryError: NAME_INVALID.

    """
    if len(text) > NAME_MAX or _NAME.match(text) is None:
        raise RegistryError(errors.NAME_INVALID, {"name": text[:NAME_MAX]})
    return text


def is_tag(text: str) -> bool:
    """Tell whether ``text`` follows the grammar of tags."""
    return _TAG.match(text) is not None


def parse_tag(text: str) -> str:
    """Return ``text`` when it is a tag.

    Raises:
        RegistryError: TAG_INVALID.

    """
    if not is_tag(text):
        raise RegistryError(errors.TAG_INVALID, {"tag": text[:200]})
    return text


def parse_digest(text: str) -> Digest:
    """Return the digest that ``text`` writes.

    Raises:
        RegistryError: DIGEST_INVALID.

    """
    try:
        return Digest.parse(text)
    except InvalidReferenceError as error:
        raise RegistryError(errors.DIGEST_INVALID, {"digest": text[:200]}) from error


def parse_upload(text: str) -> str:
    """Return ``text`` when it is the name of an upload session as this server gives them.

    Raises:
        RegistryError: BLOB_UPLOAD_UNKNOWN.

    """
    if _UPLOAD.match(text) is None:
        raise RegistryError(errors.UPLOAD_UNKNOWN, {"upload": text[:200]})
    return text


def new_upload() -> str:
    """Return a fresh name for an upload session; it cannot be guessed."""
    return str(uuid.uuid4())
