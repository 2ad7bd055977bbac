"""The default surroundings of a container, as data.

Source: moby oci/defaults.go (2026-08), moby/profiles.
"""

from typing import Final

CAPABILITIES: Final = frozenset(
    {
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
        "SETPCAP",
        "NET_BIND_SERVICE",
        "NET_RAW",
        "SYS_CHROOT",
        "MKNOD",
        "AUDIT_WRITE",
        "SETFCAP",
    }
)

MASKED_PROC: Final = (
    "acpi",
    "asound",
    "interrupts",
    "kcore",
    "keys",
    "latency_stats",
    "sched_debug",
    "scsi",
    "timer_list",
    "timer_stats",
)

MASKED_SYS: Final = ("firmware", "devices/virtual/powercap")

THERMAL: Final = "devices/system/cpu/cpu{number}/thermal_throttle"

READ_ONLY_PROC: Final = ("bus", "fs", "irq", "sys", "sysrq-trigger")

OWN_NETWORK_SYSCTLS: Final = (
    ("net.ipv4.ip_unprivileged_port_start", "0"),
    ("net.ipv4.ping_group_range", "0 2147483647"),
)

DEVICE_RULES: Final = (
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:1 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
)
"""Making any node is allowed, opening only these; the syntax of cgroup v1 devices.allow."""
