"""Operations on the process itself: who it is, what it may do, where its output goes, and exec."""

import base64
import errno
import fcntl
import json
import os
import resource
import signal
import socket
import stat
import struct
import termios
from typing import Final, NoReturn

from imagekit.base.record import Record
from imagekit.linux import capabilities, namespaces, process
from imagekit.linux.constants import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUTS,
    CLONE_PARENT,
    TIOCGPTPEER,
    TIOCSPTLCK,
)
from imagekit.linux.files import openat2
from imagekit.sandbox.errors import (
    CommandNotFoundError,
    NotExecutableError,
    SandboxError,
    UnsupportedError,
)
from imagekit.sandbox.state import IN_ROOT, NO_LINKS, State, attach, clone_mount
from imagekit.sandbox.users import Identity, resolve_user

DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class SetHostname(Record):
    """Name the new UTS namespace."""

    name: str

    def describe(self) -> str:
        """Return what this does, in words."""
        return f"set the host name to {self.name}"

    def apply(self, state: State) -> None:
        """Carry it out."""
        del state
        socket.sethostname(self.name)


class JoinNamespaces(Record):
    """Enter a running sandbox, then go on in a new process that is inside its process namespace."""

    pid: int

    def describe(self) -> str:
        """Return what this does, in words."""
        return f"join the namespaces of process {self.pid}"

    def apply(self, state: State) -> None:
        """Carry it out."""
        pidfd = os.pidfd_open(self.pid)
        flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS
        namespaces.setns(pidfd, flags | CLONE_NEWNET | CLONE_NEWCGROUP)
        os.close(pidfd)
        child = namespaces.clone(CLONE_PARENT | signal.SIGCHLD)
        if child:
            os.write(state.status_fd, json.dumps({"kind": "pid", "pid": child}).encode())
            os._exit(0)
        state.root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


class Identify(Record):
    """Look the user up in the image."""

    user: str
    groups: tuple[str, ...]

    def describe(self) -> str:
        """Return what this does, in words."""
        return f"look up user {self.user or 'root'}"

    def apply(self, state: State) -> None:
        """Carry it out."""
        fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            state.identity = resolve_user(fd, self.user, tuple(self.groups))
        finally:
            os.close(fd)


