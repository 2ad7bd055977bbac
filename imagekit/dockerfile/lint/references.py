"""Whether a text can name an image or a platform: what the rules on FROM need to know of both.

The room ``oci`` has values for them, but rooms of one rank do not import each other; here it is
only asked what BuildKit would refuse, and in which words.

Source: distribution/reference (ParseNormalizedNamed), containerd/platforms (Parse).
"""

import re
from typing import NamedTuple

from imagekit.dockerfile.quoting import go_quote

_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_PART = r"[a-z0-9]+(?:(?:[._]|__|[-]+)[a-z0-9]+)*"
_DIGEST = (
    r"(?P<algorithm>[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*):(?P<hex>[0-9a-fA-F]{32,})"
)
_REFERENCE = re.compile(
    rf"{_DOMAIN}/(?P<path>{_PART}(?:/{_PART})*)"
    rf"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}))?(?:@{_DIGEST})?"
)
_IMAGE_ID = re.compile(r"[a-f0-9]{64}")
_DIGEST_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}
_MAX_PATH = 255
_DEFAULT_DOMAIN = "docker.io"

_OS = re.compile(r"([A-Za-z0-9_-]+)(?:\([A-Za-z0-9_.%+-]*\))?")
_COMPONENT_TEXT = "^[A-Za-z0-9_.-]+$"
_COMPONENT = re.compile(r"[A-Za-z0-9_.-]+")
_ARCHITECTURES = {
    "i386": "386",
    "x86_64": "amd64",
    "x86-64": "amd64",
    "aarch64": "arm64",
    "armhf": "arm",
    "armel": "arm",
}
_KNOWN_ARCHITECTURES = frozenset(
    (
        "386",
        "amd64",
        "amd64p32",
        "arm",
        "armbe",
        "arm64",
        "arm64be",
        "ppc64",
        "ppc64le",
        "loong64",
        "mips",
        "mipsle",
        "mips64",
        "mips64le",
        "mips64p32",
        "mips64p32le",
        "ppc",
        "riscv",
        "riscv64",
        "s390",
        "s390x",
        "sparc",
        "sparc64",
        "wasm",
    )
)
_KNOWN_SYSTEMS = frozenset(
    (
        "aix",
        "android",
        "darwin",
        "dragonfly",
        "freebsd",
        "hurd",
        "illumos",
        "ios",
        "js",
        "linux",
        "nacl",
        "netbsd",
        "openbsd",
        "plan9",
        "solaris",
        "windows",
        "zos",
    )
)


def why_no_reference(text: str) -> str | None:
    """Return why ``text`` is no image reference, in the reference's words; None when it is one."""
    if _IMAGE_ID.fullmatch(text):
        return f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
    domain, rest = _split_domain(text)
    repository = rest.partition(":")[0]
    if repository != repository.lower():
        return f"invalid reference format: repository name ({repository}) must be lowercase"
    match = _REFERENCE.fullmatch(f"{domain}/{rest}")
    if match is None:
        return "invalid reference format"
    if len(match["path"]) > _MAX_PATH:
        return f"repository name must not be more than {_MAX_PATH} characters"
    if match["algorithm"] is not None:
        return _why_no_digest(match["algorithm"], match["hex"])
    return None


def _why_no_digest(algorithm: str, hexadecimal: str) -> str | None:
    length = _DIGEST_LENGTHS.get(algorithm)
    if length is None:
        return "unsupported digest algorithm"
    if len(hexadecimal) != length:
        return "invalid checksum digest length"
    return "invalid checksum digest format" if hexadecimal != hexadecimal.lower() else None


def _split_domain(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    if not slash:
        return _DEFAULT_DOMAIN, f"library/{text}"
    if first == "index.docker.io":
        domain = _DEFAULT_DOMAIN
    elif first == "localhost" or "." in first or ":" in first or first != first.lower():
        domain = first
    else:
        domain, rest = _DEFAULT_DOMAIN, text
    if domain == _DEFAULT_DOMAIN and "/" not in rest:
        rest = f"library/{rest}"
    return domain, rest


class PlatformName(NamedTuple):
    """The parts of a platform in the spelling of Go. ``variant`` is "" for the usual one."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, self))

    def is_like(self, other: "PlatformName") -> bool:
        """Return whether system and architecture are the same; the variant may differ."""
        return self[:2] == other[:2]


def parse_platform_name(text: str, *, host: PlatformName) -> PlatformName | str:
    """Return the platform that ``text`` names, or why it names none; ``host`` completes a part."""
    if "*" in text:
        return f"{go_quote(text)}: wildcards not yet supported: invalid argument"
    parts = text.split("/", 3)
    match = _OS.fullmatch(parts[0])
    if match is None:
        return _no_component(parts[0], text)
    for part in parts[1:]:
        if not _COMPONENT.fullmatch(part):
            return _no_component(part, text)
    system = match[1].lower()
    system = "darwin" if system == "macos" else system
    if len(parts) == 1:
        if system in _KNOWN_SYSTEMS:
            return PlatformName(system, host.architecture)
        architecture, variant = _architecture(parts[0], "")
        if architecture in _KNOWN_ARCHITECTURES:
            return PlatformName(host.os, architecture, variant)
        return f"{go_quote(text)}: unknown operating system or architecture: invalid argument"
    if len(parts) > 3:
        return f"{go_quote(text)}: cannot parse platform specifier: invalid argument"
    return PlatformName(system, *_architecture(parts[1], parts[2] if len(parts) > 2 else ""))


def _architecture(text: str, variant: str) -> tuple[str, str]:
    name = _ARCHITECTURES.get(text.lower(), text.lower())
    variant = variant.lower()
    if text.lower() == "armel":
        variant = "v6"
    elif name == "arm":
        variant = "v7" if variant in ("", "7") else variant
        variant = f"v{variant}" if variant.isdecimal() else variant
    if (name, variant.removeprefix("v")) in (("arm64", "8"), ("amd64", "1")):
        variant = ""
    return name, variant


def _no_component(part: str, whole: str) -> str:
    return (
        f"{go_quote(part)} is an invalid component of {go_quote(whole)}: platform specifier "
        f"component must match {go_quote(_COMPONENT_TEXT)}: invalid argument"
    )
