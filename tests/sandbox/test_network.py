import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imagekit.sandbox.errors import SandboxError
from imagekit.sandbox.launcher import Launcher
from imagekit.sandbox.network import BRIDGE
from imagekit.sandbox.port_proxy import PortProxy
from imagekit.sandbox.spec import NetworkMode, PublishedPort

pytestmark = pytest.mark.root

USE_THE_BRIDGE = """
import json, socket, sys
from pathlib import Path
from imagekit.sandbox.network import BRIDGE, BridgeNetwork

forwarding = Path("/proc/sys/net/ipv4/ip_forward")
forwarding.write_text("0")

def state():
    names = [name for _, name in socket.if_nameindex()]
    return BRIDGE in names, forwarding.read_text().strip()

network = BridgeNetwork(Path(sys.argv[1]))
first, second = network.allocate(), network.allocate()
during = state()
network.release(first)
network.release(second)
unused = state()
network.close()
print(json.dumps([first.address, second.address, during, unused, state()]))
"""


LOSE_A_USER = """
import json, sys
from pathlib import Path
from imagekit.sandbox.network import BridgeNetwork

network = BridgeNetwork(Path(sys.argv[1]))
first = network.allocate()
table = Path(sys.argv[1], "network.json")
state = json.loads(table.read_text())
state["users"][first.address] = [1, 12345]  # process 1 did not start then
table.write_text(json.dumps(state))
second = network.allocate()
network.release(second)
network.close()
print(json.dumps([first.address, second.address]))
"""


def in_a_network_namespace(program: str, directory: Path) -> Any:
    """Run a program where nobody else has the bridge, and return what it printed as JSON."""
    result = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", program, directory],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        timeout=60,
    )
    return json.loads(result.stdout)


@pytest.fixture
def bridged(bench: Any, tmp_path: Path) -> Iterator[Any]:
    with Launcher() as launcher:
        bench.launcher = launcher
        yield bench


def test_none_has_only_a_loopback(bench: Any) -> None:
    outcome = bench.shell(
        "ls /sys/class/net; cat /sys/class/net/lo/flags", network=NetworkMode.NONE
    )

    assert outcome.out.split() == ["lo", "0x9"]


def test_host_is_the_hosts(bench: Any) -> None:
    outcome = bench.shell("ls /sys/class/net", network=NetworkMode.HOST)

    assert set(outcome.out.split()) >= {"lo"}
    assert set(outcome.out.split()) <= set(os.listdir("/sys/class/net")) | {BRIDGE}


def test_bridge_has_address_route_and_resolver(bridged: Any) -> None:
    outcome = bridged.shell(
        "ip -4 -o addr; ip route; cat /etc/hosts", network=NetworkMode.BRIDGE, hostname="me"
    )

    assert "eth0" in outcome.out
    assert "default via" in outcome.out
    assert "\tme\n" in outcome.out


def test_sandboxes_reach_each_other_and_the_host(bridged: Any, tmp_path: Path) -> None:
    server = bridged.start(
        bridged.spec(
            "sh", "-c", "echo hi > /tmp/f; httpd -f -p 80 -h /tmp", network=NetworkMode.BRIDGE
        ),
        out=1,
        err=2,
    )
    try:
        script = (
            "for i in 1 2 3 4 5 6 7 8 9; do "
            f"busybox wget -qO- http://{server.network.address}/f && break; sleep 0.05; done"
        )
        assert bridged.shell(script, network=NetworkMode.BRIDGE).out == "hi\n"
    finally:
        server.kill()
        server.wait()


def test_published_port(bridged: Any) -> None:
    spec = bridged.spec(
        "nc",
        "-l",
        "-p",
        "7",
        "-e",
        "cat",
        network=NetworkMode.BRIDGE,
        publish=(PublishedPort(container_port=7),),
        init=True,
    )
    process = bridged.start(spec, out=1, err=2)
    port = process.network.ports[0][1]

    data = b""
    for _ in range(100):
        with (
            contextlib.suppress(OSError),  # nobody listens inside yet
            socket.create_connection(("127.0.0.1", port), timeout=5) as client,
        ):
            client.sendall(b"echo")
            client.shutdown(socket.SHUT_WR)
            data = client.recv(100)
        if data:
            break
    process.kill()
    process.wait()

    assert data == b"echo"
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_taken_port_is_named_and_nothing_is_left(bridged: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        spec = bridged.spec(
            "true",
            network=NetworkMode.BRIDGE,
            publish=(PublishedPort(container_port=7, host_port=port),),
        )
        with pytest.raises(SandboxError, match=f"cannot listen on 127.0.0.1:{port}"):
            bridged.start(spec, out=1, err=2)

    users = json.loads(Path("/run/imagekit/network.json").read_text())["users"]
    assert all(
        name.startswith("holder-") or owner[0] != os.getpid() for name, owner in users.items()
    )


def test_the_last_user_removes_the_bridge(tmp_path: Path) -> None:
    first, second, *states = in_a_network_namespace(USE_THE_BRIDGE, tmp_path)

    assert first != second
    assert states == [[True, "1"], [True, "1"], [False, "0"]]


def test_addresses_of_dead_processes_are_free_again(tmp_path: Path) -> None:
    first, second = in_a_network_namespace(LOSE_A_USER, tmp_path)

    assert first == second


def test_proxy_closes_what_nobody_serves() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        target = unused.getsockname()
    proxy = PortProxy(host_address="127.0.0.1", host_port=0, target=target)

    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
        assert client.recv(1) == b""
    proxy.close()


@pytest.mark.network
@pytest.mark.parametrize("mode", [NetworkMode.BRIDGE, NetworkMode.HOST])
def test_the_package_archive_is_reached(bridged: Any, mode: NetworkMode) -> None:
    outcome = bridged.shell(
        "busybox wget -qO- http://deb.debian.org/debian/dists/stable/Release | head -1",
        network=mode,
    )

    assert outcome.out == "Origin: Debian\n"
