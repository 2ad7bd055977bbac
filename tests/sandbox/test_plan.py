"""Plans are values: their order, and what they refuse, can be read without privilege."""

import json
from pathlib import Path
from typing import Any

import pytest

from imagekit.base.errors import UserError
from imagekit.sandbox import defaults
from imagekit.sandbox.dns import hosts, name_servers, resolv_conf
from imagekit.sandbox.operations import decode, encode
from imagekit.sandbox.plan import Surroundings, capability_mask, plan, plan_exec
from imagekit.sandbox.process_operations import LimitPrivileges
from imagekit.sandbox.spec import (
    Mount,
    MountKind,
    NetworkMode,
    OverlayRoot,
    ProcessSpec,
    SandboxSpec,
    Ulimit,
)

ROOT = OverlayRoot(lowerdirs=(Path("/l"),), upperdir=Path("/u"), workdir=Path("/w"))


def spec(**fields: Any) -> SandboxSpec:
    fields.setdefault("process", ProcessSpec(argv=("true",)))
    return SandboxSpec(id="abc", root=ROOT, **fields)


def names(made: SandboxSpec) -> list[str]:
    return [type(operation).__name__ for operation in plan(made, Surroundings())]


def test_order_is_the_secure_one() -> None:
    mount = Mount(target="/m", source=Path("/s"))

    assert names(spec(mounts=(mount,), read_only_root=True)) == [
        "JoinKeyring",
        "PrivateMounts",
        "OpenCgroups",
        "OpenSource",
        "Staging",
        "InitLayer",
        "MountOverlay",
        "MountProc",
        "MountDev",
        "EtcFiles",
        "MountSys",
        "AddMount",
        "ProtectPaths",
        "ReadOnlyRoot",
        "PivotRoot",
        "SetHostname",
        "AwaitCgroups",
        "CloseRoot",
        "Identify",
        "ConnectStdio",
        "SetLimits",
        "EnterDirectory",
        "LimitPrivileges",
        "Execute",
    ]


def test_the_unified_tree_is_mounted_from_inside_the_cgroup() -> None:
    made = [
        type(operation).__name__
        for operation in plan(
            spec(), Surroundings(unified_cgroups=True, cgroup_directories=("/c",))
        )
    ]

    assert made.index("AwaitCgroups") == made.index("MountSys") - 1


def test_privileged_is_not_protected() -> None:
    made = names(spec(privileged=True))

    assert "ProtectPaths" not in made
    assert "HostDevices" in made


def test_every_operation_travels_and_describes_itself() -> None:
    made = spec(
        mounts=(
            Mount(target="/m", source=Path("/s"), source_layers=(Path("/a"),)),
            Mount(target="/f", kind=MountKind.FILE, content=b"\xff"),
        ),
        process=ProcessSpec(argv=("a\udcff",), env=("A=ü",), tty=True, cwd="/x/../y"),
        network=NetworkMode.NONE,
    )

    for operation in plan(made, Surroundings(filter=b"12345678")):
        copy = decode(json.loads(json.dumps(encode(operation))))
        assert json.dumps(encode(copy)) == json.dumps(encode(operation))
        assert copy.describe()


def test_exec_has_no_mounts() -> None:
    made = plan_exec(7, ProcessSpec(argv=("x",)), Surroundings(), mask=5)

    assert not any("Mount" in type(operation).__name__ for operation in made)
    assert next(item for item in made if isinstance(item, LimitPrivileges)).capabilities == 5


def test_only_available_capabilities_are_granted() -> None:
    assert capability_mask(spec(), 0b11) == 0b11
    assert capability_mask(spec(), (1 << 41) - 1) == 0xA80425FB
    assert len(defaults.CAPABILITIES) == 14
    with pytest.raises(UserError, match="CAP_CHOWN, NOPE"):
        capability_mask(spec(capabilities=frozenset({"CAP_CHOWN", "NOPE", "KILL"})), 1)


@pytest.mark.parametrize(
    "fields",
    [
        {"sysctls": (("kernel.panic", "1"),)},
        {"sysctls": (("net.ipv4.ip_forward", "1"),)},  # the host's network
        {"sysctls": (("net/../kernel/panic", "1"),), "network": NetworkMode.NONE},
        {"ulimits": (Ulimit(name="nonsense", soft=1, hard=1),)},
        {"mounts": (Mount(target="/m"),)},
    ],
)
def test_wrong_specifications_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        plan(spec(**fields), Surroundings())


def test_resolver_without_loopback_servers() -> None:
    text = (
        "search a b\noptions ndots:2\nnameserver 127.0.0.53\nnameserver ::1\nnameserver 10.0.0.1\n"
    )

    assert (
        resolv_conf(text, own_network=True) == "search a b\noptions ndots:2\nnameserver 10.0.0.1\n"
    )
    assert name_servers(resolv_conf(text, own_network=False)) == ["127.0.0.53", "::1", "10.0.0.1"]
    assert name_servers(resolv_conf("", own_network=True)) == ["8.8.8.8", "8.8.4.4"]


def test_hosts_file() -> None:
    assert hosts("me", address="10.0.0.2") == (
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n10.0.0.2\tme\n"
    )
