"""The bridge that sandboxes share, and who has which address on it.

One bridge serves all imagekit processes of a machine. A small JSON file under a lock says who uses
it; entries of processes that have gone are dropped by the next who looks. When the last user goes,
the bridge, the translation table and the forwarding switch are put back.
"""

import contextlib
import fcntl
import ipaddress
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from imagekit.base.atomic import write_file
from imagekit.base.tokens import token_hex
from imagekit.linux.netlink import NetfilterSocket, RouteSocket
from imagekit.sandbox.errors import SandboxError
from imagekit.sandbox.network_operations import JoinBridge

BRIDGE: Final = "imagekit0"
TABLE: Final = "imagekit"
_DOCKER_CHAIN: Final = ("filter", "DOCKER-USER")
_CANDIDATES: Final = tuple(
    ipaddress.IPv4Network(text)
    for text in ("10.88.64.0/20", "172.29.64.0/20", "192.168.240.0/20", "10.213.64.0/20")
)
_FORWARDING: Final = Path("/proc/sys/net/ipv4/ip_forward")
_DEFAULT_MTU: Final = 1500


class Allocation(msgspec.Struct, frozen=True, kw_only=True):
    """An address on the bridge, to be given back by ``BridgeNetwork.release``."""

    address: str
    gateway: str
    prefix_length: int
    interface: str
    mtu: int

    def operation(self) -> JoinBridge:
        """Return the operation that connects a sandbox with it."""
        return JoinBridge(
            BRIDGE, self.interface, self.address, self.prefix_length, self.gateway, self.mtu
        )


class BridgeNetwork:
    """The shared bridge, as one process uses it.

    ``directory`` holds the lock and the table of users and should not outlive a reboot
    (/run/imagekit). May be used from several threads.
    """

    name = BRIDGE

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._holder = f"holder-{token_hex(6)}"
        self._holds = False

    def allocate(self) -> Allocation:
        """Make the bridge where it is missing and reserve an address on it.

        Raises:
            SandboxError: the kernel refused, or no address is free.

        """
        try:
            with self._locked() as state:
                network, mtu = self._ensure(state)
                users: dict[str, Any] = state["users"]
                users[self._holder] = _owner()
                self._holds = True
                gateway = network.network_address + 1
                for number in range(2, network.num_addresses - 1):
                    address = str(network.network_address + number)
                    if address not in users:
                        users[address] = _owner()
                        return Allocation(
                            address=address,
                            gateway=str(gateway),
                            prefix_length=network.prefixlen,
                            interface=f"ik{token_hex(5)}",
                            mtu=mtu,
                        )
        except OSError as error:
            raise SandboxError(
                f"cannot set up the bridge network: {error.strerror}",
                operation="network",
                errno=error.errno or 0,
                hint="Use the host's network (--network host), or run as root.",
            ) from error
        raise SandboxError("no address is free on the bridge network", operation="network")

    def release(self, allocation: Allocation) -> None:
        """Give an address back; the interface goes with the sandbox's namespace."""
        with self._locked() as state:
            state["users"].pop(allocation.address, None)

    def close(self) -> None:
        """Say that this process needs the bridge no more; safe to repeat."""
        if not self._holds:
            return
        self._holds = False
        with self._locked() as state:
            state["users"].pop(self._holder, None)
            if not state["users"]:
                self._tear_down(state)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[dict[str, Any]]:
        """Yield the table of users, without the dead, and store it at the end."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._directory / "network.json"
        lock_fd = os.open(self._directory / "network.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX)
            state = _load(path)
            state["users"] = {
                name: owner for name, owner in state["users"].items() if _is_alive(owner)
            }
            try:
                yield state
            finally:
                write_file(path, json.dumps(state).encode(), durable=False)
        finally:
            os.close(lock_fd)

    def _ensure(self, state: dict[str, Any]) -> tuple[ipaddress.IPv4Network, int]:
        """Make bridge, translation and forwarding where they are missing."""
        mtu = _host_mtu()
        if state.get("network") and _interface_index(BRIDGE):
            return ipaddress.IPv4Network(state["network"]), mtu
        network = _free_network()
        gateway = network.network_address + 1
        with RouteSocket() as route:
            if stale := _interface_index(BRIDGE):
                route.delete_link(stale)
            route.add_bridge(BRIDGE, mtu=mtu)
            index = socket.if_nametoindex(BRIDGE)
            route.add_address(index, str(gateway), network.prefixlen)
        with NetfilterSocket() as netfilter:
            netfilter.masquerade(
                TABLE,
                network=str(network.network_address),
                prefix_length=network.prefixlen,
                bridge=BRIDGE,
            )
            # Docker drops what is forwarded for others, except what this chain of its own accepts.
            with contextlib.suppress(FileNotFoundError):
                netfilter.accept_interface(*_DOCKER_CHAIN, interface=BRIDGE, mark=TABLE)
        if _FORWARDING.read_text().strip() == "0":
            _FORWARDING.write_text("1")
            state["restore_forwarding"] = True
        state["network"] = str(network)
        return network, mtu

    @staticmethod
    def _tear_down(state: dict[str, Any]) -> None:
        if index := _interface_index(BRIDGE):
            with RouteSocket() as route:
                route.delete_link(index)
        with NetfilterSocket() as netfilter, contextlib.suppress(FileNotFoundError):
            netfilter.delete_marked(*_DOCKER_CHAIN, mark=TABLE)
            netfilter.delete_table(TABLE)
        if state.pop("restore_forwarding", False):
            _FORWARDING.write_text("0")
        state.pop("network", None)


def _load(path: Path) -> dict[str, Any]:
    try:
        state = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {"users": {}}
    return (
        state if isinstance(state, dict) and isinstance(state.get("users"), dict) else {"users": {}}
    )


def _owner() -> list[int]:
    """Return what identifies this process until the next reboot."""
    return [os.getpid(), _start_time(os.getpid()) or 0]


def _is_alive(owner: object) -> bool:
    return isinstance(owner, list) and len(owner) == 2 and _start_time(owner[0]) == owner[1]


def _start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot, or None.

    Source: proc_pid_stat(5).
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(text.rpartition(")")[2].split()[19])


def _interface_index(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def _routes() -> list[tuple[str, ipaddress.IPv4Network]]:
    """Return (interface, network) of the host's IPv4 routes."""
    routes = []
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        fields = line.split()
        address, mask = (int.from_bytes(bytes.fromhex(fields[i]), "little") for i in (1, 7))
        length = mask.bit_count()
        routes.append((fields[0], ipaddress.IPv4Network((address & mask, length))))
    return routes


def _free_network() -> ipaddress.IPv4Network:
    taken = [network for name, network in _routes() if network.prefixlen and name != BRIDGE]
    for candidate in _CANDIDATES:
        if not any(candidate.overlaps(network) for network in taken):
            return candidate
    raise SandboxError("every network for the bridge is in use", operation="network")


def _host_mtu() -> int:
    """Return the packet size of the interface that leads out."""
    for name, network in _routes():
        if network.prefixlen == 0:
            return int(Path(f"/sys/class/net/{name}/mtu").read_text())
    return _DEFAULT_MTU
