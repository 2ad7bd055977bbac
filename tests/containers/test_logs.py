"""The log file: written, rotated, read from the end, followed."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.containers.logs import MAX_LINE_BYTES, LogReader, LogWriter, rotated

if TYPE_CHECKING:
    from tests.containers.conftest import World

NOW = "2026-01-02T03:04:05.678901Z"


def writer(path: Path, **options: int) -> LogWriter:
    return LogWriter(path, timestamp=lambda: NOW, **options)


def content(path: Path, *, tail: int | None = None) -> list[bytes]:
    reader = LogReader(path, tail=tail)
    try:
        return [record.data for record in reader.read()]
    finally:
        reader.close()


def test_line_is_dockers_json(tmp_path: Path) -> None:
    log = writer(tmp_path / "log")

    log.write("stdout", b"hello\n")

    assert json.loads((tmp_path / "log").read_text()) == {
        "log": "hello\n",
        "stream": "stdout",
        "time": NOW,
    }
    log.close()


@settings(max_examples=50, deadline=None)
@given(pieces=st.lists(st.binary(max_size=50)))
def test_bytes_come_out_as_they_went_in(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("log") / "log"
    log = writer(path)

    for piece in pieces:
        log.write("stdout", piece)
    log.close()

    assert b"".join(content(path)) == b"".join(pieces)


def test_lines_of_two_streams_are_not_mixed(tmp_path: Path) -> None:
    log = writer(tmp_path / "log")

    log.write("stdout", b"out ")
    log.write("stderr", b"err\n")
    log.write("stdout", b"line\n")
    log.close()

    assert content(tmp_path / "log") == [b"err\n", b"out line\n"]


def test_carriage_return_does_not_end_a_line(tmp_path: Path) -> None:
    log = writer(tmp_path / "log")

    log.write("stdout", b"10%\r20%\r\nnext\n")
    log.close()

    assert content(tmp_path / "log") == [b"10%\r20%\r\n", b"next\n"]


def test_endless_line_is_stored_in_pieces(tmp_path: Path) -> None:
    log = writer(tmp_path / "log")

    log.write("stdout", b"x" * (2 * MAX_LINE_BYTES + 1))

    assert content(tmp_path / "log") == [b"x" * MAX_LINE_BYTES] * 2
    log.close()
    assert content(tmp_path / "log")[2:] == [b"x"]


def test_log_is_bounded(tmp_path: Path) -> None:
    log = writer(tmp_path / "log", max_bytes=1000)

    for number in range(200):
        log.write("stdout", b"%d\n" % number)
    log.close()

    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) == 2
    assert max(sizes) <= 1000
    numbers = [int(line) for line in content(tmp_path / "log")]
    assert numbers == list(range(numbers[0], 200))


@pytest.mark.parametrize("tail", [0, 1, 5, 11, 30, 1000])
def test_tail_also_reaches_into_the_older_file(tmp_path: Path, tail: int) -> None:
    log = writer(tmp_path / "log", max_bytes=1000)
    for number in range(100):
        log.write("stdout", b"%d\n" % number)
    log.close()
    everything = content(tmp_path / "log")
    assert rotated(tmp_path / "log").exists()

    assert content(tmp_path / "log", tail=tail) == everything[max(0, len(everything) - tail) :]


def test_tail_of_a_long_file(tmp_path: Path) -> None:
    log = writer(tmp_path / "log")
    lines = [b"%d %s\n" % (number, b"y" * (number % 300)) for number in range(3000)]
    log.write("stdout", b"".join(lines))
    log.close()

    assert content(tmp_path / "log", tail=1500) == lines[-1500:]


def test_reader_goes_on_over_a_rotation(tmp_path: Path) -> None:
    log = writer(tmp_path / "log", max_bytes=300)
    log.write("stdout", b"1\n")
    reader = LogReader(tmp_path / "log")
    seen = [record.data for record in reader.read()]

    for number in range(2, 6):
        log.write("stdout", b"%d\n" % number)
        seen += [record.data for record in reader.read()]
    log.close()
    reader.close()

    assert rotated(tmp_path / "log").exists()
    assert seen == [b"%d\n" % number for number in range(1, 6)]


def test_reader_sees_a_log_that_comes_later(tmp_path: Path) -> None:
    reader = LogReader(tmp_path / "log")
    assert list(reader.read()) == []
    log = writer(tmp_path / "log")
    log.write("stderr", b"x\n")

    (record,) = reader.read()

    assert (record.stream, record.data) == ("stderr", b"x\n")
    assert record.time == datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    log.close()
    reader.close()


def test_damaged_line_does_not_hide_the_rest(tmp_path: Path) -> None:
    log = writer(tmp_path / "log")
    log.write("stdout", b"before\n")
    with (tmp_path / "log").open("ab") as file:
        file.write(b"\0\0\0\n")
    log.write("stdout", b"after\n")
    log.close()

    before, damaged, after = content(tmp_path / "log")

    assert (before, after) == (b"before\n", b"after\n")
    assert b"3 bytes" in damaged


@pytest.mark.root
def test_follow_ends_with_the_container(world: "World") -> None:
    world.start("sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.1; done", name="box")

    assert world.log("box", follow=True) == b"1\n2\n3\n"


@pytest.mark.root
def test_streams_are_told_apart(world: "World") -> None:
    world.start("sh", "-c", "echo out; echo err >&2", name="box")
    world.containers.wait("box")

    records = list(world.containers.logs("box"))

    assert {(record.stream, record.data) for record in records} == {
        ("stdout", b"out\n"),
        ("stderr", b"err\n"),
    }


@pytest.mark.root
def test_since_and_timestamps(world: "World") -> None:
    world.start("echo", "x", name="box")
    world.containers.wait("box")
    (record,) = world.containers.logs("box")

    assert world.log("box", since=record.time) == b"x\n"
    assert world.log("box", since=record.time + timedelta(microseconds=1)) == b""
    assert world.log("box", timestamps=True).endswith(b"Z x\n")


@pytest.mark.root
def test_much_output_is_kept_in_order(world: "World") -> None:
    world.start("seq", "1", "50000", name="box")
    world.containers.wait("box")

    assert world.log("box") == b"".join(b"%d\n" % number for number in range(1, 50001))


@pytest.mark.root
def test_output_of_a_terminal_is_logged(world: "World") -> None:
    world.start("sh", "-c", "tty; echo x", name="box", tty=True)
    world.containers.wait("box")

    assert world.log("box") == b"/dev/pts/0\r\nx\r\n"
