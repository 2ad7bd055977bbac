"""The generated files of /etc: hosts and resolv.conf; pure."""

import ipaddress
from collections.abc import Sequence
from typing import Final

FALLBACK_SERVERS: Final = ("8.8.8.8", "8.8.4.4")
SYSTEMD_STUB: Final = "127.0.0.53"


def name_servers(text: str) -> list[str]:
    """Return the servers of a resolv.conf, in order.

    Source: resolv.conf(5).
    """
    servers = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            servers.append(words[1])
    return servers


def resolv_conf(
    host_text: str,
    *,
    own_network: bool,
    servers: Sequence[str] = (),
    search: Sequence[str] = (),
) -> str:
    """Return the resolv.conf for inside.

    With a network of its own a sandbox cannot reach servers on the host's loopback: they are left
    out, and public ones stand in when none is left. ``servers`` and ``search`` replace the host's.
    """
    kept = [
        line
        for line in host_text.splitlines()
        if line.split()[:1] in (["search"], ["domain"], ["options"])
    ]
    if search:
        kept = [line for line in kept if line.split()[0] == "options"]
        kept.insert(0, "search " + " ".join(search))
    chosen = list(servers) or name_servers(host_text)
    if own_network and not servers:
        chosen = [server for server in chosen if not _is_loopback(server)]
        chosen = chosen or list(FALLBACK_SERVERS)
    return "".join(f"{line}\n" for line in [*kept, *(f"nameserver {item}" for item in chosen)])


def hosts(
    hostname: str, *, address: str | None = None, extra: Sequence[tuple[str, str]] = ()
) -> str:
    """Return the hosts file for inside; ``extra`` are (name, address) pairs."""
    local = "localhost" if address else f"localhost {hostname}"
    lines = [f"127.0.0.1\t{local}", "::1\tlocalhost ip6-localhost ip6-loopback"]
    lines += [f"{where}\t{name}" for name, where in extra]
    if address:
        lines.append(f"{address}\t{hostname}")
    return "".join(f"{line}\n" for line in lines)


def _is_loopback(server: str) -> bool:
    try:
        return ipaddress.ip_address(server.partition("%")[0]).is_loopback
    except ValueError:
        return False
