"""What a process inside sees and may do: docker's default environment."""

import os
from pathlib import Path
from typing import Any

import pytest

from imagekit.sandbox.spec import Limits, NetworkMode

pytestmark = pytest.mark.root

_STATUS = 'fields = dict(l.split(":", 1) for l in open("/proc/self/status") if ":" in l)\n'


def test_root_has_the_fourteen_capabilities(probe: Any) -> None:
    seen = probe(
        _STATUS + 'print(json.dumps({k: fields[k].strip() for k in fields if k.startswith("Cap")}))'
    )

    fourteen = "00000000a80425fb"
    assert seen == {
        "CapInh": "0" * 16,
        "CapPrm": fourteen,
        "CapEff": fourteen,
        "CapBnd": fourteen,
        "CapAmb": "0" * 16,
    }


def test_another_user_has_none(bench: Any) -> None:
    outcome = bench.run("grep", "Cap", "/proc/self/status", user="bob")

    values = dict(line.split(":\t") for line in outcome.out.splitlines())
    assert values == {
        "CapInh": "0" * 16,
        "CapPrm": "0" * 16,
        "CapEff": "0" * 16,
        "CapBnd": "00000000a80425fb",
        "CapAmb": "0" * 16,
    }


def test_capabilities_can_be_chosen(bench: Any) -> None:
    outcome = bench.run(
        "grep", "CapEff", "/proc/self/status", capabilities=frozenset({"CHOWN", "SYS_ADMIN"})
    )

    assert int(outcome.out.split()[1], 16) == 1 << 0 | 1 << 21


def test_privileged_has_everything(bench: Any) -> None:
    outcome = bench.shell(
        "grep -E 'CapEff|Seccomp:' /proc/self/status; test -e /dev/loop-control -o -e /dev/kmsg "
        "&& echo devices; mkdir /m; mount -t tmpfs none /m && echo mounted",
        privileged=True,
    )

    lines = outcome.out.splitlines()
    own = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if "CapEff" in line
    )
    assert lines == [own, "Seccomp:\t0", "devices", "mounted"]


def test_no_new_privileges(bench: Any) -> None:
    outcome = bench.run(
        "grep", "-E", "NoNewPrivs|Seccomp:", "/proc/self/status", no_new_privileges=True
    )

    assert outcome.out.split() == ["NoNewPrivs:", "1", "Seccomp:", "2"]


def test_namespaces_are_own(probe: Any) -> None:
    names = ("mnt", "pid", "ipc", "uts", "net", "cgroup")
    inside = probe(
        f'print(json.dumps({{n: os.readlink(f"/proc/self/ns/{{n}}") for n in {names!r}}}))',
        network=NetworkMode.NONE,
    )

    for name in names:
        assert inside[name] != os.readlink(f"/proc/self/ns/{name}"), name


def test_only_own_processes_are_visible(bench: Any) -> None:
    assert bench.shell("echo /proc/[0-9]*").out.split() == ["/proc/1"]


def test_mounts_are_those_of_docker(bench: Any) -> None:
    outcome = bench.shell("cat /proc/self/mounts")
    mounts = {}
    for line in outcome.out.splitlines():
        _, point, kind, options, *_ = line.split()
        mounts[point] = (kind, set(options.split(",")))

    quiet = {"nosuid", "nodev", "noexec"}
    for point, kind, options in (
        ("/", "overlay", {"rw"}),
        ("/proc", "proc", quiet | {"rw"}),
        ("/dev", "tmpfs", {"rw", "nosuid", "mode=755"}),
        ("/dev/pts", "devpts", {"nosuid", "noexec", "ptmxmode=666"}),
        ("/dev/shm", "tmpfs", quiet),
        ("/dev/mqueue", "mqueue", quiet),
        ("/sys", "sysfs", quiet | {"ro"}),
        ("/etc/resolv.conf", "tmpfs", {"nosuid", "nodev"}),
        ("/proc/sys", "proc", quiet | {"ro"}),
    ):
        assert mounts[point][0] == kind
        assert options <= mounts[point][1], point
    assert "nodev" not in mounts["/"][1]
    assert "nodev" not in mounts["/dev"][1]
    for point, (kind, options) in mounts.items():
        if point.startswith("/sys/fs/cgroup"):
            assert quiet | {"ro"} <= options, (point, kind)


def test_device_nodes_work(bench: Any) -> None:
    script = (
        "echo x > /dev/null && head -c 4 /dev/zero | wc -c && head -c 3 /dev/urandom | wc -c;"
        "echo x > /dev/full || echo full; ls /dev"
    )
    outcome = bench.shell(script.replace("wc -c", "busybox wc -c"))

    lines = outcome.out.split()
    assert lines[:3] == ["4", "3", "full"]
    expected = "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"
    assert set(lines[3:]) - {"core"} == set(expected.split())


