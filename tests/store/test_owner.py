import os
import signal
import subprocess
from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from imagekit.store.owner import Owner


def test_token_round_trips() -> None:
    me = Owner.current()

    assert Owner.parse(str(me)) == me


@given(st.text())
def test_any_text_is_an_owner_or_none(text: str) -> None:
    assert Owner.parse(text) is None or str(Owner.parse(text))


def test_this_process_is_alive() -> None:
    me = Owner.current()

    assert me.is_alive(me)


def test_another_process_with_the_same_pid_is_not() -> None:
    me = Owner.current()

    assert not msgspec.structs.replace(me, started_ticks=me.started_ticks - 1).is_alive(me)


def test_nothing_survives_a_reboot() -> None:
    me = Owner.current()

    assert not msgspec.structs.replace(me, boot="00000000").is_alive(me)


def test_process_of_another_pid_namespace_counts_as_alive() -> None:
    me = Owner.current()

    assert msgspec.structs.replace(me, pid=2**30, pid_namespace=1).is_alive(me)


def test_zombie_is_not_alive() -> None:
    me = Owner.current()
    child = subprocess.Popen(["sleep", "60"])
    stat = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
    owner = msgspec.structs.replace(me, pid=child.pid, started_ticks=int(stat[19]))
    assert owner.is_alive(me)

    child.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    assert not owner.is_alive(me)
    child.wait()
