"""apply(diff(a, b)) over a is b, on real overlay mounts."""

import io
import os
import shutil
import socket
import stat
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagekit.layers.apply import WhiteoutForm, apply_layer
from imagekit.layers.diff import overlay_changes, tree_entries
from imagekit.layers.write import write_layer
from tests.layers.mutations import OPERATIONS, Operation, overlay, perform

pytestmark = pytest.mark.root

Snapshot = Callable[[Path], object]


def layer_of(upper: Path, lowers: list[Path]) -> bytes:
    output = io.BytesIO()
    write_layer(overlay_changes(upper, lowers), output, nanoseconds=True)
    return output.getvalue()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(base=OPERATIONS, changes=st.lists(OPERATIONS, min_size=1, max_size=2))
def test_applying_a_diff_gives_the_changed_tree(
    base: list[Operation], changes: list[list[Operation]], snapshot: Snapshot
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        lower = work / "base"
        lower.mkdir()
        perform(lower, base)
        plain = work / "plain"
        subprocess.run(["cp", "-a", lower, plain], check=True)
        originals, copies = [lower], [lower]
        for number, operations in enumerate(changes):
            upper, copy = work / f"upper{number}", work / f"copy{number}"
            with overlay(work, originals, upper) as merged:
                perform(merged, operations)
                expected = snapshot(merged)
            data = layer_of(upper, originals)

            copy.mkdir()
            apply_layer(io.BytesIO(data), copy, lowerdirs=copies, form=WhiteoutForm.OVERLAY_TRUSTED)
            apply_layer(io.BytesIO(data), plain, form=WhiteoutForm.PLAIN)

            with overlay(work, [copy, *copies], work / f"probe{number}") as merged:
                assert snapshot(merged) == expected
            assert snapshot(plain) == expected
            assert layer_of(copy, copies) == data
            originals, copies = [upper, *originals], [copy, *copies]


@settings(max_examples=40, deadline=None)
@given(operations=OPERATIONS)
def test_a_whole_tree_comes_back(operations: list[Operation], snapshot: Snapshot) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "source"), Path(folder, "target")
        source.mkdir(mode=0o755)
        target.mkdir(mode=0o755)
        perform(source, operations)
        output = io.BytesIO()
        write_layer(tree_entries(source), output, nanoseconds=True)

        apply_layer(io.BytesIO(output.getvalue()), target, form=WhiteoutForm.OVERLAY_TRUSTED)

        assert snapshot(target) == snapshot(source)


def test_untouched_copies_in_the_upper_directory_are_no_changes(tmp_path: Path) -> None:
    lower = tmp_path / "lower"
    (lower / "etc/deep").mkdir(parents=True)
    (lower / "etc/passwd").write_text("root")
    (lower / "etc/deep/file").write_text("text")

    with overlay(tmp_path, [lower], tmp_path / "upper") as merged:
        os.close(os.open(merged / "etc/passwd", os.O_WRONLY))
        os.close(os.open(merged / "etc/deep/file", os.O_WRONLY))

    assert (tmp_path / "upper/etc/deep/file").exists()
    assert list(overlay_changes(tmp_path / "upper", [lower])) == []


def test_only_the_parents_of_changes_are_named(tmp_path: Path) -> None:
    lower = tmp_path / "lower"
    for name in ("one/two", "three"):
        (lower / name).mkdir(parents=True)
        (lower / name / "file").write_text("text")

    with overlay(tmp_path, [lower], tmp_path / "upper") as merged:
        os.close(os.open(merged / "three/file", os.O_WRONLY))
        (merged / "one/two/file").write_text("other")

    changes = [entry.path for entry in overlay_changes(tmp_path / "upper", [lower])]
    assert changes == ["one", "one/two", "one/two/file"]


def test_an_opaque_marker_is_written_only_over_a_lower_directory(tmp_path: Path) -> None:
    lower = tmp_path / "lower"
    (lower / "old").mkdir(parents=True)
    (lower / "old/file").write_text("text")
    (lower / "file").write_text("text")

    with overlay(tmp_path, [lower], tmp_path / "upper") as merged:
        shutil.rmtree(merged / "old")
        (merged / "old").mkdir()
        (merged / "file").unlink()
        (merged / "file").mkdir()
        (merged / "fresh").mkdir()

    changes = [entry.path for entry in overlay_changes(tmp_path / "upper", [lower])]
    assert changes == ["file", "fresh", "old", "old/.wh..wh..opq"]


def test_whiteouts_are_never_hard_links(tmp_path: Path) -> None:
    lower = tmp_path / "lower"
    lower.mkdir()
    for name in "abc":
        (lower / name).write_text(name)

    with overlay(tmp_path, [lower], tmp_path / "upper") as merged:
        for name in "abc":
            (merged / name).unlink()

    entries = list(overlay_changes(tmp_path / "upper", [lower]))
    assert [(entry.path, entry.type.name) for entry in entries] == [
        (".wh.a", "REGULAR"), (".wh.b", "REGULAR"), (".wh.c", "REGULAR"),
    ]  # fmt: skip


def test_a_socket_over_a_file_deletes_the_file(tmp_path: Path) -> None:
    """A layer cannot hold the socket, but the file below must not come back."""
    lower = tmp_path / "lower"
    lower.mkdir()
    (lower / "run.lock").write_text("text")

    with (
        overlay(tmp_path, [lower], tmp_path / "upper") as merged,
        socket.socket(socket.AF_UNIX) as unix,
    ):
        (merged / "run.lock").unlink()
        unix.bind(os.fspath(merged / "run.lock"))

    assert [entry.path for entry in overlay_changes(tmp_path / "upper", [lower])] == [
        ".wh.run.lock"
    ]


def test_a_changed_root_directory_is_an_entry(tmp_path: Path) -> None:
    lower = tmp_path / "lower"
    lower.mkdir(mode=0o755)

    with overlay(tmp_path, [lower], tmp_path / "upper") as merged:
        merged.chmod(0o711)
    entries = list(overlay_changes(tmp_path / "upper", [lower]))
    copy = tmp_path / "copy"
    copy.mkdir()
    data = layer_of(tmp_path / "upper", [lower])
    apply_layer(io.BytesIO(data), copy, lowerdirs=[lower], form=WhiteoutForm.OVERLAY_TRUSTED)

    assert [(entry.path, entry.mode) for entry in entries] == [(".", 0o711)]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o711
