"""Operating system, architecture and variant."""

import platform as host_platform

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagekit.oci.errors import InvalidReferenceError
from imagekit.oci.platform import Platform

# A busy machine makes a test slow, not wrong.
CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        (" Linux/AMD64 ", "linux/amd64"),
        ("amd64", "linux/amd64"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/6", "linux/arm/v6"),
        ("linux/arm/v5", "linux/arm/v5"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("windows/amd64", "windows/amd64"),
        ("i686", "linux/386"),
    ],
)
def test_spellings_are_normalised(text: str, shown: str) -> None:
    assert str(Platform.parse(text)) == shown


def test_an_operating_system_alone_is_for_this_machine() -> None:
    machine = Platform.host()

    assert Platform.parse("linux") == machine
    assert machine.os == "linux"
    assert host_platform.machine() not in ("x86_64", "aarch64") or machine.architecture in (
        "amd64",
        "arm64",
    )


@pytest.mark.parametrize(
    "text", ["", "/", "linux/", "amiga", "linux/z80", "linux/amd64/v1/x", "solaris/amd64"]
)
def test_unknown_names_are_refused(text: str) -> None:
    with pytest.raises(InvalidReferenceError, match="unknown operating system") as caught:
        Platform.parse(text)

    assert caught.value.hint is not None


WORDS = st.sampled_from(["linux", "windows", "amd64", "arm", "arm64", "v7", "v8", "", "8", "x"])


@CALM
@given(st.lists(WORDS | st.text(max_size=5), max_size=4).map("/".join))
def test_any_text_is_a_platform_or_its_own_error(text: str) -> None:
    try:
        platform = Platform.parse(text)
    except InvalidReferenceError:
        return
    assert Platform.parse(str(platform)) == platform


@pytest.mark.parametrize(
    ("wanted", "offered", "fits"),
    [
        ("linux/amd64", "linux/amd64", True),
        ("linux/amd64", "windows/amd64", False),
        ("linux/amd64", "linux/arm64", False),
        ("linux/arm/v7", "linux/arm/v6", True),
        ("linux/arm/v6", "linux/arm/v7", False),
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/amd64/v3", "linux/amd64", True),
        ("linux/amd64", "linux/amd64/v3", False),
    ],
)
def test_what_runs_where(wanted: str, offered: str, fits: bool) -> None:
    assert Platform.parse(wanted).matches(Platform.parse(offered)) is fits


def test_an_arm_image_without_variant_is_taken_as_v7() -> None:
    assert Platform("linux", "arm", "v7").matches(Platform("linux", "arm"))
    assert not Platform("linux", "arm", "v6").matches(Platform("linux", "arm"))
