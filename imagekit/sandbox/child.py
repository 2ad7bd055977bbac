"""The child: carry out a plan and become the program, or say what failed.

This is the only place besides the command line with a blanket ``except``: after ``clone`` nothing
may escape into the code of the process that was copied.
"""

import json
import os
from typing import NoReturn

from imagekit.base.errors import ImagekitError
from imagekit.sandbox.operations import Wire, decode
from imagekit.sandbox.state import State


def run(plan: list[Wire], *, stdio: tuple[int, int, int], status_fd: int) -> NoReturn:
    """Apply the operations in order; the last one executes the program.

    A failure is reported once on ``status_fd``, a SOCK_SEQPACKET socket that is closed by execve:
    the other side reads either a report or the end.
    """
    state = State(stdio=stdio, status_fd=status_fd)
    doing = "decode the plan"
    try:
        for wire in plan:
            operation = decode(wire)
            doing = operation.describe()
            operation.apply(state)
        raise AssertionError("the plan ended without executing anything")
    except BaseException as error:  # noqa: BLE001 - see the module's text
        _report(status_fd, doing, error)
    finally:
        os._exit(125)


def _report(status_fd: int, doing: str, error: BaseException) -> None:
    number = getattr(error, "errno", None) or 0
    if isinstance(error, ImagekitError):
        report = {"code": error.code, "message": error.message, "hint": error.hint}
    elif isinstance(error, OSError):
        report = {"code": "sandbox", "message": f"cannot {doing}: {error.strerror}", "hint": None}
    else:
        text = f"cannot {doing}: {type(error).__name__}: {error}"
        report = {"code": "sandbox", "message": text, "hint": None}
    message = {"kind": "error", "operation": doing, "errno": number, **report}
    os.write(status_fd, json.dumps(message).encode()[:60000])
