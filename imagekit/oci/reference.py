"""Image references as users write them.

Source: distribution's reference grammar (facts shared by docker, podman, crane):
``[domain/]path[:tag][@digest]``.
"""

import re
from typing import Self

import msgspec
from msgspec.structs import replace

from imagekit.oci.digest import Digest
from imagekit.oci.errors import InvalidReferenceError

HUB_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
MAX_NAME = 255

_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|[-]+)[a-z0-9]+)*"
_PATH = rf"{_COMPONENT}(?:/{_COMPONENT})*\Z"
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?\Z"
_MAX_TAG = 128
_HEX_DIGITS = "0123456789abcdef"


class Reference(msgspec.Struct, frozen=True, order=True):
    """A repository and, in it, a tag or a digest or both.

    ``str()`` gives the full form with domain; ``familiar()`` the short one that docker prints.
    """

    domain: str
    path: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the reference, with docker.io and library/ filled in, without a default tag.

        Raises:
            InvalidReferenceError: with the part that is wrong.

        """
        rest, at, digest_text = text.partition("@")
        digest = Digest.parse(digest_text) if at else None
        if _is_image_id(rest):
            raise InvalidReferenceError(
                f"invalid reference {text!r}: 64 hex digits are an image id, not a name"
            )
        head, colon, tail = rest.rpartition(":")
        tag = None
        if colon and "/" not in tail and not tail.endswith("]"):
            rest, tag = head, tail
            if not _is_tag(tag):
                raise InvalidReferenceError(
                    f"invalid reference {text!r}: bad tag {tag!r}",
                    hint="A tag has at most 128 letters, digits, '_', '.' or '-'.",
                )
        domain, path = _split_domain(rest)
        if not _is_domain(domain):
            raise InvalidReferenceError(f"invalid reference {text!r}: bad registry {domain!r}")
        if not _is_path(path):
            hint = "Write it like registry.example/team/app:1.0."
            if path != path.lower():
                hint = f"Repository names are lower case: {path.lower()!r}."
            raise InvalidReferenceError(
                f"invalid reference {text!r}: bad repository name {path!r}", hint=hint
            )
        if len(domain) + 1 + len(path) > MAX_NAME:
            raise InvalidReferenceError(
                f"invalid reference: the name has more than {MAX_NAME} characters"
            )
        return cls(domain, path, tag, digest)

    @property
    def repository(self) -> str:
        """``domain/path``."""
        return f"{self.domain}/{self.path}"

    @property
    def api_host(self) -> str:
        """The host to talk to, which for docker.io is another one."""
        return "registry-1.docker.io" if self.domain == HUB_DOMAIN else self.domain

    def with_default_tag(self) -> Self:
        """Return it with the tag ``latest`` unless it has a tag or a digest."""
        return self if self.tag or self.digest else replace(self, tag=DEFAULT_TAG)

    def with_tag(self, tag: str) -> Self:
        """Return the same repository with this tag and no digest."""
        return replace(self, tag=tag, digest=None)

    def without_digest(self) -> Self:
        """Return it with its tag only."""
        return replace(self, digest=None)

    def familiar(self) -> str:
        """Return the shortest text that ``parse`` reads as this: no docker.io, no library/."""
        if self.domain != HUB_DOMAIN:
            return str(self)
        names = (self.path.removeprefix("library/"), self.path, self.repository)
        name = next(
            name
            for name in names
            if _split_domain(name) == (self.domain, self.path) and not _is_image_id(name)
        )
        return f"{name}{self._suffix}"

    def __str__(self) -> str:
        return f"{self.repository}{self._suffix}"

    @property
    def _suffix(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{tag}{digest}"


def _is_image_id(text: str) -> bool:
    return len(text) == 64 and not text.strip(_HEX_DIGITS)


def _is_tag(text: str) -> bool:
    plain = text.replace("_", "a")
    return (
        len(text) <= _MAX_TAG
        and text.isascii()
        and plain[:1].isalnum()
        and plain.replace(".", "").replace("-", "").isalnum()
    )


# Most names are plain. Compiling a pattern takes as long as a thousand of these looks, and a
# command sees few names; re keeps what it has compiled.


def _is_domain(text: str) -> bool:
    if text.isascii() and all(label.isalnum() for label in text.split(".")):
        return True
    return re.match(_DOMAIN, text) is not None


def _is_path(text: str) -> bool:
    if text.isascii() and all(part.isalnum() and part == part.lower() for part in text.split("/")):
        return True
    return re.match(_PATH, text) is not None


def _split_domain(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    is_domain = first == "localhost" or any(c in ".:" or c.isupper() for c in first)
    domain, path = (first, rest) if slash and is_domain else (HUB_DOMAIN, name)
    if domain == "index.docker.io":
        domain = HUB_DOMAIN
    if domain == HUB_DOMAIN and path and "/" not in path:
        path = f"library/{path}"
    return domain, path
