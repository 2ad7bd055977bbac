"""What the quick commands must not import: each of these costs more than the whole command."""

import os
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
    "msgspec",
    "sqlite3",
    "tomllib",
    "json",
    "ctypes",
    "asyncio",
    "imagekit.engine",
    "imagekit.store",
    "imagekit.sandbox",
    "imagekit.dockerfile",
    "imagekit.oci",
)


@pytest.mark.parametrize("arguments", [["version"], ["-h"], ["build", "-h"], ["run", "-h"]])
def test_quick_commands_import_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys\n"
        "from imagekit.cli import main as entry\n"
        "entry.leave = sys.exit\n"
        f"sys.argv = ['imagekit', *{arguments!r}]\n"
        "try:\n"
        "    entry.main()\n"
        "finally:\n"
        f"    loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "    print('loaded:', *loaded, file=sys.stderr)\n"
    )

    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.defpath, "HOME": "/nonexistent"},
        cwd=ROOT,
    )

    assert result.stderr == "loaded:\n"


def test_the_version_does_not_wait_for_click() -> None:
    program = (
        "import sys\n"
        "from imagekit.cli import main as entry\n"
        "entry.leave = sys.exit\n"
        "sys.argv = ['imagekit', 'version']\n"
        "try:\n"
        "    entry.main()\n"
        "finally:\n"
        "    print('click' in sys.modules)\n"
    )

    told = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT
    ).stdout

    assert told.splitlines()[1:] == ["False"]


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_version_that_cannot_be_written_is_an_error_without_traceback(unbuffered: str) -> None:
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "imagekit", "version"],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": os.defpath, "PYTHONUNBUFFERED": unbuffered},
            cwd=ROOT,
        )

    assert (result.returncode, result.stderr) == (1, "")
