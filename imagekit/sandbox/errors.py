"""Failures of the sandbox.

SandboxError              an operation of the set-up failed; docker's exit code 125
├── CommandNotFoundError  the program is not in the image; 127
├── NotExecutableError    the program is there and cannot be run; 126
├── UnknownUserError      USER names nobody in the image; 125
├── UnsupportedError      this machine cannot do what was asked for
└── LauncherGoneError     the helper process ended
"""

import errno as errno_module
from typing import ClassVar

from imagekit.base.errors import HostError


class SandboxError(HostError):
    """Setting up the surroundings of a process failed.

    ``operation`` says which step, in words; ``errno`` is the kernel's, or 0.
    ``container_exit_code`` is what ``docker run`` would exit with.
    """

    code = "sandbox"
    container_exit_code: ClassVar[int] = 125

    def __init__(
        self, message: str, *, operation: str = "", errno: int = 0, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.operation = operation
        self.errno = errno


class CommandNotFoundError(SandboxError):
    """The program does not exist in the image."""

    code = "command-not-found"
    container_exit_code = 127


class NotExecutableError(SandboxError):
    """The program exists and cannot be executed."""

    code = "not-executable"
    container_exit_code = 126


class UnknownUserError(SandboxError):
    """A user or group is not in the image's passwd or group file, or not a valid number."""

    code = "unknown-user"


class UnsupportedError(SandboxError):
    """This machine cannot do what the specification asks for."""

    code = "unsupported"


class LauncherGoneError(SandboxError):
    """The helper that starts sandboxes has ended."""

    code = "launcher-gone"


def from_report(report: dict[str, str | int | None]) -> SandboxError:
    """Return the error that a child described in its report."""
    kinds: dict[str, type[SandboxError]] = {
        kind.code: kind
        for kind in (CommandNotFoundError, NotExecutableError, UnknownUserError, UnsupportedError)
    }
    number = int(report.get("errno") or 0)
    hint = report.get("hint")
    return kinds.get(str(report.get("code")), SandboxError)(
        str(report.get("message")),
        operation=str(report.get("operation") or ""),
        errno=number,
        hint=str(hint) if hint is not None else _hint_for(number),
    )


def _hint_for(number: int) -> str | None:
    if number == errno_module.EPERM:
        return "Run as root outside a confined container."
    return None
