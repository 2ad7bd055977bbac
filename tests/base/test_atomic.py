"""Files that are whole or not there."""

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from imagekit.base.atomic import replace_file, sync_directory, write_file


class Interrupted(BaseException):
    """Like KeyboardInterrupt, which must leave nothing either."""


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_appears_with_its_content(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "file"

    with replace_file(path, durable=durable) as file:
        file.write(b"new")
        assert not path.exists()

    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_an_old_file_stays_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    with path.open("rb") as reader:
        with replace_file(path) as file:
            file.write(b"new")
            file.flush()
            assert path.read_bytes() == b"old"
        assert reader.read() == b"old"

    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, Interrupted])
def test_an_exception_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    with pytest.raises(error), replace_file(path) as file:  # noqa: PT012
        file.write(b"half")
        raise error

    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_an_exception_of_a_first_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stop"), replace_file(tmp_path / "file"):
        raise ValueError("stop")

    assert list(tmp_path.iterdir()) == []


def test_a_target_that_cannot_be_replaced_leaves_no_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "file" / "inside").mkdir(parents=True)

    with pytest.raises(OSError), replace_file(tmp_path / "file") as file:  # noqa: PT011
        file.write(b"x")

    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_nothing_has_a_name_before_it_is_whole(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")

    with replace_file(tmp_path / "file") as file:
        file.write(b"x" * 100_000)
        file.flush()
        assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.fixture
def without_unnamed_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that has no O_TMPFILE, as overlayfs had none before Linux 6.3."""
    real = os.open

    def open_named(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", open_named)


@pytest.mark.usefixtures("without_unnamed_files")
def test_a_file_system_without_unnamed_files_will_do(tmp_path: Path) -> None:
    write_file(tmp_path / "file", b"old")
    write_file(tmp_path / "file", b"new", mode=0o600)

    with pytest.raises(ValueError, match="stop"), replace_file(tmp_path / "file"):
        raise ValueError("stop")

    assert (tmp_path / "file").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.usefixtures("without_unnamed_files")
def test_a_temporary_file_that_somebody_removed_hides_no_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replace_file(tmp_path / "file"):  # noqa: PT012
        for entry in tmp_path.iterdir():
            entry.unlink()


def test_what_a_killed_process_left_is_replaced_by_the_next(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / ".file.tmp").write_bytes(b"killed between its name and its place")

    write_file(tmp_path / "file", b"new")

    assert (tmp_path / "file").read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_the_mode_is_the_one_asked_for(tmp_path: Path) -> None:
    write_file(tmp_path / "secret", b"x", mode=0o600)

    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"untouched")
    link.symlink_to(target)

    write_file(link, b"new")

    assert target.read_bytes() == b"untouched"
    assert not link.is_symlink()


def test_long_names_have_room_for_the_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)

    write_file(path, b"x")
    write_file(path, b"y")

    assert path.read_bytes() == b"y"
    assert list(tmp_path.iterdir()) == [path]


def test_writers_at_the_same_time_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = [bytes([65 + number]) * 100_000 for number in range(8)]
    threads = [
        threading.Thread(target=write_file, args=(path, content), kwargs={"durable": False})
        for content in contents
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert path.read_bytes() in contents
    assert len(list(tmp_path.iterdir())) == 1


def test_a_missing_directory_cannot_be_flushed(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))

    with pytest.raises(FileNotFoundError):
        sync_directory(tmp_path / "absent")
    sync_directory(tmp_path)

    assert len(os.listdir("/proc/self/fd")) == before
