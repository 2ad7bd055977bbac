"""Operations that outlive a process, each a point where it may be killed or told that it failed.

``install`` replaces, in this process and for good, the functions of ``os``, ``io`` and ``sqlite3``
and the one foreign function of ``imagekit.linux`` by ones that count. It is for the forked child of
``tests.faults.forkserver`` only. Each operation is written to the trace *before* it is carried out,
so that the last line of a trace names the operation that a killed process did not come to.

Flushes are counted and not carried out: a killed process loses nothing by that, and a thousand runs
end in a minute. ``test_order`` reads from the trace that they are where they must be.
"""

import builtins
import errno
import io
import os
import signal
import sqlite3
import threading
from typing import Any, Final, NoReturn

import msgspec

from imagekit.linux import libc

_BLOCK: Final = 1 << 16
_METADATA: Final = frozenset({"chmod", "chown", "utime", "setxattr"})
# What needs room on the disk. Removing does not, nor does renaming within reason.
NEED_SPACE: Final = frozenset(
    {"create", "write", "mkdir", "mknod", "symlink", "link", "fsync", "setxattr", "commit", "flush"}
)
_SYSTEM_CALLS: Final = {
    libc.SYS_syncfs: "syncfs",
    libc.SYS_mount: "mount",
    libc.SYS_umount2: "umount",
    libc.SYS_fsmount: "mount",
    libc.SYS_move_mount: "mount",
}


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What is to happen at the operation with number ``at``, the first being 0.

    ``error`` is an errno, 0 for SIGKILL. A ``lasting`` error is also that of every later operation
    that needs room. Errors befall only what lies ``below``; kills, anything.
    """

    at: int = -1
    error: int = 0
    lasting: bool = True
    below: str = "/"
    trace: str = "/dev/null"


class _Points:
    def __init__(self, fault: Fault) -> None:
        self._fault = fault
        self._lock = threading.Lock()
        self._count = 0
        self._trace = os.open(
            fault.trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )

    def meet(self, kind: str, *paths: str) -> None:
        """Count an operation; do not return from it, or raise, if it is the one."""
        fault = self._fault
        if fault.error and not all(path.startswith(fault.below) for path in paths):
            return
        line = " -> ".join(paths)
        with self._lock:
            number = self._count
            self._count += 1
            _write(self._trace, f"{number} {kind} {line}\n".encode(errors="surrogateescape"))
        if number == fault.at or (
            0 <= fault.at < number and fault.error and fault.lasting and kind in NEED_SPACE
        ):
            if not fault.error:
                os.kill(os.getpid(), signal.SIGKILL)
            if kind in ("begin", "commit", "flush"):
                _raise_database_error(fault.error)
            raise OSError(fault.error, os.strerror(fault.error), paths[0])

    def note(self, text: str) -> None:
        """Write something to the trace that is no point."""
        with self._lock:
            _write(self._trace, f"- {' '.join(text.split())}\n".encode(errors="surrogateescape"))


_write = os.write


def install(fault: Fault) -> None:
    """Count from now on, in every thread of this process."""
    points = _Points(fault)
    _replace_functions(points)
    _replace_files(points)
    _replace_database(points)
    _replace_system_calls(points)


def _is_lasting(path: str) -> bool:
    """Tell a file on a disk, or a control group, from pipes, sockets and devices."""
    return path.startswith("/") and not path.startswith(("/dev/", "/proc/", "/memfd:"))


def _absolute(path: Any, dir_fd: int | None = None) -> str:
    if isinstance(path, int):
        return _target(path)
    text = os.fsdecode(path)
    if text.startswith("/proc/self/fd/"):
        number, _, rest = text.removeprefix("/proc/self/fd/").partition("/")
        return os.path.join(_target(int(number)), rest) if number.isdecimal() else text
    if text.startswith("/"):
        return text
    return os.path.join(os.getcwd() if dir_fd is None else _target(dir_fd), text)


def _target(fd: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return f"closed:{fd}"


def _replace_functions(points: _Points) -> None:
    def wrap(name: str, kind: str, *, pairs: bool = False, skip: bool = False) -> None:
        real = getattr(os, name)

        def counted(first: Any, *rest: Any, **options: Any) -> Any:
            at: tuple[str, ...]
            if pairs:
                source = _absolute(first, options.get("src_dir_fd"))
                at = source, _absolute(rest[0], options.get("dst_dir_fd"))
            else:
                path = rest[0] if kind == "symlink" else first
                at = (_absolute(path, options.get("dir_fd")),)
            if all(map(_is_lasting, at)):
                points.meet(kind, *at)
            return None if skip else real(first, *rest, **options)

        setattr(os, name, counted)

    for name in ("mkdir", "rmdir", "unlink", "truncate", "ftruncate", "mknod", "symlink"):
        wrap(name, name.removeprefix("f"))
    for name in ("remove", "pwrite", "writev", "sendfile", "write"):
        wrap(name, "unlink" if name == "remove" else "write")
    for name in ("chmod", "fchmod", "chown", "fchown", "lchown", "utime", "setxattr"):
        kind = next(kind for kind in _METADATA if name.endswith(kind))
        wrap(name, kind)
    for name in ("fsync", "fdatasync"):
        wrap(name, "fsync", skip=True)
    for name in ("rename", "replace", "link"):
        wrap(name, "link" if name == "link" else "rename", pairs=True)
    _replace_open(points)
    _replace_copy(points)


def _replace_open(points: _Points) -> None:
    real = os.open

    def counted(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        at = _absolute(path, dir_fd)
        # A lock file that is there is opened with O_CREAT too.
        made = flags & (os.O_CREAT | os.O_TRUNC) and not os.path.lexists(at)
        if (made or flags & os.O_TMPFILE == os.O_TMPFILE) and _is_lasting(at):
            points.meet("create", at)
        return real(path, flags, mode, dir_fd=dir_fd)

    os.open = counted


def _replace_copy(points: _Points) -> None:
    real = os.copy_file_range

    def counted(src: int, dst: int, *rest: Any, **options: Any) -> int:
        points.meet("write", _target(dst))
        return real(src, dst, *rest, **options)

    os.copy_file_range = counted


def _replace_files(points: _Points) -> None:
    real = io.open

    class CountedFile(io.FileIO):
        def write(self, data: Any, /) -> int:
            at = _target(self.fileno())
            if _is_lasting(at):
                points.meet("write", at)
            return super().write(data)

    def counted(
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> Any:
        if not set(mode) & set("wax+"):
            return real(file, mode, buffering, encoding, errors, newline, closefd, opener)
        at = _absolute(file)
        if not isinstance(file, int) and _is_lasting(at) and not set(mode) & set("r"):
            points.meet("create", at)
        raw = CountedFile(
            file, mode.replace("b", "").replace("t", ""), closefd=closefd, opener=opener
        )
        if buffering == 0:
            return raw
        size = _BLOCK if buffering < 0 else max(buffering, 2)
        buffered = io.BufferedRandom(raw, size) if "+" in mode else io.BufferedWriter(raw, size)
        if "b" in mode:
            return buffered
        return io.TextIOWrapper(buffered, encoding, errors, newline)

    io.open = counted
    builtins.open = counted


class CountedConnection(sqlite3.Connection):
    """A connection whose transactions are points; it flushes nothing.

    What changes rows is noted: "INSERT INTO images ...", with its first parameter.
    """

    points: "_Points"
    path: str
    is_flushed = False

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if sql.startswith("PRAGMA synchronous"):
            self.is_flushed = sql.endswith("FULL")
            sql = "PRAGMA synchronous = OFF"
        elif sql == "BEGIN IMMEDIATE":
            self.points.meet("begin", self.path)
        elif sql == "COMMIT":
            self.points.meet("flush" if self.is_flushed else "commit", self.path)
        elif sql.startswith(("INSERT", "UPDATE", "DELETE")):
            self.points.note(f"{sql} {next(iter(parameters), '')}")
        return super().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Any, /) -> sqlite3.Cursor:
        rows = list(parameters)
        for row in rows:
            self.points.note(f"{sql} {row[0]}")
        return super().executemany(sql, rows)


def _replace_database(points: _Points) -> None:
    real = sqlite3.connect

    class Connection(CountedConnection):
        pass

    Connection.points = points

    def connect(path: Any, **options: Any) -> sqlite3.Connection:
        Connection.path = os.fsdecode(path)
        return real(path, factory=Connection, **options)

    sqlite3.connect = connect  # type: ignore[assignment]  # of its overloads, one is used


def _raise_database_error(code: int) -> NoReturn:
    is_full = code in (errno.ENOSPC, errno.EDQUOT)
    error = sqlite3.OperationalError("database or disk is full" if is_full else "disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL if is_full else sqlite3.SQLITE_IOERR
    raise error


def _replace_system_calls(points: _Points) -> None:
    real = libc.syscall

    def counted(name: str, number: int, *arguments: Any) -> int:
        kind = _SYSTEM_CALLS.get(number)
        if kind is not None:
            points.meet(kind, "/" + name)
        if kind == "syncfs":
            return 0
        if number == libc.SYS_openat2 and int.from_bytes(arguments[2][:8], "little") & os.O_CREAT:
            points.meet("create", os.path.join(_target(arguments[0]), os.fsdecode(arguments[1])))
        return real(name, number, *arguments)

    libc.syscall = counted
