"""The vocabulary of plans: every operation, by name, and how one travels to the child."""

from typing import Protocol

from imagekit.sandbox import (
    init_layer_operations,
    kernel_operations,
    network_operations,
    process_operations,
    root_operations,
)
from imagekit.sandbox.state import State


class Operation(Protocol):
    """One step of setting up a sandbox: a value that can describe itself and be carried out."""

    def describe(self) -> str:
        """Return what this does, in words, for messages and tests."""
        ...

    def apply(self, state: State) -> None:
        """Carry it out in the child; what later operations need is left in ``state``."""
        ...


Wire = tuple[str, object]

_CLASSES: dict[str, type] = {
    name: value
    for module in (
        root_operations,
        init_layer_operations,
        kernel_operations,
        network_operations,
        process_operations,
    )
    for name, value in vars(module).items()
    if isinstance(value, type) and issubclass(value, tuple) and hasattr(value, "apply")
}


def encode(operation: Operation) -> Wire:
    """Return a JSON form: the name and the fields in order."""
    assert isinstance(operation, tuple)
    return (type(operation).__name__, list(operation))


def decode(wire: Wire) -> Operation:
    """Return the operation of a JSON form; lists inside stay lists."""
    name, fields = wire
    assert isinstance(fields, list)
    operation: Operation = _CLASSES[name](*fields)
    return operation
