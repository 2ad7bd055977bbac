"""The recorded state of a tree, and its form on disk."""

import os
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagekit.layers.errors import LayerFormatError, LayerHostError
from imagekit.layers.scan import FORMAT, TreeState, scan


def test_a_state_comes_back_from_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b" / os.fsdecode(b"raw\xff")).write_text("x")
    (tmp_path / "a/link").symlink_to("b")
    state = scan(tmp_path, exclude=["/proc", "etc/hosts"])

    assert TreeState.from_bytes(state.to_bytes()) == state
    assert state.directories.keys() == {b"", b"a", b"a/b"}
    assert state.directories[b"a"].all_names() == [b"b", b"link"]
    assert state.proofs.keys() == {b"a/b/raw\xff", b"a/link"}  # written just now
    assert state.exclude == {b"proc", b"etc/hosts"}


def test_what_was_changed_long_before_is_not_read(tmp_path: Path) -> None:
    program = Path(sys.executable).resolve()

    state = scan(program.parent)

    assert os.fsencode(program.name) in state.directories[b""].all_names()
    assert os.fsencode(program.name) not in state.proofs


def test_an_entry_takes_about_a_hundred_bytes(tmp_path: Path) -> None:
    for number in range(2000):
        (tmp_path / f"file-number-{number:06}").touch()

    state = msgspec.structs.replace(scan(tmp_path), proofs={})

    assert len(state.to_bytes()) < 2000 * 100
    directory = state.directories[b""]
    assert sys.getsizeof(directory.names) + sys.getsizeof(directory.records) < 2000 * 100


@pytest.mark.parametrize("year_s", [-(1 << 31), -1, 13_569_465_600, 1 << 33])
def test_times_that_do_not_fit_into_64_bits_of_nanoseconds(tmp_path: Path, year_s: int) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for name in ("file", "folder"):
        os.utime(tmp_path / name, (year_s, year_s))
    before = scan(tmp_path)

    os.utime(tmp_path / "folder", (year_s + 1, year_s + 1))

    assert scan(tmp_path).directories[b"folder"].own != before.directories[b"folder"].own


def test_another_format_is_named(tmp_path: Path) -> None:
    raw = msgspec.msgpack.encode((FORMAT + 1, {"anything": 1}))

    with pytest.raises(LayerFormatError, match=f"format {FORMAT + 1}"):
        TreeState.from_bytes(raw)


@pytest.fixture(scope="module")
def raw_state(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    root = tmp_path_factory.mktemp("tree")
    (root / "name").touch()
    return scan(root).to_bytes()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_damaged_bytes_raise_only_a_format_error(data: st.DataObject, raw_state: bytes) -> None:
    raw = bytearray(raw_state)
    at = data.draw(st.integers(0, len(raw) - 1))
    if data.draw(st.booleans()):
        raw[at] ^= data.draw(st.integers(1, 255))
    else:
        del raw[at:]

    try:
        state = TreeState.from_bytes(bytes(raw))
    except LayerFormatError:
        return
    for directory in state.directories.values():
        assert all(len(record) == 48 for record in directory.by_name().values())


def test_a_tree_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LayerHostError):
        scan(tmp_path / "none")