class OpenTerminal(Record):
    """Make a terminal in the sandbox's own /dev/pts and give its other end to the caller."""

    rows: int
    columns: int
    console: bool

    def describe(self) -> str:
        """Return what this does, in words."""
        return "open a terminal"

    def apply(self, state: State) -> None:
        """Carry it out."""
        pts_fd = state.pts_fd
        if pts_fd < 0:
            pts_fd = openat2(state.root_fd, "dev/pts", os.O_PATH | os.O_DIRECTORY, 0, NO_LINKS)
        controller = os.open("ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=pts_fd)
        fcntl.ioctl(controller, TIOCSPTLCK, struct.pack("i", 0))
        # By descriptor, never by the name in /dev/pts, which a hostile /dev could redirect.
        terminal = fcntl.ioctl(controller, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        os.fchown(terminal, state.identity.uid, -1)
        if self.rows and self.columns:
            size = struct.pack("HHHH", self.rows, self.columns, 0, 0)
            fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)
        if self.console:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
            os.close(os.open("console", flags, 0o600, dir_fd=state.dev_fd))
            target = openat2(state.dev_fd, "console", os.O_PATH | os.O_NOFOLLOW, 0, NO_LINKS)
            copy = clone_mount(terminal)
            attach(copy, target)
            os.close(copy)
        channel = socket.socket(fileno=os.dup(state.status_fd))
        socket.send_fds(channel, [b'{"kind": "terminal"}'], [controller])
        channel.close()
        os.close(controller)
        state.terminal_fd = terminal


class ConnectStdio(Record):
    """Start a session and put the standard descriptors in their places."""

    def describe(self) -> str:
        """Return what this does, in words."""
        return "connect the standard descriptors"

    def apply(self, state: State) -> None:
        """Carry it out."""
        if os.getsid(0) != os.getpid():
            os.setsid()
        if state.terminal_fd >= 0:
            fcntl.ioctl(state.terminal_fd, termios.TIOCSCTTY, 0)
        null = os.makedev(1, 3)
        for number, given in enumerate(state.stdio):
            fd = state.terminal_fd if state.terminal_fd >= 0 else given
            status = os.fstat(fd)
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == null and state.null_fd >= 0:
                # The image's own null device: nothing of the host's /dev stays open.
                own = os.open(f"/proc/self/fd/{state.null_fd}", os.O_RDWR | os.O_CLOEXEC)
                os.dup2(own, number, inheritable=True)
                os.close(own)
            else:
                os.dup2(fd, number, inheritable=True)


class SetLimits(Record):
    """Set resource limits; (number, soft, hard) with -1 for unlimited."""

    limits: tuple[tuple[int, int, int], ...]

    def describe(self) -> str:
        """Return what this does, in words."""
        return "set resource limits"

    def apply(self, state: State) -> None:
        """Carry it out."""
        del state
        for number, soft, hard in self.limits:
            resource.setrlimit(number, (soft, hard))


class EnterDirectory(Record):
    """Go to the working directory, making it when missing."""

    path: str

    def describe(self) -> str:
        """Return what this does, in words."""
        return f"enter the working directory {self.path}"

    def apply(self, state: State) -> None:
        """Carry it out."""
        if not self.path.startswith("/"):
            raise SandboxError(f"working directory {self.path!r} is not absolute")
        root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fd = self._open(root_fd, state)
        finally:
            os.close(root_fd)
        os.fchdir(fd)
        os.close(fd)
        # A working directory outside the root would show as "(unreachable)" or fail.
        if not os.getcwd().startswith("/"):
            raise SandboxError("the working directory lies outside the root")

    def _open(self, root_fd: int, state: State) -> int:
        """Open the directory; no magic link of /proc is followed (CVE-2024-21626)."""
        flags = os.O_PATH | os.O_DIRECTORY
        parts = [part for part in self.path.split("/") if part]
        fd = os.dup(root_fd)
        there = 0
        for count in range(len(parts), 0, -1):
            try:
                fd = openat2(root_fd, "/".join(parts[:count]), flags, 0, IN_ROOT)
            except FileNotFoundError:
                continue
            there = count
            break
        for part in parts[there:]:
            if part == "..":
                raise SandboxError(f"working directory {self.path!r} does not exist")
            os.mkdir(part, 0o755, dir_fd=fd)
            child = openat2(fd, part, flags, 0, NO_LINKS)
            os.chown(part, state.identity.uid, state.identity.gid, dir_fd=fd)
            os.close(fd)
            fd = child
        return fd


class LimitPrivileges(Record):
    """Drop capabilities, load the system call filter and become the user; the order matters.

    The bounding set is cut while CAP_SETPCAP is still there, the filter is loaded while
    CAP_SYS_ADMIN is (unless new privileges are forbidden anyway, then as the last thing), and
    inheritable capabilities are always empty (CVE-2022-24769).
    """

    capabilities: int
    filter: str
    no_new_privileges: bool

    def describe(self) -> str:
        """Return what this does, in words."""
        return "drop privileges"

    def apply(self, state: State) -> None:
        """Carry it out."""
        program = base64.b64decode(self.filter)
        identity = state.identity
        capabilities.limit_bounding_set(self.capabilities)
        if program and not self.no_new_privileges:
            process.load_seccomp_filter(program)
        _become(identity)
        granted = self.capabilities if identity.uid == 0 else 0
        capabilities.clear_ambient_set()
        capabilities.capset(permitted=granted, effective=granted)
        if self.no_new_privileges:
            process.set_no_new_privileges()
            if program:
                process.load_seccomp_filter(program)


def _become(identity: Identity) -> None:
    """Take on the ids of a user."""
    try:
        os.setgroups(identity.groups)
    except PermissionError:
        # A user namespace with one id forbids this for ever; nobody else may.
        with open("/proc/self/setgroups", "rb", buffering=0) as file:
            if file.read(8).strip() != b"deny":
                raise
    try:
        os.setresgid(identity.gid, identity.gid, identity.gid)
        os.setresuid(identity.uid, identity.uid, identity.uid)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise UnsupportedError(
            f"user {identity.uid}:{identity.gid} does not exist in this user namespace",
            errno=errno.EINVAL,
            hint="Give the calling user a range in /etc/subuid and /etc/subgid.",
        ) from error


class Execute(Record):
    """Become the program, or a small process 1 that starts it."""

    argv: tuple[str, ...]
    env: tuple[str, ...]
    umask: int
    init: bool

    def describe(self) -> str:
        """Return what this does, in words."""
        return f"execute {self.argv[0] if self.argv else 'nothing'}"

    def apply(self, state: State) -> None:
        """Carry it out."""
        if not self.argv or not self.argv[0]:
            raise CommandNotFoundError(
                "no command to run", hint="Give a command, or set CMD or ENTRYPOINT in the image."
            )
        environment = dict(item.split("=", 1) for item in self.env if "=" in item)
        environment.setdefault("PATH", DEFAULT_PATH)
        if not environment.get("HOME"):
            environment["HOME"] = state.identity.home
        os.umask(self.umask)
        if self.init:
            self._split(state)
        process.close_on_exec_from(3)
        self._execute(environment)

    def _split(self, state: State) -> None:
        """Go on in a child and stay behind as process 1."""
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        child = namespaces.clone(signal.SIGCHLD)
        if child:
            process.close_from(3)
            process.set_command_line("imagekit-init")
            _reap(child)
        if state.terminal_fd >= 0:
            os.setpgid(0, 0)
            os.tcsetpgrp(0, os.getpid())  # SIGTTOU is blocked here
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def _execute(self, environment: dict[str, str]) -> NoReturn:
        name = self.argv[0]
        if "/" in name:
            candidates = [name]
        else:
            directories = environment["PATH"].split(":")
            candidates = [f"{directory or '.'}/{name}" for directory in directories]
        denied: OSError | None = None
        for candidate in candidates:
            try:
                os.execve(candidate, self.argv, environment)  # noqa: S606 - a list, no shell
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                denied = denied or error
                if error.errno not in (errno.EACCES, errno.EISDIR):
                    break
        if denied is not None:
            raise NotExecutableError(
                f"cannot execute {name}: {os.strerror(denied.errno or 0)}",
                errno=denied.errno or 0,
                hint=_hint(denied.errno or 0),
            ) from denied
        if "/" in name and os.path.exists(name):
            raise CommandNotFoundError(
                f"cannot execute {name}: its interpreter is not in the image", errno=errno.ENOENT
            )
        where = "in the image" if "/" in name else "in the image's PATH"
        raise CommandNotFoundError(f"{name}: not found {where}", errno=errno.ENOENT)


def _hint(number: int) -> str | None:
    match number:
        case errno.ENOEXEC:
            return "Check that the program is built for this machine, or begins with #!."
        case errno.EACCES:
            return "Set its execute permission with chmod +x."
        case errno.E2BIG:
            return "Pass fewer or shorter arguments and variables."
        case _:
            return None


def _reap(child: int) -> NoReturn:
    """Hand signals on to ``child``, collect orphans, and end as it ends."""
    everything = signal.valid_signals()
    while True:
        number = signal.sigwait(everything)
        if number != signal.SIGCHLD:
            try:
                os.kill(child, number)
            except ProcessLookupError:
                continue
            continue
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                os._exit(code if code >= 0 else 128 - code)


class CloseRoot(Record):
    """Let go of the descriptors of the set-up before paths of the image are used."""

    def describe(self) -> str:
        """Return what this does, in words."""
        return "close the descriptors of the set-up"

    def apply(self, state: State) -> None:
        """Carry it out."""
        for source in state.sources.values():
            os.close(source.fd)
        for fd in state.cgroups.values():
            os.close(fd)
        state.sources.clear()
        state.cgroups.clear()
        if state.staging_fd >= 0:
            os.close(state.staging_fd)
            state.staging_fd = -1
