"""The one place where what a command did becomes a message and an exit code."""

import errno
import os
import sys
from collections.abc import Callable

from imagekit.base.errors import ImagekitError
from imagekit.cli import render

USAGE = 2
OWN_FAILURE = 125
INTERRUPTED = 130
BROKEN_PIPE = 141


def exit_code_of(
    call: Callable[[], object], *, debug: bool = False, is_container: bool = False
) -> int:
    """Call a command and return its exit code, after an error has been told.

    ``is_container`` is for a command whose other exit codes are a container's.
    """
    try:
        code = call()
        sys.stdout.flush()
    except ImagekitError as error:
        render.report_error(error, debug=debug)
        return container_exit_code(error) if is_container else error.exit_code
    except (KeyboardInterrupt, EOFError):
        render.print_error_line("imagekit: interrupted")
        return INTERRUPTED
    except OSError as error:
        if error.errno == errno.EPIPE:
            forget_output()
            return BROKEN_PIPE
        render.report_os_error(error, debug=debug)
        return render.HOST_ERROR_CODE
    except UnicodeEncodeError as error:  # names, arguments, variables: all of it is kept as UTF-8
        render.report_not_utf8(error, debug=debug)
        return OWN_FAILURE if is_container else USAGE
    except Exception as error:  # noqa: BLE001  the last border before the user
        usage_code = _code_of_click(error)
        if usage_code is not None:
            return OWN_FAILURE if is_container else usage_code
        render.report_internal_error(error, debug=debug)
        return render.INTERNAL_ERROR_CODE
    return code if isinstance(code, int) else 0


def _code_of_click(error: Exception) -> int | None:
    """Tell an error of click's and return its code; None for another's error."""
    if "click" not in sys.modules:
        return None
    import click

    if isinstance(error, click.exceptions.Abort):
        render.print_error_line("imagekit: interrupted")
        return INTERRUPTED
    if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):  # since 8.2
        render.print_error_line(str(error))
        return USAGE
    if isinstance(error, click.ClickException):
        render.report_usage(error)
        return error.exit_code
    return None


def container_exit_code(error: BaseException) -> int:
    """Return docker's code for an error before a container's command could run."""
    code = getattr(error, "container_exit_code", OWN_FAILURE)
    return code if isinstance(code, int) else OWN_FAILURE


def forget_output() -> None:
    """Keep the interpreter from flushing to a reader that has gone."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
