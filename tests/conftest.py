"""Options and fixtures of the whole suite."""

import os
import shutil
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite expected files under testdata"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("root") and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.fixture(scope="session")
def testdata() -> Path:
    return Path(__file__).parent.parent / "testdata"


@pytest.fixture(scope="session")
def busybox() -> Path:
    """A static busybox from Debian."""
    found = shutil.which("busybox")
    if found is None:
        pytest.skip("busybox-static is not installed")
    return Path(found)
