"""Each test works in a network namespace of its own, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

import imagekit
from imagekit.linux.netlink import attribute

_PRELUDE = """
import os, socket, subprocess
from imagekit.linux.constants import CLONE_NEWNET
from imagekit.linux.namespaces import unshare
from imagekit.linux.netlink import NetfilterSocket, RouteSocket
unshare(CLONE_NEWNET)
def nft(*words):
    return subprocess.run(["nft", *words], check=True, capture_output=True, text=True).stdout
"""


def run(code: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", _PRELUDE + code],
        cwd=Path(imagekit.__file__).parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def needs_nft() -> None:
    import shutil

    if shutil.which("nft") is None:
        pytest.skip("nft is not installed")


def test_attributes_are_padded() -> None:
    assert attribute(3, b"ab\0") == b"\x07\0\x03\0ab\0\0"
    assert attribute(1, b"") == b"\x04\0\x01\0"


@pytest.mark.root
def test_bridge_address_and_route() -> None:
    out = run("""
with RouteSocket() as route:
    route.set_up(1)
    route.add_bridge("br9", mtu=1234)
    index = socket.if_nametoindex("br9")
    route.add_address(index, "10.9.8.1", 24)
    route.add_default_route(index, "10.9.8.7")
    try:
        route.add_bridge("br9", mtu=1234)
    except FileExistsError:
        print("exists")
    print(open("/proc/net/route").read().count("br9"))
    route.delete_link(index)
print(socket.if_nameindex())
""")

    assert out.splitlines() == ["exists", "2", "[(1, 'lo')]"]


@pytest.mark.root
def test_a_pair_across_namespaces() -> None:
    out = run("""
route = RouteSocket()
route.add_bridge("br9", mtu=1500)
bridge = socket.if_nametoindex("br9")
unshare(CLONE_NEWNET)
fd = os.open("/proc/self/ns/net", os.O_RDONLY)
route.add_veth("outer", master_index=bridge, mtu=1400, peer="eth0", peer_netns_fd=fd)
print([name for _, name in socket.if_nameindex()])
""")

    assert out == "['lo', 'eth0']\n"


@pytest.mark.root
def test_masquerading_is_as_nft_reads_it() -> None:
    needs_nft()
    out = run("""
with NetfilterSocket() as netfilter:
    for _ in range(2):  # safe to repeat
        netfilter.masquerade("mine", network="10.9.8.0", prefix_length=24, bridge="br9")
    print(nft("list", "ruleset"))
    netfilter.delete_table("mine")
    print(repr(nft("list", "ruleset")))
    try:
        netfilter.delete_table("mine")
    except FileNotFoundError:
        print("gone")
""")

    assert 'ip saddr 10.9.8.0/24 oifname != "br9" masquerade' in out
    assert out.splitlines()[-2:] == ["''", "gone"]


@pytest.mark.root
def test_rules_in_a_chain_of_somebody_else() -> None:
    needs_nft()
    out = run("""
with NetfilterSocket() as netfilter:
    netfilter.delete_marked("filter", "DOCKER-USER", mark="mine")  # no chain is fine
    try:
        netfilter.accept_interface("filter", "DOCKER-USER", interface="br9", mark="mine")
    except FileNotFoundError:
        print("no chain")
    nft("add", "table", "ip", "filter")
    nft("add", "chain", "ip", "filter", "DOCKER-USER")
    nft("add", "rule", "ip", "filter", "DOCKER-USER", "counter", "return")
    netfilter.accept_interface("filter", "DOCKER-USER", interface="br9", mark="mine")
    print(nft("list", "chain", "ip", "filter", "DOCKER-USER"))
    netfilter.delete_marked("filter", "DOCKER-USER", mark="mine")
    print("left", nft("list", "chain", "ip", "filter", "DOCKER-USER"))
""")

    before, after = out.split("left")
    assert before.startswith("no chain\n")
    assert 'iifname "br9" accept comment "mine"' in before
    assert 'oifname "br9" accept comment "mine"' in before
    assert "accept" not in after
    assert "return" in after