def test_other_devices_can_be_made_and_not_opened(bench: Any) -> None:
    outcome = bench.shell("busybox mknod /disk b 254 0 && head -c 1 /disk")

    assert outcome.code != 0
    assert "Operation not permitted" in outcome.err
    assert outcome.changes() == ["disk"]


def test_masked_paths_are_empty(bench: Any) -> None:
    outcome = bench.shell(
        "for f in interrupts kcore keys timer_list; do test -e /proc/$f && cat /proc/$f; done;"
        "for d in /proc/acpi /proc/scsi /sys/firmware /sys/devices/virtual/powercap; do"
        " test -e $d && ls $d; done; true"
    )

    assert (outcome.out, outcome.err) == ("", "")


def test_kernel_switches_are_read_only(bench: Any) -> None:
    script = (
        "for f in /proc/sysrq-trigger /proc/sys/kernel/core_pattern /proc/irq/0/smp_affinity"
        " /sys/kernel/uevent_helper /sys/power/state; do"
        " test -e $f && { (echo x > $f) 2>/dev/null && echo wrote $f; }; done; true"
    )

    assert bench.shell(script).out == ""


def test_cgroup_files_are_read_only_and_own(bench: Any) -> None:
    outcome = bench.shell(
        "cat /proc/self/cgroup; for f in $(busybox find /sys/fs/cgroup -type f); do"
        " (echo 1 > $f) 2>/dev/null && echo wrote $f; done; true",
        limits=Limits(memory_bytes=64 << 20),
    )

    assert "wrote" not in outcome.out
    assert "imagekit" not in outcome.out


def test_read_only_root(bench: Any) -> None:
    outcome = bench.shell("echo x > /var/f; echo y > /dev/shm/f && echo shm", read_only_root=True)

    assert outcome.out == "shm\n"
    assert "Read-only file system" in outcome.err
    assert outcome.changes() == []


def test_generated_files(bench: Any) -> None:
    outcome = bench.shell(
        "cat /etc/hosts /etc/hostname /etc/resolv.conf; hostname",
        hostname="box",
        add_hosts=(("db", "10.1.2.3"),),
        dns=("9.9.9.9",),
        dns_search=("example.org",),
    )

    assert outcome.out == (
        "127.0.0.1\tlocalhost box\n::1\tlocalhost ip6-localhost ip6-loopback\n10.1.2.3\tdb\n"
        "box\nsearch example.org\nnameserver 9.9.9.9\nbox\n"
    )


def test_generated_files_can_be_written_without_a_trace(bench: Any) -> None:
    outcome = bench.shell("echo x >> /etc/hosts; echo y > /etc/resolv.conf; cat /etc/resolv.conf")

    assert outcome.out == "y\n"
    assert outcome.changes() == []


def test_metadata_of_etc_is_kept_by_a_copy_up(bench: Any, tmp_path: Path) -> None:
    etc = tmp_path / "layer/etc"
    etc.mkdir(parents=True)
    os.chown(etc, 12, 34)
    etc.chmod(0o750)
    os.setxattr(etc, "user.kept", b"1")

    outcome = bench.shell("echo x > /etc/new", root=bench.root(tmp_path / "layer"))

    status = (outcome.upper / "etc").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (12, 34, 0o750)
    assert os.getxattr(outcome.upper / "etc", "user.kept") == b"1"
    assert outcome.changes() == ["etc", "etc/new"]


def test_untouched_directory_keeps_its_time(bench: Any, tmp_path: Path) -> None:
    etc = tmp_path / "layer/etc"
    etc.mkdir(parents=True)
    os.utime(etc, (1_000_000_000, 1_000_000_000))

    outcome = bench.shell(
        "chmod 644 /etc/passwd; stat -c %Y /etc", root=bench.root(tmp_path / "layer")
    )

    assert outcome.err == "" or "chmod" in outcome.err
    assert int((outcome.upper / "etc").stat().st_mtime if outcome.changes() else 1e9) == 10**9


def test_sysctls_of_own_namespaces(bench: Any) -> None:
    outcome = bench.shell(
        "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shmmni",
        network=NetworkMode.NONE,
        sysctls=(("kernel.shmmni", "77"),),
    )

    assert outcome.out.split() == ["0", "77"]
    assert Path("/proc/sys/kernel/shmmni").read_text().strip() != "77"
