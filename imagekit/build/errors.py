"""Errors of the build room.

UserError
└── BuildError               a build cannot go on; knows the place in the Dockerfile
    ├── StepFailedError      a RUN step's program ended with an error
    ├── SourceNotFoundError  COPY or ADD names something that is not there
    ├── CopyConflictError    COPY or ADD would put one type of file over another
    ├── BaseImageError       the image after FROM or --from cannot be had
    └── UnsupportedError     part of the language that imagekit does not do yet
"""

from imagekit.base.errors import UserError
from imagekit.dockerfile.errors import Span


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


class UnsupportedError(BuildError):
    """A part of the language that imagekit understands but does not carry out yet."""

    code = "unsupported"
