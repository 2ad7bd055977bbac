"""Network interfaces, addresses, routes and masquerading, in the kernel's own messages.

A general netlink library takes a second to import; what a sandbox needs is a few messages.

Source: netlink(7), rtnetlink(7), <linux/if_link.h>, <linux/netfilter/nf_tables.h>.
"""

import os
import socket
import struct
from collections.abc import Iterator
from typing import Final, Self

_NLM_F_REQUEST: Final = 0x1
_NLM_F_ACK: Final = 0x4
_NLM_F_EXCL: Final = 0x200
_NLM_F_CREATE: Final = 0x400
_NLM_F_APPEND: Final = 0x800
_NLM_F_DUMP: Final = 0x300
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_NETLINK_ROUTE: Final = 0
_NETLINK_NETFILTER: Final = 12

_RTM_NEWLINK: Final = 16
_RTM_DELLINK: Final = 17
_RTM_NEWADDR: Final = 20
_RTM_NEWROUTE: Final = 24

_IFF_UP: Final = 0x1
_IFLA_IFNAME: Final = 3
_IFLA_MTU: Final = 4
_IFLA_MASTER: Final = 10
_IFLA_LINKINFO: Final = 18
_IFLA_NET_NS_FD: Final = 28
_IFLA_INFO_KIND: Final = 1
_IFLA_INFO_DATA: Final = 2
_VETH_INFO_PEER: Final = 1
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_IFA_BROADCAST: Final = 4
_RTA_OIF: Final = 4
_RTA_GATEWAY: Final = 5
_RT_TABLE_MAIN: Final = 254
_RTPROT_BOOT: Final = 3
_RTN_UNICAST: Final = 1

_NFNL_MSG_BATCH_BEGIN: Final = 16
_NFNL_MSG_BATCH_END: Final = 17
_NFNL_SUBSYS_NFTABLES: Final = 10
_NFT_MSG_NEWTABLE: Final = 0
_NFT_MSG_DELTABLE: Final = 2
_NFT_MSG_NEWCHAIN: Final = 3
_NFT_MSG_NEWRULE: Final = 6
_NFT_MSG_GETRULE: Final = 7
_NFT_MSG_DELRULE: Final = 8
_NFPROTO_IPV4: Final = 2
_NF_INET_POST_ROUTING: Final = 4
_NF_IP_PRI_NAT_SRC: Final = 100
_NFT_REG_1: Final = 1
_NFT_PAYLOAD_NETWORK_HEADER: Final = 1
_NFT_META_IIFNAME: Final = 6
_NFT_META_OIFNAME: Final = 7
_NFTA_RULE_HANDLE: Final = 3
_NFTA_RULE_USERDATA: Final = 7
_NF_ACCEPT: Final = 1
_NFT_CMP_EQ: Final = 0
_NFT_CMP_NEQ: Final = 1
_NLA_F_NESTED: Final = 0x8000
_IFNAMSIZ: Final = 16


def attribute(kind: int, value: bytes) -> bytes:
    """Return a netlink attribute, padded.

    Source: netlink(7).
    """
    length = 4 + len(value)
    return struct.pack("HH", length, kind) + value + bytes(-length % 4)


def _nested(kind: int, *attributes: bytes) -> bytes:
    return attribute(kind | _NLA_F_NESTED, b"".join(attributes))


def _text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def _u32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("I", value))


