"""Errors of the build room.

UserError
└── BuildError               a build cannot go on; knows the place in the Dockerfile
    ├── StepFailedError      a RUN step's program ended with an error
    ├── SourceNotFoundError  COPY or ADD names something that is not there
    ├── CopyConflictError    COPY or ADD would put one type of file over another
    ├── BaseImageError       the image after FROM or --from cannot be had
    ├── BuildCancelledError  a step was stopped because another one failed
    └── UnsupportedError     part of the language that imagekit does not do yet
RemoteError
└── BaseImageFetchError      a registry did not give the image after FROM or --from
HostError
└── BuildHostError           the machine refused what a step needs: disk, limits, privilege
"""

import contextlib
import errno
import threading
from collections.abc import Iterator

from imagekit.base.errors import HostError, ImagekitError, RemoteError, UserError
from imagekit.dockerfile.errors import DockerfileError, Span


class BuildError(UserError):
    """A build cannot go on. ``span`` is where in the Dockerfile, None outside of it."""

    code = "build"

    def __init__(self, message: str, *, span: Span | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.span = span


class StepFailedError(BuildError):
    """A RUN step failed. ``output`` holds the last bytes that it wrote."""

    code = "step-failed"
    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        exit_code: int,
        output: bytes,
        span: Span | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, span=span, hint=hint)
        self.process_exit_code = exit_code
        self.output = output


class SourceNotFoundError(BuildError):
    """A source of COPY or ADD does not exist, or is excluded from the context."""

    code = "source-not-found"


class CopyConflictError(BuildError):
    """A directory is in the place of a file, or the other way round."""

    code = "copy-conflict"


class BaseImageError(BuildError):
    """The image that a stage starts from, or is copied from, cannot be had."""

    code = "base-image"


class BaseImageFetchError(RemoteError):
    """A registry refused, failed, or could not be reached when a base image was asked for."""

    code = "base-image-fetch"


class UnsupportedError(BuildError):
    """A part of the language that imagekit understands but does not carry out yet."""

    code = "unsupported-instruction"


class BuildCancelledError(BuildError):
    """A step was stopped, or not begun, because another one failed."""

    code = "build-cancelled"


def check_cancelled(cancelled: threading.Event) -> None:
    """Raise BuildCancelledError once the build has failed elsewhere."""
    if cancelled.is_set():
        raise BuildCancelledError("cancelled because another step failed")


class BuildHostError(HostError):
    """The machine refused what a step needs. ``span`` is where in the Dockerfile."""

    code = "build-host"

    def __init__(self, message: str, *, span: Span | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.span = span


_HINTS = {
    errno.ENOSPC: "Free some space; `imagekit system prune` removes what nothing needs.",
    errno.EDQUOT: "Free some space; `imagekit system prune` removes what nothing needs.",
    errno.EMFILE: "Raise the limit on open files with `ulimit -n`.",
    errno.EPERM: "Build as root.",
}


@contextlib.contextmanager
def located(span: Span | None, what: str) -> Iterator[None]:
    """Give errors of the block their place in the Dockerfile, unless they have one.

    An error of another room keeps its type and gets the attribute ``span``; an OSError becomes a
    BuildHostError that says ``what`` was done.
    """
    try:
        yield
    except DockerfileError as error:
        if span is None:
            raise
        raise error.located(span) from error
    except ImagekitError as error:
        if getattr(error, "span", None) is None:
            vars(error)["span"] = span
        raise
    except OSError as error:
        name = f"{error.filename}: " if isinstance(error.filename, str) else ""
        raise BuildHostError(
            f"{what}: {name}{error.strerror or error}",
            span=span,
            hint=_HINTS.get(error.errno or 0),
        ) from error
