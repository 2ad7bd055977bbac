"""The child: carry out a plan and become the program, or say what failed.

This is the only place besides the command line with a blanket ``except``: after ``clone`` nothing
may escape into the code of the process that was copied.
"""

import contextlib
import json
import os
from typing import NoReturn

from imagekit.base.errors import ImagekitError
from imagekit.sandbox import kernel_operations, root_operations
from imagekit.sandbox.operations import Wire, decode
from imagekit.sandbox.state import State
from imagekit.sandbox.users import identify, parse_group, parse_passwd


def run(
    plan: list[Wire], *, stdio: tuple[int, int, int], status_fd: int, state: State | None = None
) -> NoReturn:
    """Apply the operations in order; the last one executes the program.

    A failure is reported once on ``status_fd``, a SOCK_SEQPACKET socket that is closed by execve:
    the other side reads either a report or the end. ``state`` is what ``prepare`` returned.
    """
    doing = "decode the plan"
    try:
        state = State() if state is None else state
        state.stdio, state.status_fd = stdio, status_fd
        for wire in plan:
            operation = decode(wire)
            doing = operation.describe()
            operation.apply(state)
        raise AssertionError("the plan ended without executing anything")
    except BaseException as error:  # noqa: BLE001 - see the module's text
        _report(status_fd, doing, error)
    finally:
        os._exit(125)


def prepare() -> State:
    """Make what every sandbox needs and no specification changes, while nobody waits for it.

    Only detached mounts are made: they belong to no mount namespace, so the namespace itself is
    still made when the plan comes, with the host's mounts of that moment. What cannot be made is
    left to the plan's operations, which know how to report it.
    """
    state = State()
    with contextlib.suppress(OSError):
        state.staging_fd = root_operations.make_staging()
        state.proc_fd = kernel_operations.make_proc()
        state.dev_fd = kernel_operations.make_dev()
        state.pts_fd = kernel_operations.make_pts()
        state.mqueue_fd = kernel_operations.make_mqueue()
        state.covers_fd = kernel_operations.make_covers()
    # Touch what the plan will need, so that the pages of it are this process's own by then.
    identify("root", parse_passwd("root:x:0:0::/root:"), parse_group("root:x:0:root"))
    json.loads('[["Touch", [1, "text"]]]')
    return state


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
