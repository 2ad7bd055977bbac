"""States, and how they are told."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.base.clock import rfc3339
from imagekit.base.errors import CorruptionError
from imagekit.containers.model import ContainerState, PortBinding, Status, human_duration
from imagekit.containers.processes import ProcessIdentity

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (120, "2 minutes"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (5400, "2 hours"),
        (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"),
        (13 * 86400, "13 days"),
        (14 * 86400, "2 weeks"),
        (59 * 86400, "8 weeks"),
        (60 * 86400, "2 months"),
        (729 * 86400, "24 months"),
        (730 * 86400, "2 years"),
    ],
)
def test_durations_are_dockers(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


def test_states_in_words() -> None:
    ago = rfc3339(NOW - timedelta(minutes=2))

    assert ContainerState().describe(NOW) == "Created"
    running = ContainerState(status=Status.RUNNING, started=ago)
    assert running.describe(NOW) == "Up 2 minutes"
    ended = ContainerState(status=Status.EXITED, finished=ago, exit_code=3)
    assert ended.describe(NOW) == "Exited (3) 2 minutes ago"
    assert ContainerState(status=Status.DEAD).describe(NOW) == "Dead"


def test_state_survives_its_json() -> None:
    state = ContainerState(
        status=Status.RUNNING,
        init=ProcessIdentity(pid=1, start_ticks=2, boot_id="b"),
        ports=(PortBinding(container_port=80, protocol="tcp", host_ip="::1", host_port=8080),),
        cgroups=("/a", "/b"),
        error="\udcff",
    )

    assert ContainerState.parse(state.to_json()) == state


def test_state_of_a_later_release_is_read() -> None:
    assert ContainerState.parse(b'{"status":"exited","new":1}').status is Status.EXITED


@given(raw=st.one_of(st.binary(), st.sampled_from([b"[]", b'{"status":1}', b"1", b'{"init":3}'])))
def test_anything_else_is_corrupt(raw: bytes) -> None:
    with pytest.raises(CorruptionError):
        ContainerState.parse(raw)


def test_port_is_told_as_docker_does() -> None:
    port = PortBinding(container_port=80, protocol="tcp", host_ip="127.0.0.1", host_port=8080)

    assert str(port) == "127.0.0.1:8080->80/tcp"
