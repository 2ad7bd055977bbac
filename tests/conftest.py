"""Options and fixtures of the whole suite."""

import faulthandler
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.faulthandler import get_stderr_fileno

TEARDOWN_TIMEOUT_S = 120
_stderr_fd = os.dup(get_stderr_fileno())


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite expected files under testdata"
    )
    parser.addoption(
        "--all-faults", action="store_true", help="try every fault, not some each day (make crash)"
    )


# The bridge is one for the machine, and its tests look at when it comes and goes: whoever may run
# a container on it is run by the same worker.
BRIDGE_USERS = ("compat", "containers", "sandbox")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    root = Path(__file__).parent
    for item in items:
        if item.path.relative_to(root).parts[0] in BRIDGE_USERS:
            item.add_marker(pytest.mark.xdist_group("bridge"))
        if item.get_closest_marker("root") and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """End the process, with the tracebacks of all threads, when a test's clean-up hangs.

    After a failure neither pytest-timeout nor pytest's own faulthandler watches any more.
    """
    faulthandler.dump_traceback_later(TEARDOWN_TIMEOUT_S, exit=True, file=_stderr_fd)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope="session", autouse=True)
def _default_signals() -> Iterator[None]:
    """Programs of the tests take signals as in a terminal, wherever the suite itself runs.

    A shell ignores SIGINT in what it starts with "&", nohup ignores SIGHUP, and both are inherited.
    """
    ignored = [
        number
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT)
        if signal.getsignal(number) == signal.SIG_IGN
    ]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


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