def _be32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">I", value))


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (kind, value) of the attributes in ``data``."""
    while len(data) >= 4:
        length, kind = struct.unpack_from("HH", data)
        if length < 4:
            return
        yield kind & ~_NLA_F_NESTED, data[4:length]
        data = data[length + (-length % 4) :]


class _Netlink:
    """A netlink socket of the network namespace in which it was made, wherever the process goes."""

    def __init__(self, protocol: int) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol
        )
        self._socket.bind((0, 0))
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _message(self, kind: int, flags: int, payload: bytes) -> bytes:
        self._sequence += 1
        length = 16 + len(payload)
        header = struct.pack("IHHII", length, kind, flags | _NLM_F_REQUEST, self._sequence, 0)
        return header + payload + bytes(-length % 4)

    def _transact(self, what: str, *messages: bytes, acknowledged: int) -> None:
        """Send messages and read ``acknowledged`` answers.

        Raises:
            OSError: the first error that the kernel answered, with ``what`` in the text.

        """
        self._socket.send(b"".join(messages))
        # Answers to an earlier transaction that failed half-way may still be waiting.
        (first,) = struct.unpack_from("I", messages[0], 8)
        while acknowledged > 0:
            data = self._socket.recv(65536)
            while len(data) >= 16:
                length, kind, _, sequence = struct.unpack_from("IHHI", data)
                if kind == _NLMSG_ERROR and sequence >= first:
                    (code,) = struct.unpack_from("i", data, 16)
                    if code:
                        raise OSError(-code, f"{what}: {os.strerror(-code)}")
                    acknowledged -= 1
                data = data[length + (-length % 4) :]


class RouteSocket(_Netlink):
    """Interfaces, addresses and routes of one network namespace.

    Source: rtnetlink(7).
    """

    def __init__(self) -> None:
        super().__init__(_NETLINK_ROUTE)

    def _change(self, what: str, kind: int, flags: int, payload: bytes) -> None:
        self._transact(what, self._message(kind, flags | _NLM_F_ACK, payload), acknowledged=1)

    def add_bridge(self, name: str, *, mtu: int) -> None:
        """Make a bridge and bring it up; FileExistsError when there is one."""
        payload = (
            struct.pack("BxHiII", 0, 0, 0, _IFF_UP, _IFF_UP)
            + _text(_IFLA_IFNAME, name)
            + _u32(_IFLA_MTU, mtu)
            + _nested(_IFLA_LINKINFO, _text(_IFLA_INFO_KIND, "bridge"))
        )
        self._change(f"add bridge {name}", _RTM_NEWLINK, _NLM_F_CREATE | _NLM_F_EXCL, payload)

    def add_veth(
        self, name: str, *, master_index: int, mtu: int, peer: str, peer_netns_fd: int
    ) -> None:
        """Make a pair of interfaces: one on a bridge here, its peer in another namespace."""
        peer_link = (
            struct.pack("BxHiII", 0, 0, 0, 0, 0)
            + _text(_IFLA_IFNAME, peer)
            + _u32(_IFLA_MTU, mtu)
            + _u32(_IFLA_NET_NS_FD, peer_netns_fd)
        )
        data = _nested(_IFLA_INFO_DATA, attribute(_VETH_INFO_PEER, peer_link))
        payload = (
            struct.pack("BxHiII", 0, 0, 0, _IFF_UP, _IFF_UP)
            + _text(_IFLA_IFNAME, name)
            + _u32(_IFLA_MTU, mtu)
            + _u32(_IFLA_MASTER, master_index)
            + _nested(_IFLA_LINKINFO, _text(_IFLA_INFO_KIND, "veth"), data)
        )
        self._change(f"add veth {name}", _RTM_NEWLINK, _NLM_F_CREATE | _NLM_F_EXCL, payload)

    def set_up(self, index: int) -> None:
        """Bring an interface up."""
        payload = struct.pack("BxHiII", 0, 0, index, _IFF_UP, _IFF_UP)
        self._change("bring the interface up", _RTM_NEWLINK, 0, payload)

    def delete_link(self, index: int) -> None:
        """Remove an interface."""
        payload = struct.pack("BxHiII", 0, 0, index, 0, 0)
        self._change("delete the interface", _RTM_DELLINK, 0, payload)

    def add_address(self, index: int, address: str, prefix_length: int) -> None:
        """Give an interface an IPv4 address."""
        packed = socket.inet_aton(address)
        host_bits = (1 << (32 - prefix_length)) - 1
        broadcast = struct.pack(">I", struct.unpack(">I", packed)[0] | host_bits)
        payload = (
            struct.pack("BBBBi", socket.AF_INET, prefix_length, 0, 0, index)
            + attribute(_IFA_LOCAL, packed)
            + attribute(_IFA_ADDRESS, packed)
            + attribute(_IFA_BROADCAST, broadcast)
        )
        flags = _NLM_F_CREATE | _NLM_F_EXCL
        self._change(f"add address {address}", _RTM_NEWADDR, flags, payload)

    def add_default_route(self, index: int, gateway: str) -> None:
        """Send everything that is not local to ``gateway``."""
        payload = (
            struct.pack(
                "BBBBBBBBI",
                *(socket.AF_INET, 0, 0, 0, _RT_TABLE_MAIN, _RTPROT_BOOT, 0, _RTN_UNICAST, 0),
            )
            + attribute(_RTA_GATEWAY, socket.inet_aton(gateway))
            + _u32(_RTA_OIF, index)
        )
        self._change("add the default route", _RTM_NEWROUTE, _NLM_F_CREATE, payload)


class NetfilterSocket(_Netlink):
    """One table of nf_tables with a masquerading rule.

    Source: <linux/netfilter/nf_tables.h>.
    """

    def __init__(self) -> None:
        super().__init__(_NETLINK_NETFILTER)

    def masquerade(self, table: str, *, network: str, prefix_length: int, bridge: str) -> None:
        """Hide a network behind the host's addresses when it leaves by another interface.

        The table is made anew in one transaction; packets see the old or the new one.
        """
        mask = struct.pack(">I", 0xFFFFFFFF << (32 - prefix_length) & 0xFFFFFFFF)
        name = _text(1, table)
        hook = _nested(4, _be32(1, _NF_INET_POST_ROUTING), _be32(2, _NF_IP_PRI_NAT_SRC))
        chain = name + _text(3, "postrouting") + hook + _text(7, "nat")
        source = _nested(
            2,
            _be32(1, _NFT_REG_1),
            _be32(2, _NFT_PAYLOAD_NETWORK_HEADER),
            _be32(3, 12),
            _be32(4, 4),
        )
        masked = _nested(
            2,
            _be32(1, _NFT_REG_1),
            _be32(2, _NFT_REG_1),
            _be32(3, 4),
            _nested(4, attribute(1, mask)),
            _nested(5, attribute(1, bytes(4))),
        )
        interface = bridge.encode().ljust(_IFNAMSIZ, b"\0")
        expressions = (
            _nested(1, _text(1, "payload"), source),
            _nested(1, _text(1, "bitwise"), masked),
            _nested(1, _text(1, "cmp"), _compare(_NFT_CMP_EQ, socket.inet_aton(network))),
            _nested(
                1,
                _text(1, "meta"),
                _nested(2, _be32(1, _NFT_REG_1), _be32(2, _NFT_META_OIFNAME)),
            ),
            _nested(1, _text(1, "cmp"), _compare(_NFT_CMP_NEQ, interface)),
            _nested(1, _text(1, "masq")),
        )
        rule = name + _text(2, "postrouting") + _nested(4, *expressions)
        create = _NLM_F_CREATE
        self._batch(
            f"set up address translation {table}",
            (_NFT_MSG_NEWTABLE, create, name),
            (_NFT_MSG_DELTABLE, 0, name),
            (_NFT_MSG_NEWTABLE, create, name),
            (_NFT_MSG_NEWCHAIN, create, chain),
            (_NFT_MSG_NEWRULE, create | _NLM_F_APPEND, rule),
        )

    def accept_interface(self, table: str, chain: str, *, interface: str, mark: str) -> None:
        """Let a chain of somebody else accept what comes from or goes to an interface.

        The two rules stand first in the chain and carry ``mark`` as their comment.
        FileNotFoundError when there is no such chain.
        """
        place = _text(1, table) + _text(2, chain)
        comment = mark.encode() + b"\0"
        label = attribute(_NFTA_RULE_USERDATA, bytes((0, len(comment))) + comment)
        name = interface.encode().ljust(_IFNAMSIZ, b"\0")
        accept = _nested(2, _nested(2, _be32(1, _NF_ACCEPT)))
        requests = []
        for key in (_NFT_META_IIFNAME, _NFT_META_OIFNAME):
            expressions = (
                _nested(1, _text(1, "meta"), _nested(2, _be32(1, _NFT_REG_1), _be32(2, key))),
                _nested(1, _text(1, "cmp"), _compare(_NFT_CMP_EQ, name)),
                _nested(1, _text(1, "immediate"), _nested(2, _be32(1, 0), accept)),
            )
            rule = place + _nested(4, *expressions) + label
            requests.append((_NFT_MSG_NEWRULE, _NLM_F_CREATE, rule))
        self._batch(f"accept {interface} in {chain}", *requests)

    def delete_marked(self, table: str, chain: str, *, mark: str) -> None:
        """Remove the rules of a chain whose comment is ``mark``; none is fine."""
        place = _text(1, table) + _text(2, chain)
        handles = [
            handle
            for handle, userdata in self._rules(place)
            if userdata[2:] == mark.encode() + b"\0"
        ]
        requests = [
            (_NFT_MSG_DELRULE, 0, place + attribute(_NFTA_RULE_HANDLE, handle))
            for handle in handles
        ]
        if requests:
            self._batch(f"delete rules of {chain}", *requests)

    def _rules(self, place: bytes) -> list[tuple[bytes, bytes]]:
        """Return (handle, user data) of the rules of a chain; none when there is no chain."""
        kind = _NFNL_SUBSYS_NFTABLES << 8 | _NFT_MSG_GETRULE
        family = struct.pack(">BBH", _NFPROTO_IPV4, 0, 0)
        self._socket.send(self._message(kind, _NLM_F_DUMP, family + place))
        rules: list[tuple[bytes, bytes]] = []
        while True:
            data = self._socket.recv(1 << 18)
            while len(data) >= 16:
                length, kind, _, sequence = struct.unpack_from("IHHI", data)
                if sequence != self._sequence:  # a late answer to something before
                    data = data[length + (-length % 4) :]
                    continue
                if kind in (_NLMSG_DONE, _NLMSG_ERROR):
                    return rules
                found = dict(_attributes(data[20:length]))
                rules.append(
                    (found.get(_NFTA_RULE_HANDLE, b""), found.get(_NFTA_RULE_USERDATA, b""))
                )
                data = data[length + (-length % 4) :]

    def delete_table(self, table: str) -> None:
        """Remove a table with all it holds; FileNotFoundError when there is none."""
        self._batch(f"delete table {table}", (_NFT_MSG_DELTABLE, 0, _text(1, table)))

    def _batch(self, what: str, *requests: tuple[int, int, bytes]) -> None:
        """Have all requests carried out, or none."""
        edge = struct.pack(">BBH", 0, 0, _NFNL_SUBSYS_NFTABLES)
        family = struct.pack(">BBH", _NFPROTO_IPV4, 0, 0)
        messages = [self._message(_NFNL_MSG_BATCH_BEGIN, 0, edge)]
        for kind, flags, payload in requests:
            number = _NFNL_SUBSYS_NFTABLES << 8 | kind
            messages.append(self._message(number, flags | _NLM_F_ACK, family + payload))
        messages.append(self._message(_NFNL_MSG_BATCH_END, 0, edge))
        self._transact(what, *messages, acknowledged=len(requests))


def _compare(operator: int, value: bytes) -> bytes:
    """Return the data of a comparison of register 1 with ``value``."""
    return _nested(2, _be32(1, _NFT_REG_1), _be32(2, operator), _nested(3, attribute(1, value)))
