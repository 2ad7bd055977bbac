"""What can name an image or a platform."""

import pytest

from imagekit.dockerfile.lint.references import (
    PlatformName,
    parse_platform_name,
    why_no_reference,
)

_HOST = PlatformName("linux", "arm64")


@pytest.mark.parametrize(
    "text",
    [
        "scratch",
        "a",
        "library/a",
        "a:B",
        "a_b__c-d---e.f:1",
        "a@sha256:" + "0" * 64,
        "a:1@sha256:" + "f" * 64,
        "docker.io/a",
        "index.docker.io/a/b",
        "localhost/a",
        "localhost:5000/a/b:tag",
        "Registry/a",
        "EXAMPLE.com/a",
        "example.com:80/a",
        "[::1]:5000/a",
        "a:" + "t" * 128,
        "a" * 247,
    ],
)
def test_images(text: str) -> None:
    assert why_no_reference(text) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "invalid reference format"),
        ("a:", "invalid reference format"),
        (":a", "invalid reference format"),
        ("a b", "invalid reference format"),
        ("a/", "invalid reference format"),
        ("-a", "invalid reference format"),
        ("a//b", "invalid reference format"),
        ("a...b", "invalid reference format"),
        ("a:-x", "invalid reference format"),
        ("a:" + "t" * 129, "invalid reference format"),
        ("a@sha256:0", "invalid reference format"),
        ("http://a", "invalid reference format"),
        (
            "Base",
            "invalid reference format: repository name (library/Base) must be lowercase",
        ),
        ("a/B:c", "invalid reference format: repository name (a/B) must be lowercase"),
        (
            "0" * 64,
            f"invalid repository name ({'0' * 64}), cannot specify 64-byte hexadecimal strings",
        ),
        ("a" * 248, "repository name must not be more than 255 characters"),
        ("a@sha256:" + "0" * 63, "invalid checksum digest length"),
        ("a@sha256:" + "F" * 64, "invalid checksum digest format"),
        ("a@md5:" + "0" * 32, "unsupported digest algorithm"),
    ],
)
def test_no_images(text: str, reason: str) -> None:
    assert why_no_reference(text) == reason


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("linux/amd64", PlatformName("linux", "amd64")),
        ("Linux/X86_64", PlatformName("linux", "amd64")),
        ("linux/arm/v7", PlatformName("linux", "arm", "v7")),
        ("linux/arm/6", PlatformName("linux", "arm", "v6")),
        ("linux/arm", PlatformName("linux", "arm", "v7")),
        ("linux/arm64/v8", PlatformName("linux", "arm64")),
        ("linux/aarch64/8", PlatformName("linux", "arm64")),
        ("linux/amd64/v1", PlatformName("linux", "amd64")),
        ("linux/amd64/V2", PlatformName("linux", "amd64", "v2")),
        ("armel", PlatformName("linux", "arm", "v6")),
        ("linux/anything", PlatformName("linux", "anything")),
        ("windows(10.0.1)/amd64", PlatformName("windows", "amd64")),
        ("macos/aarch64", PlatformName("darwin", "arm64")),
        ("windows", PlatformName("windows", "arm64")),
        ("i386", PlatformName("linux", "386")),
        ("armhf", PlatformName("linux", "arm", "v7")),
    ],
)
def test_platforms(text: str, platform: PlatformName) -> None:
    assert parse_platform_name(text, host=_HOST) == platform


@pytest.mark.parametrize(
    "text", ["", "nonsense", "linux/", "linux/a b", "lin ux/amd64", "a/b/c/d", "*/amd64"]
)
def test_no_platforms(text: str) -> None:
    assert isinstance(parse_platform_name(text, host=_HOST), str)
