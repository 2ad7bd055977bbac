"""Networks and published ports."""

import socket
import time
from typing import TYPE_CHECKING

import pytest

from imagekit.containers.request import PortMapping
from imagekit.sandbox.errors import SandboxError
from imagekit.sandbox.spec import NetworkMode

if TYPE_CHECKING:
    from tests.containers.conftest import World

pytestmark = pytest.mark.root

SERVER = ("sh", "-c", "mkdir /www; echo hello > /www/index.html; exec httpd -f -p 80 -h /www")


def fetch(port: int) -> bytes:
    deadline = time.monotonic() + 10
    while not (answer := ask(port)):
        assert time.monotonic() < deadline, "the server in the container never answered"
    return answer


def ask(port: int) -> bytes:
    """Return the answer; nothing while the server in the container does not listen yet."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        try:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            while data := connection.recv(4096):
                answer += data
        except ConnectionError:
            return b""
    return answer


def test_none_has_only_a_loopback(world: "World") -> None:
    _, out, _ = world.run("ls", "/sys/class/net", network=NetworkMode.NONE)

    assert out == b"lo\n"


def test_bridge_has_an_address_that_inspect_tells(world: "World") -> None:
    world.start("sleep", "100", name="box", network=NetworkMode.BRIDGE)
    address = world.containers.inspect("box")["NetworkSettings"]["IPAddress"]

    _, out = world.exec("box", "ip", "-4", "addr", "show", "scope", "global")

    assert f"inet {address}/".encode() in out


def test_published_port_of_a_detached_container(world: "World") -> None:
    world.start(
        *SERVER, name="box", network=NetworkMode.BRIDGE, publish=(PortMapping(container_port=80),)
    )

    (summary,) = world.containers.list()
    (binding,) = summary.ports
    assert binding.container_port == 80
    assert fetch(binding.host_port).endswith(b"hello\n")
    document = world.containers.inspect("box")
    assert document["NetworkSettings"]["Ports"]["80/tcp"] == [
        {"HostIp": "127.0.0.1", "HostPort": str(binding.host_port)}
    ]
    world.containers.remove("box", force=True)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", binding.host_port), timeout=5)


def test_port_in_use_is_an_error_and_leaves_nothing(world: "World") -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SandboxError):
            world.start(
                "sleep", "100", remove=True, network=NetworkMode.BRIDGE,
                publish=(PortMapping(container_port=80, host_port=port),),
            )  # fmt: skip

    assert world.containers.list(all=True) == ()
