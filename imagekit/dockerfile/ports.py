"""The words of EXPOSE: ``[ip:][hostport[-hostport]:]port[-port][/proto]``.

Source: Dockerfile reference, "EXPOSE"; docker/go-connections nat.ParsePortSpec.
"""

import msgspec

from imagekit.dockerfile.errors import ValueFormatError
from imagekit.dockerfile.quoting import go_quote

_PROTOCOLS = ("tcp", "udp", "sctp")
_MAX_PORT = 65535


class PortRange(msgspec.Struct, frozen=True, kw_only=True):
    """One word of EXPOSE: the container's ports, both inclusive.

    ``has_mapping`` tells that an address or host port was written, which EXPOSE drops;
    ``written_protocol`` is the protocol as spelled, "" when there was none.
    """

    first: int
    last: int
    protocol: str
    has_mapping: bool
    written_protocol: str

    def ports(self) -> tuple[str, ...]:
        """Return the keys for the image configuration: ``80/tcp``."""
        return tuple(f"{port}/{self.protocol}" for port in range(self.first, self.last + 1))


def parse_port(word: str) -> PortRange:
    """Return the ports in one word, after expansion.

    Raises:
        ValueFormatError: a part of it is malformed.
    """
    mapping, _, written_protocol = word.partition("/")
    address, host, container = _split(mapping)
    if not container:
        raise _invalid(f"invalid port: {go_quote(word)}: no port specified")
    protocol = written_protocol.lower() or "tcp"
    if protocol not in _PROTOCOLS:
        raise _invalid(f"invalid port: {go_quote(word)}: invalid proto: {written_protocol}")
    first, last = _range(container, word, "containerPort")
    if address and not _is_address(address):
        raise _invalid(f"invalid port: {go_quote(word)}: invalid IP address: {address}")
    if host:
        host_first, host_last = _range(host, word, "hostPort")
        # A range of host ports may stand for one container port: any free one of them.
        if host_last - host_first != last - first and first != last:
            raise _invalid(
                f"invalid port: {go_quote(word)}: invalid ranges specified for container and host "
                f"Ports: {container} and {host}"
            )
    return PortRange(
        first=first,
        last=last,
        protocol=protocol,
        has_mapping=":" in mapping,
        written_protocol=written_protocol,
    )


def _split(mapping: str) -> tuple[str, str, str]:
    """Split from the right: an IPv6 address has colons of its own, in brackets or not."""
    rest, colon, container = mapping.rpartition(":")
    if not colon:
        return "", "", container
    address, _, host = rest.rpartition(":")
    return address.removeprefix("[").removesuffix("]"), host, container


def _range(text: str, word: str, what: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    numbers = [_number(first), _number(last) if dash else _number(first)]
    if None in numbers or (numbers[0] or 0) > (numbers[1] or 0):
        raise _invalid(f"invalid port: {go_quote(word)}: invalid {what}: {text}")
    return numbers[0] or 0, numbers[1] or 0


def _number(text: str) -> int | None:
    if not (text.isascii() and text.isdecimal()) or len(text) > 10:
        return None
    number = int(text)
    return number if number <= _MAX_PORT else None


def _is_address(text: str) -> bool:
    import ipaddress

    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def _invalid(message: str) -> ValueFormatError:
    return ValueFormatError(message, hint="Write for example 8080, 53/udp or 7000-7010.")
