"""What commands must not load: a heavy import costs more than the command does."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = (
    "requests",
    "cryptography",
    "tqdm",
    "aiohttp",
    "bcrypt",
    "zstandard",
    "asyncio",
    "registry_server",
)

SLOW = ("click", "dataclasses", "inspect", "typing_extensions", "logging", "concurrent", "random")
"""What a command that is measured in milliseconds does without."""

PROGRAM = """
import json, sys
from imagekit.cli import main as entry
sys.argv = json.loads(sys.argv[1])
entry.leave = sys.exit
try:
    entry.main()
finally:
    json.dump(sorted({name.partition(".")[0] for name in sys.modules}), sys.stderr)
"""


def loaded_by(*arguments: str | Path, root: Path) -> set[str]:
    """Run the command line and return the top-level packages it had loaded at its end."""
    argv = ["imagekit", *map(str, arguments)]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(argv)],
        capture_output=True,
        text=True,
        check=False,
        env={
            "IMAGEKIT_ROOT": str(root),
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(root),
        },
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr[done.stderr.rindex("[") :]))


@pytest.mark.parametrize(
    "arguments", [("version",), ("-h",), ("images",), ("ps",), ("system", "df")]
)
def test_quick_commands_load_nothing_heavy(arguments: tuple[str, ...], tmp_path: Path) -> None:
    assert loaded_by(*arguments, root=tmp_path) & set(HEAVY) == set()


@pytest.mark.root
def test_a_cached_build_loads_nothing_heavy(tmp_path: Path) -> None:
    context, root = tmp_path / "context", tmp_path / "root"
    (context / "base").mkdir(parents=True)
    (context / "base/file").write_text("x")
    (context / "Dockerfile").write_text("FROM base:1\nCOPY base /copied\nWORKDIR /w\nENV A=b\n")
    loaded_by("import", context / "base", "base:1", root=root)
    loaded_by("build", "-q", "-t", "app:1", context, root=root)

    loaded = loaded_by("build", "-q", "-t", "app:1", context, root=root)

    assert loaded & {*HEAVY, *SLOW} == set()


@pytest.mark.root
def test_a_run_loads_nothing_heavy(tmp_path: Path, busybox: Path) -> None:
    binaries, root = tmp_path / "base/bin", tmp_path / "root"
    binaries.mkdir(parents=True)
    shutil.copy(busybox, binaries / "true")
    loaded_by("import", tmp_path / "base", "base:1", root=root)

    loaded = loaded_by("run", "--rm", "--network", "none", "base:1", "/bin/true", root=root)

    assert loaded & {*HEAVY, *SLOW} == set()
