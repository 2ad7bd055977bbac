"""Operations that give a sandbox a network of its own."""

import os
import socket
from typing import Final

from imagekit.base.record import Record
from imagekit.linux.constants import CLONE_NEWNET
from imagekit.linux.namespaces import unshare
from imagekit.linux.netlink import RouteSocket
from imagekit.sandbox.state import State

_LOOPBACK_INDEX: Final = 1
_INSIDE_NAME: Final = "eth0"


class IsolateNetwork(Record):
    """Make a network namespace with nothing but a loopback."""

    def describe(self) -> str:
        """Return what this does, in words."""
        return "make a network with only a loopback"

    def apply(self, state: State) -> None:
        """Carry it out."""
        del state
        unshare(CLONE_NEWNET)
        with RouteSocket() as inside:
            inside.set_up(_LOOPBACK_INDEX)


class JoinBridge(Record):
    """Make a network namespace that is connected to a bridge of the host."""

    bridge: str
    interface: str
    address: str
    prefix_length: int
    gateway: str
    mtu: int

    def describe(self) -> str:
        """Return what this does, in words."""
        return f"connect to bridge {self.bridge} as {self.address}"

    def apply(self, state: State) -> None:
        """Carry it out."""
        del state
        bridge_index = socket.if_nametoindex(self.bridge)
        with RouteSocket() as outside:  # stays in the host's namespace
            unshare(CLONE_NEWNET)
            # Without an IPv6 address, duplicate address detection would only delay look-ups.
            _write_if_present("/proc/sys/net/ipv6/conf/default/disable_ipv6", b"1")
            netns_fd = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                outside.add_veth(
                    self.interface,
                    master_index=bridge_index,
                    mtu=self.mtu,
                    peer=_INSIDE_NAME,
                    peer_netns_fd=netns_fd,
                )
            finally:
                os.close(netns_fd)
        with RouteSocket() as inside:
            index = socket.if_nametoindex(_INSIDE_NAME)
            inside.set_up(_LOOPBACK_INDEX)
            inside.add_address(index, self.address, self.prefix_length)
            inside.set_up(index)
            inside.add_default_route(index, self.gateway)


def _write_if_present(path: str, value: bytes) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # a kernel without IPv6
        return
    try:
        os.write(fd, value)
    finally:
        os.close(fd)
