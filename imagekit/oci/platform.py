"""Operating system and architecture, in the spelling of Go's GOOS and GOARCH."""

import os
from typing import Self

import msgspec

from imagekit.oci.errors import InvalidReferenceError

_ARCHITECTURES = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "amd64": "amd64",
    "i386": "386",
    "i686": "386",
    "386": "386",
    "aarch64": "arm64",
    "arm64": "arm64",
    "armhf": "arm",
    "armel": "arm",
    "armv7l": "arm",
    "arm": "arm",
    "ppc64le": "ppc64le",
    "riscv64": "riscv64",
    "s390x": "s390x",
    "loongarch64": "loong64",
    "loong64": "loong64",
    "mips64le": "mips64le",
}
_OPERATING_SYSTEMS = ("linux", "windows", "darwin", "freebsd", "wasi")


class Platform(msgspec.Struct, frozen=True, order=True):
    """What an image runs on. ``str()`` gives ``os/architecture[/variant]``.

    Source: OCI image-spec image-index.md "platform"; containerd's normalisation (arm means arm/v7,
    arm64/v8 is written without the variant).
    """

    os: str
    architecture: str
    variant: str | None = None
    os_version: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the normalised platform of ``os[/architecture[/variant]]`` or ``architecture``.

        Raises:
            InvalidReferenceError: if a part is unknown.

        """
        parts = text.strip().lower().split("/")
        if len(parts) == 1:
            if parts[0] in _ARCHITECTURES:
                return cls.normalised("linux", parts[0])
            if parts[0] in _OPERATING_SYSTEMS:
                return cls.normalised(parts[0], os.uname().machine.lower())
        elif len(parts) <= 3 and parts[0] in _OPERATING_SYSTEMS and parts[1] in _ARCHITECTURES:
            return cls.normalised(parts[0], parts[1], parts[2] if len(parts) == 3 else None)
        raise InvalidReferenceError(
            f"{text!r}: unknown operating system or architecture",
            hint="Write it like linux/amd64 or linux/arm/v7.",
        )

    @classmethod
    def normalised(
        cls, os: str, architecture: str, variant: str | None = None, os_version: str | None = None
    ) -> Self:
        """Return the platform with the names that images use."""
        name = _ARCHITECTURES.get(architecture.lower(), architecture.lower())
        variant = (variant or "").lower() or None
        if name == "arm":
            variant = "v7" if variant is None else variant if variant[0] == "v" else f"v{variant}"
        if name == "arm64" and variant in ("8", "v8"):
            variant = None
        return cls(os.lower(), name, variant, os_version)

    @classmethod
    def host(cls) -> Self:
        """Return the platform of this machine."""
        return cls.normalised("linux", os.uname().machine)

    def matches(self, other: Self) -> bool:
        """Tell whether an image for ``other`` runs where ``self`` is asked for."""
        if (self.os, self.architecture) != (other.os, other.architecture):
            return False
        if self.architecture == "arm":
            return (other.variant or "v7") <= (self.variant or "v7")
        return self.variant == other.variant or other.variant is None

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)
