"""The words of EXPOSE."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.dockerfile.errors import ValueFormatError
from imagekit.dockerfile.ports import parse_port


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("80", ("80/tcp",)),
        ("80/", ("80/tcp",)),
        ("53/UDP", ("53/udp",)),
        ("7/sctp", ("7/sctp",)),
        ("0", ("0/tcp",)),
        ("65535", ("65535/tcp",)),
        ("080", ("80/tcp",)),
        ("8000-8002/udp", ("8000/udp", "8001/udp", "8002/udp")),
        ("8080:80", ("80/tcp",)),
        ("127.0.0.1:8080:80", ("80/tcp",)),
        ("127.0.0.1::80", ("80/tcp",)),
        ("[::1]:8080:80", ("80/tcp",)),
        ("::1:8080:80", ("80/tcp",)),
        ("8000-8010:80", ("80/tcp",)),
        ("8000-8001:80-81", ("80/tcp", "81/tcp")),
    ],
)
def test_ports(word: str, expected: tuple[str, ...]) -> None:
    assert parse_port(word).ports() == expected


def test_what_lint_wants_to_know() -> None:
    assert parse_port("80/TCP").written_protocol == "TCP"
    assert parse_port("80").written_protocol == ""
    assert parse_port("1:80").has_mapping
    assert not parse_port("80").has_mapping


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("", "no port specified"),
        ("/tcp", "no port specified"),
        ("80:", "no port specified"),
        ("80/icmp", "invalid proto: icmp"),
        ("http", "invalid containerPort: http"),
        ("65536", "invalid containerPort: 65536"),
        ("-1", "invalid containerPort: -1"),
        ("9-8", "invalid containerPort: 9-8"),
        ("\u0668\u0660", "invalid containerPort: \u0668\u0660"),
        ("x:80", "invalid hostPort: x"),
        ("1.2.3:1:80", "invalid IP address: 1.2.3"),
        ("1-3:80-81", "invalid ranges specified for container and host Ports: 80-81 and 1-3"),
    ],
)
def test_refused(word: str, reason: str) -> None:
    with pytest.raises(ValueFormatError) as caught:
        parse_port(word)

    assert caught.value.reason == f'invalid port: "{word}": {reason}'


@given(st.text(alphabet="0123456789:-/.[]tcpudx%", max_size=20) | st.text(max_size=8))
def test_only_value_errors(word: str) -> None:
    with suppress(ValueFormatError):
        assert parse_port(word).ports()
