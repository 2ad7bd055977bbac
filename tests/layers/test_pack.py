"""Both digests from one pass."""

import hashlib
import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagekit.layers.compression import open_layer
from imagekit.layers.diff import tree_entries
from imagekit.layers.entry import BytesContent, Entry, EntryType
from imagekit.layers.errors import LayerError
from imagekit.layers.pack import DigestingWriter, diff_digest, pack
from imagekit.oci.mediatype import Compression


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "usr/bin").mkdir(parents=True)
    for number in range(5):
        (tree / f"usr/bin/{number}").write_bytes(os.urandom(700_000) + bytes(700_000))
    (tree / "small").write_text("small")
    return tree


@pytest.mark.parametrize("compression", list(Compression))
def test_digests_are_those_of_the_bytes(compression: Compression, tree: Path) -> None:
    output = io.BytesIO()

    packed = pack(tree_entries(tree), DigestingWriter(output), compression=compression)

    blob = output.getvalue()
    plain = open_layer(io.BytesIO(blob))[1].read()
    assert packed.digest.hex == hashlib.sha256(blob).hexdigest()
    assert packed.diff_id.hex == hashlib.sha256(plain).hexdigest()
    assert (packed.size, packed.uncompressed_size) == (len(blob), len(plain))
    assert diff_digest(tree_entries(tree)) == (packed.diff_id, len(plain))


def test_packing_again_gives_the_same(tree: Path, tmp_path: Path) -> None:
    first = pack(tree_entries(tree), DigestingWriter(io.BytesIO()), compression=Compression.GZIP)
    # Entries collected first are opened one by one later, with other descriptors.
    second = pack(
        list(tree_entries(tree)), DigestingWriter(io.BytesIO()), compression=Compression.GZIP
    )

    assert first == second


class Full:
    def __init__(self, after: int) -> None:
        self._left = after

    def write(self, data: bytes, /) -> None:
        self._left -= len(data)
        if self._left < 0:
            raise OSError(28, "No space left on device")


@pytest.mark.parametrize("after", [0, 500_000, 3_000_000, 6_000_000])
def test_errors_of_the_output_reach_the_caller(after: int, tree: Path) -> None:
    with pytest.raises(OSError, match="No space"):
        pack(tree_entries(tree), DigestingWriter(Full(after)), compression=Compression.NONE)

    assert [thread.name for thread in threading.enumerate() if thread.name == "layer-writer"] == []


def test_errors_of_the_entries_end_the_thread() -> None:
    def entries() -> Iterator[Entry]:
        data = bytes(4 << 20)
        yield Entry(path="a", type=EntryType.REGULAR, mode=0, size=len(data),
                    content=BytesContent(data=data))  # fmt: skip
        yield Entry(path="b", type=EntryType.REGULAR, mode=0, size=len(data),
                    content=BytesContent(data=data))  # fmt: skip
        raise LayerError("the tree went away")

    with pytest.raises(LayerError, match="went away"):
        pack(entries(), DigestingWriter(io.BytesIO()), compression=Compression.GZIP)

    assert [thread.name for thread in threading.enumerate() if thread.name == "layer-writer"] == []


def test_descriptors_are_closed(tree: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))

    pack(tree_entries(tree), DigestingWriter(io.BytesIO()), compression=Compression.NONE)
    walk = tree_entries(tree)
    next(walk)
    next(walk)
    walk.close()
    del walk

    assert len(os.listdir("/proc/self/fd")) == before
