"""The short forms of the command line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.containers.errors import InvalidRunRequestError
from imagekit.containers.names import ADJECTIVES, NOUNS, random_name
from imagekit.containers.request import PortMapping, VolumeMount
from imagekit.containers.signals import signal_number


@pytest.mark.parametrize(
    ("text", "source", "target", "read_only"),
    [
        ("/a:/b", "/a", "/b", False),
        ("/a:/b:ro", "/a", "/b", True),
        ("/a:/b:rw", "/a", "/b", False),
        ("name:/b", "name", "/b", False),
        ("name:/b:ro", "name", "/b", True),
        ("/b", "", "/b", False),
        ("/b:ro", "", "/b", True),
    ],
)
def test_volume(text: str, source: str, target: str, *, read_only: bool) -> None:
    expected = VolumeMount(source=source, target=target, read_only=read_only)

    assert VolumeMount.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["", "a", "a:b", "/a:b", "/a:/", "/a:/b:bad", "../a:/b", ".hidden:/b", "/a:/b:ro:x"]
)
def test_wrong_volume(text: str) -> None:
    with pytest.raises(InvalidRunRequestError):
        VolumeMount.parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", PortMapping(container_port=80)),
        ("8080:80", PortMapping(container_port=80, host_port=8080)),
        ("0.0.0.0:8080:80", PortMapping(container_port=80, host_port=8080, host_ip="0.0.0.0")),
        ("127.0.0.1::80", PortMapping(container_port=80)),
        ("[::1]:8080:80/tcp", PortMapping(container_port=80, host_port=8080, host_ip="::1")),
    ],
)
def test_port(text: str, expected: PortMapping) -> None:
    assert PortMapping.parse(text) == expected


@pytest.mark.parametrize("text", ["", "x", "0", "65536", "1:2:3:4x", "80/udp", "80/", "-1:80"])
def test_wrong_port(text: str) -> None:
    if text == "80/":
        assert PortMapping.parse(text).protocol == "tcp"
        return
    with pytest.raises(InvalidRunRequestError):
        PortMapping.parse(text)


@given(text=st.text())
def test_parsers_raise_their_own_error_only(text: str) -> None:
    for parse in (VolumeMount.parse, PortMapping.parse, signal_number):
        try:
            parse(text)
        except InvalidRunRequestError:
            continue


@pytest.mark.parametrize(
    ("text", "number"), [("SIGTERM", 15), ("term", 15), ("9", 9), ("RTMIN+1", 35), ("HUP", 1)]
)
def test_signal(text: str, number: int) -> None:
    assert signal_number(text) == number


@pytest.mark.parametrize("text", ["", "0", "65", "SIG", "SIGX", "RTMAX+1", "SIG_DFL", "_DFL"])
def test_wrong_signal(text: str) -> None:
    with pytest.raises(InvalidRunRequestError):
        signal_number(text)


def test_names_are_adjective_and_noun() -> None:
    assert random_name(lambda words: words[0]) == f"{ADJECTIVES[0]}_{NOUNS[0]}"
    assert random_name(lambda words: words[-1], attempt=1) == f"{ADJECTIVES[-1]}_{NOUNS[-1]}9"
    assert len(set(ADJECTIVES)) == len(ADJECTIVES)
    assert len(set(NOUNS)) == len(NOUNS)
