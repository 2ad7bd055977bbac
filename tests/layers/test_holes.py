"""Sparse files are read and written around their holes, with every byte where it was."""

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.layers.apply import WhiteoutForm, apply_layer
from imagekit.layers.diff import tree_entries
from imagekit.layers.holes import (
    PIECE_BYTES,
    copy_content,
    data_ranges,
    is_sparse,
    write_pieces,
    zeros,
)
from imagekit.layers.write import write_layer

BLOCK = 4096
PIECES = st.lists(
    st.tuples(st.sampled_from([1, 100, BLOCK, BLOCK + 1, 1 << 16]), st.booleans()), max_size=8
)


def expand(pieces: list[tuple[int, bool]]) -> list[bytes]:
    return [(b"x" if full else b"\0") * size for size, full in pieces]


@given(pieces=PIECES)
def test_pieces_arrive_whole_whatever_is_zero(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[int, bool]]
) -> None:
    path = tmp_path_factory.mktemp("holes") / "file"
    data = expand(pieces)
    with path.open("wb") as file:
        write_pieces(file.fileno(), data)
    assert path.read_bytes() == b"".join(data)


@given(pieces=PIECES)
def test_copies_are_equal(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[int, bool]]
) -> None:
    folder = tmp_path_factory.mktemp("holes")
    with (folder / "in").open("wb") as file:
        write_pieces(file.fileno(), expand(pieces))
    with (folder / "in").open("rb") as source, (folder / "out").open("wb") as target:
        copy_content(source.fileno(), target.fileno(), os.fstat(source.fileno()))
    assert (folder / "out").read_bytes() == (folder / "in").read_bytes()
    assert (folder / "out").stat().st_blocks <= (folder / "in").stat().st_blocks


def test_zeros_in_pieces() -> None:
    for size in (0, 1, PIECE_BYTES - 1, PIECE_BYTES, 3 * PIECE_BYTES + 5):
        pieces = list(zeros(size))
        assert b"".join(pieces) == bytes(size)
        assert all(0 < len(piece) <= PIECE_BYTES for piece in pieces)


def make_sparse(path: Path, size: int) -> None:
    """Data at the start, in the middle and at the end, holes between."""
    with path.open("wb") as file:
        for offset in (0, size // 2 // BLOCK * BLOCK, size - 10):
            file.seek(offset)
            file.write(b"0123456789")


def test_ranges_are_those_of_the_data(tmp_path: Path) -> None:
    size = 64 << 20
    make_sparse(tmp_path / "file", size)
    with (tmp_path / "file").open("rb") as file:
        ranges = list(data_ranges(file.fileno(), size))
        assert is_sparse(os.fstat(file.fileno()))
    assert sum(length for _, length in ranges) <= 3 * 65536
    for offset in (0, size // 2 // BLOCK * BLOCK, size - 10):
        assert any(start <= offset < start + length for start, length in ranges)


@pytest.mark.parametrize("cut", [0, 1, BLOCK])
def test_a_file_that_is_one_hole(tmp_path: Path, cut: int) -> None:
    size = (8 << 20) - cut
    (tmp_path / "file").touch()
    os.truncate(tmp_path / "file", size)
    with (tmp_path / "file").open("rb") as file:
        assert list(data_ranges(file.fileno(), size)) == []
    with (tmp_path / "file").open("rb") as source, (tmp_path / "out").open("wb") as target:
        copy_content(source.fileno(), target.fileno(), os.fstat(source.fileno()))
    assert (tmp_path / "out").stat().st_size == size
    assert (tmp_path / "out").stat().st_blocks == 0


def test_a_sparse_file_through_a_layer_stays_sparse_and_equal(tmp_path: Path) -> None:
    size = 300 << 20
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    make_sparse(source / "file", size)
    archive = tmp_path / "layer.tar"
    with archive.open("wb") as file:
        write_layer(tree_entries(source), file)
    with archive.open("rb") as file:
        apply_layer(file, target, form=WhiteoutForm.OVERLAY_TRUSTED)
    digest = hashlib.file_digest
    with (source / "file").open("rb") as one, (target / "file").open("rb") as other:
        assert digest(one, "sha256").digest() == digest(other, "sha256").digest()
    assert (target / "file").stat().st_blocks * 512 < 8 << 20


def test_holes_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tree").mkdir()
    size = 64 << 20
    make_sparse(tmp_path / "tree" / "file", size)
    read = 0
    real: Callable[[int, int], bytes] = os.read

    def counting(fd: int, count: int) -> bytes:
        nonlocal read
        data = real(fd, count)
        read += len(data)
        return data

    monkeypatch.setattr(os, "read", counting)
    (entry,) = tree_entries(tmp_path / "tree")
    assert entry.content is not None
    assert sum(map(len, entry.content.chunks(size))) == size
    assert read <= 3 * 65536


def test_the_layer_does_not_tell_holes_from_zeros(tmp_path: Path) -> None:
    archives = []
    for name in ("sparse", "full"):
        (tmp_path / name).mkdir()
        path = tmp_path / name / "file"
        make_sparse(path, 3 << 20)
        if name == "full":
            path.write_bytes(path.read_bytes())
        assert is_sparse(path.stat()) == (name == "sparse")
        os.utime(path, (0, 0))
        output = io.BytesIO()
        write_layer(tree_entries(tmp_path / name), output)
        archives.append(output.getvalue())
    assert archives[0] == archives[1]


def test_files_that_grow_or_shrink_are_copied_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"0123456789")
    for size in (4, 10, 20):
        (tmp_path / "was").write_bytes(bytes(size))
        status = (tmp_path / "was").stat()
        with (tmp_path / "in").open("rb") as source, (tmp_path / "out").open("wb") as target:
            copy_content(source.fileno(), target.fileno(), status)
        assert (tmp_path / "out").read_bytes() == b"0123456789"


def test_a_sparse_file_that_shrinks_is_an_error(tmp_path: Path) -> None:
    from imagekit.layers.errors import LayerContentError

    (tmp_path / "tree").mkdir()
    make_sparse(tmp_path / "tree" / "file", 8 << 20)
    (entry,) = tree_entries(tmp_path / "tree")
    os.truncate(tmp_path / "tree" / "file", 1 << 20)
    assert entry.content is not None
    with pytest.raises(LayerContentError, match="shorter"):
        list(entry.content.chunks(entry.size))
