"""The sandbox inside a user namespace: what a user without privilege gets."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import imagekit

pytestmark = pytest.mark.root  # root enters a namespace with one id, which takes its privilege

_PRELUDE = """
import json, os, sys, tempfile
from pathlib import Path
from imagekit.linux.idmap import enter_user_namespace
enter_user_namespace("nobody-of-this-name")
from imagekit.base.errors import ImagekitError
from imagekit.sandbox.launcher import Launcher
from imagekit.sandbox.overlay import mounted_overlay
from imagekit.sandbox.spec import *
place, image = Path(sys.argv[1]), Path(sys.argv[2])
count = 0
def root():
    global count
    count += 1
    fs, work = place / f"fs{count}", place / f"work{count}"
    fs.mkdir(); work.mkdir()
    return OverlayRoot(lowerdirs=(image,), upperdir=fs, workdir=work)
def shell(script, user="", **fields):
    fields.setdefault("root", root())
    spec = SandboxSpec(id=f"rootless{os.getpid()}-{count}",
                       process=ProcessSpec(argv=("sh", "-c", script), user=user), **fields)
    with tempfile.TemporaryFile() as out:
        try:
            process = launcher.start(spec, stdin=0, stdout=out.fileno(), stderr=out.fileno())
        except ImagekitError as error:
            return [error.code, error.message]
        code = process.wait().exit_code
        out.seek(0)
        return [code, out.read().decode()]
launcher = Launcher()
"""


@pytest.fixture
def rootless(tmp_path: Path, image: Path) -> Callable[[str], Any]:
    def run(code: str) -> Any:
        result = subprocess.run(
            [sys.executable, "-c", _PRELUDE + code, str(tmp_path), str(image)],
            cwd=Path(imagekit.__file__).parent.parent,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    return run


def test_a_program_runs_and_leaves_its_changes(
    rootless: Callable[[str], Any], tmp_path: Path
) -> None:
    code, out = rootless('print(json.dumps(shell("id -u; echo x > /var/f; rm /etc/group")))')

    assert (code, out) == (0, "0\n")
    assert (tmp_path / "fs1/var/f").read_text() == "x\n"
    assert (tmp_path / "fs1/etc/group").is_char_device()


def test_surroundings_are_complete(rootless: Callable[[str], Any]) -> None:
    script = (
        "echo x > /dev/null; head -c 2 /dev/zero | busybox wc -c; stat -c %t:%T /dev/null;"
        "cat /proc/keys; grep -E 'CapEff|Seccomp:' /proc/self/status; ls /sys/class/net | grep lo;"
        "echo /proc/[0-9]*"
    )

    code, out = rootless(f"print(json.dumps(shell({script!r})))")

    assert code == 0
    assert out.splitlines() == [
        "2",
        "1:3",
        "CapEff:\t00000000a80425fb",
        "Seccomp:\t2",
        "lo",
        "/proc/1",
    ]


def test_own_network(rootless: Callable[[str], Any]) -> None:
    code, out = rootless('print(json.dumps(shell("ls /sys/class/net", network=NetworkMode.NONE)))')

    assert (code, out) == (0, "lo\n")


def test_opaque_directories_have_the_unprivileged_form(
    rootless: Callable[[str], Any], tmp_path: Path
) -> None:
    import os

    rootless('print(json.dumps(shell("rm -r /home; mkdir /home")))')

    assert os.getxattr(tmp_path / "fs1/home", "user.overlay.opaque") == b"y"


def test_what_is_impossible_is_said(rootless: Callable[[str], Any]) -> None:
    user, limit, bridge = rootless(
        "print(json.dumps([shell('true', user='bob'),"
        " shell('true', limits=Limits(memory_bytes=1 << 30)),"
        " shell('true', network=NetworkMode.BRIDGE)]))"
    )

    assert user == ["unsupported", "user 1000:1000 does not exist in this user namespace"]
    assert bridge[0] == "sandbox"
    assert limit[0] in (0, "sandbox", "unsupported")  # the cgroups may belong to the real root


def test_mounted_overlay(rootless: Callable[[str], Any]) -> None:
    names = rootless(
        "target = place / 'target'\ntarget.mkdir()\n"
        "with mounted_overlay(root(), target) as view:\n"
        "    (view / 'new').touch()\n"
        "    print(json.dumps(sorted(os.listdir(view))))\n"
    )

    assert {"new", "bin", "etc"} <= set(names)
