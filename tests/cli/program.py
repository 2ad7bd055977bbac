"""The program as a process, for tests of what only a real one shows."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PROGRAM = (sys.executable, "-c", "from imagekit.cli.main import main; main()")


class Program:
    """Runs ``imagekit --root ROOT ...``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.command: tuple[str, ...] = (*PROGRAM, "--root", str(directory / "store"))
        self.environ = {
            "PATH": os.defpath,
            "HOME": str(directory),
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def __call__(self, *args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, *args],
            check=False,
            input=stdin,
            capture_output=True,
            text=True,
            env=self.environ,
            cwd=self.directory,
            timeout=120,
        )

    @contextlib.contextmanager
    def start(self, *args: str) -> Iterator[subprocess.Popen[str]]:
        """Run it beside the test, at the longest until the end of the block."""
        with subprocess.Popen(
            [*self.command, *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environ,
            cwd=self.directory,
        ) as process:
            try:
                yield process
            finally:
                process.kill()  # Popen's own end of the block waits for ever
