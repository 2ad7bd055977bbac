"""The root of every error that imagekit raises on purpose.

    ImagekitError
    ├── UserError         the request is wrong: a Dockerfile, a flag, a name that does not exist
    ├── HostError         this machine cannot do it: privilege, disk, kernel
    ├── RemoteError       somebody else's machine answered wrongly or not at all
    └── CorruptionError   stored or transferred content is not what its digest says

Each room has one base class below these in its own ``errors.py``. ``code`` is stable and meant for
programs; ``exit_code`` is what the command line exits with.
"""

import contextlib
from collections.abc import Iterator
from typing import ClassVar


class ImagekitError(Exception):
    """A failure with a message for the user and, where there is one, a next step.

    ``message`` is lower case, says what was attempted and on what, and ends without a full stop;
    ``hint`` is one imperative sentence.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def locate(self, where: str) -> None:
        """Put ``where`` before the message, which is what the raiser could not know."""
        self.message = f"{where}: {self.message}"
        self.args = (self.message,)


class UserError(ImagekitError):
    """The request cannot be met as it stands; the user can change it."""

    code = "invalid-request"
    exit_code = 2


class HostError(ImagekitError):
    """This machine, its kernel or its privileges are in the way."""

    code = "host"
    exit_code = 3


class RemoteError(ImagekitError):
    """A remote service refused, failed or could not be reached."""

    code = "remote"
    exit_code = 4


class CorruptionError(ImagekitError):
    """Content is not what its digest, size or format promises."""

    code = "corruption"
    exit_code = 5


@contextlib.contextmanager
def naming(what: str, *kinds: type[ImagekitError]) -> Iterator[None]:
    """Put ``what`` before the message of errors of the block, unless they have it.

    Of those of ``kinds``; of ``CorruptionError`` if none is given.
    """
    named = kinds or (CorruptionError,)
    try:
        yield
    except named as error:
        if what not in error.message:
            error.locate(what)
        raise
