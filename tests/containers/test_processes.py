"""Processes told apart by more than their number."""

import os
import signal
import subprocess

from imagekit.containers.processes import NO_PROCESS, ProcessIdentity


def alive(identity: ProcessIdentity) -> bool:
    return identity.is_alive


def test_living_process_is_alive_until_it_ends() -> None:
    child = subprocess.Popen(["sleep", "60"])
    identity = ProcessIdentity.of(child.pid)
    assert alive(identity)
    assert not identity.wait(0)

    assert identity.send_signal(signal.SIGKILL)
    assert identity.wait(5)

    assert not alive(identity), "a zombie has ended"
    child.wait()
    assert not alive(identity)
    assert not identity.send_signal(signal.SIGKILL)
    assert identity.wait()


def test_another_process_with_the_number_is_not_the_same() -> None:
    mine = ProcessIdentity.of(os.getpid())

    assert mine.is_alive
    assert not mine._replace(start_ticks=mine.start_ticks + 1).is_alive
    assert not mine._replace(boot_id="another").is_alive
    assert mine._replace(start_ticks=1).open() is None


def test_no_process_is_not_alive() -> None:
    assert not NO_PROCESS.is_alive
    assert NO_PROCESS.wait()
    assert ProcessIdentity.of(2**22 + 1) == NO_PROCESS
