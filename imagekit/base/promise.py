"""A result that comes later.

As ``concurrent.futures.Future``, whose package loads ``logging`` and ``traceback`` with their
modules: more than a build that finds everything in its cache needs for all of its own.
"""

import threading
from typing import Generic, Protocol, TypeVar

Value = TypeVar("Value")
Result_co = TypeVar("Result_co", covariant=True)


class Pending(Protocol[Result_co]):
    """What a promise and a future have in common."""

    def done(self) -> bool:
        """Tell whether the result, or an error in its place, is there."""
        ...

    def result(self) -> Result_co:
        """Wait, and return the result or raise the error."""
        ...


class Promise(Generic[Value]):
    """A value that one thread gives and any number of others wait for."""

    def __init__(self) -> None:
        self._is_done = threading.Event()
        self._values: list[Value] = []
        self._error: BaseException | None = None

    def set_result(self, value: Value) -> None:
        """Give the value; only once."""
        self._values.append(value)
        self._is_done.set()

    def set_exception(self, error: BaseException) -> None:
        """Give an error in place of the value."""
        self._error = error
        self._is_done.set()

    def done(self) -> bool:
        """Tell whether the value or the error is there."""
        return self._is_done.is_set()

    def wait(self) -> None:
        """Wait for the value or the error."""
        self._is_done.wait()

    def result(self) -> Value:
        """Wait, and return the value or raise the error."""
        self.wait()
        if self._error is not None:
            raise self._error
        return self._values[0]
