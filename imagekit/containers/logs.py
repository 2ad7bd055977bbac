r"""The log of a container: one JSON object a line, as docker's json-file driver writes it.

    {"log":"hello\n","stream":"stdout","time":"2026-01-02T03:04:05.678901Z"}

Bytes that are not UTF-8 are kept as lone surrogates (``\udcff``), so that they come out again as
they went in. When the file has grown to its bound it becomes ``log.1`` and replaces the one before;
so at most twice the bound is kept. Imports the standard library only: the supervisor uses it.
"""

import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

MAX_BYTES: Final = 10 << 20
MAX_LINE_BYTES: Final = 16 << 10
"""Longer lines are stored in pieces, as docker does, so that no program can fill the memory."""

_BLOCK_BYTES: Final = 64 << 10


class LogRecord(NamedTuple):
    """A line, or a piece of a long one, that a container wrote; ``data`` ends as it was written."""

    time: datetime
    stream: str
    data: bytes


class LogWriter:
    """Appends what a container writes; one writer at a time.

    A line is written when its end has come, when it is too long, or at ``close``. A disk that is
    full must not stop the container: what cannot be written is left out, and ``trouble`` says why.
    """

    def __init__(
        self, path: Path, *, timestamp: Callable[[], str], max_bytes: int = MAX_BYTES
    ) -> None:
        self._path = path
        self._timestamp = timestamp
        self._max_bytes = max_bytes
        self._pending: dict[str, bytes] = {}
        self.trouble = ""
        self._open()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(self._path, flags, 0o600)
        self._size = os.fstat(self._fd).st_size

    def write(self, stream: str, data: bytes) -> None:
        """Append bytes of ``stream`` ("stdout", "stderr")."""
        data = self._pending.pop(stream, b"") + data
        end = data.rfind(b"\n") + 1
        rest = data[end:]
        lines = data[:end].splitlines(keepends=True) if b"\r" not in data else _lines(data[:end])
        while len(rest) >= MAX_LINE_BYTES:
            lines.append(rest[:MAX_LINE_BYTES])
            rest = rest[MAX_LINE_BYTES:]
        if rest:
            self._pending[stream] = rest
        self._append(stream, lines)

    def close(self) -> None:
        """Write what has no line end yet, and close the file."""
        for stream, rest in self._pending.items():
            self._append(stream, [rest])
        self._pending.clear()
        os.close(self._fd)

    def _append(self, stream: str, lines: list[bytes]) -> None:
        if not lines:
            return
        tail = f',"stream":"{stream}","time":"{self._timestamp()}"}}\n'
        # json.dumps takes lone surrogates and escapes everything beyond ASCII.
        text = "".join(
            '{"log":' + json.dumps(line.decode("utf-8", "surrogateescape")) + tail for line in lines
        )
        block = memoryview(text.encode("ascii"))
        try:
            if self._size and self._size + len(block) > self._max_bytes:
                self._rotate()
            while block:
                block = block[os.write(self._fd, block) :]
        except OSError as error:
            self.trouble = f"the log is incomplete: {error.strerror}"
            os.ftruncate(self._fd, self._size)  # no half lines
        self._size = os.lseek(self._fd, 0, os.SEEK_END)

    def _rotate(self) -> None:
        self._path.rename(rotated(self._path))
        full = self._fd
        self._open()
        os.close(full)


def _lines(data: bytes) -> list[bytes]:
    """Split at newlines only; bytes.splitlines also splits at a carriage return."""
    return [line + b"\n" for line in data.split(b"\n")[:-1]]


def rotated(path: Path) -> Path:
    """Return the name of the older file of a log."""
    return path.with_name(f"{path.name}.1")


class LogReader:
    """Reads a log from the beginning or the last lines on, also while it grows and is rotated."""

    def __init__(self, path: Path, *, tail: int | None = None) -> None:
        self._path = path
        self._rest = b""
        self._time = datetime.fromtimestamp(0, UTC)
        self._files: list[BinaryIO] = []
        # Newest first: a rotation in between then shows up as the same file twice, not as a gap.
        for candidate in (path, rotated(path)):
            try:
                file = candidate.open("rb")
            except FileNotFoundError:
                continue
            if self._files and os.path.sameopenfile(self._files[0].fileno(), file.fileno()):
                file.close()
            else:
                self._files.insert(0, file)
        if tail is not None:
            self._skip_to_tail(tail)

    def read(self) -> Iterator[LogRecord]:
        """Yield every record there is by now; may be called again later for what has come since."""
        if not self._files and self._path.exists():
            self._files.append(self._path.open("rb"))
        while self._files:
            while block := self._files[0].read(_BLOCK_BYTES):
                *lines, self._rest = (self._rest + block).split(b"\n")
                yield from map(self._parse, lines)
            if len(self._files) == 1:
                if not self._was_rotated():
                    return
                # Read once more: what came before the rotation may have come after our last read.
                self._files.append(self._path.open("rb"))
                continue
            self._files.pop(0).close()

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()
        self._files.clear()

    def _was_rotated(self) -> bool:
        try:
            present = self._path.stat()
        except FileNotFoundError:
            return False
        mine = os.fstat(self._files[0].fileno())
        return (present.st_dev, present.st_ino) != (mine.st_dev, mine.st_ino)

    def _parse(self, line: bytes) -> LogRecord:
        try:
            document = json.loads(line)
            data = document["log"].encode("utf-8", "surrogateescape")
            self._time = datetime.fromisoformat(document["time"])
            return LogRecord(time=self._time, stream=document["stream"], data=data)
        except (ValueError, KeyError, TypeError, AttributeError):
            # A power cut leaves zeros where a line was; the rest of the log is still of use.
            note = f"[imagekit: {len(line)} bytes of the log are damaged]\n"
            return LogRecord(time=self._time, stream="stderr", data=note.encode())

    def _skip_to_tail(self, tail: int) -> None:
        for index in range(len(self._files) - 1, -1, -1):
            found = _seek_to_last_lines(self._files[index], tail)
            tail -= found
            if tail <= 0:
                for file in self._files[:index]:
                    file.close()
                del self._files[:index]
                return


def _seek_to_last_lines(file: BinaryIO, lines: int) -> int:
    """Position ``file`` at its last ``lines`` lines and return how many there are from there."""
    position = file.seek(0, os.SEEK_END)
    found = -1  # the newline at the very end closes the last line
    while position > 0 and lines > 0:
        step = min(_BLOCK_BYTES, position)
        position -= step
        file.seek(position)
        block = file.read(step)
        count = block.count(b"\n")
        if found + count >= lines:
            cut = len(block)
            for _ in range(lines - found):
                cut = block.rindex(b"\n", 0, cut)
            file.seek(position + cut + 1)
            return lines
        found += count
    if lines > 0:
        file.seek(0)
    return max(0, found + 1)
