"""Frozen records whose classes cost next to nothing to make.

``NamedTuple`` compiles a constructor for every class, a few tenths of a millisecond each, and the
rooms that ``imagekit run`` passes through have a hundred classes: a tenth of its whole time. A
``Record`` shares one constructor, which is slower per value; so values that are made by the
thousand are msgspec structs, and those that are made once are records.
"""

from collections.abc import Mapping
from operator import itemgetter
from typing import Any, ClassVar, Self, dataclass_transform


@dataclass_transform(frozen_default=True)
class Record(tuple[Any, ...]):
    """A tuple with named fields: annotations of the class, in order, some with defaults.

    ``TypeError`` is raised for a missing, unknown or repeated field, as for any function. Fields
    are not inherited: a record's class has no records below it.
    """

    __slots__ = ()
    _fields: ClassVar[tuple[str, ...]] = ()
    _defaults: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(cls) -> None:
        """Make the fields of a new class readable by name."""
        fields = tuple(cls.__annotations__)  # the own ones: see inspect.get_annotations
        cls._defaults = {name: cls.__dict__[name] for name in fields if name in cls.__dict__}
        cls._fields = fields
        for position, name in enumerate(fields):
            setattr(cls, name, property(itemgetter(position)))

    def __new__(cls, *values: Any, **named: Any) -> Self:  # noqa: ANN401  any field's
        """Return a record; fields by position, by name, or by default."""
        fields = cls._fields
        if named or len(values) != len(fields):
            rest = fields[len(values) :]
            try:
                values += tuple(
                    named.pop(name) if name in named else cls._defaults[name] for name in rest
                )
            except KeyError as error:
                raise TypeError(f"{cls.__name__}: {error.args[0]!r} is missing") from None
            if named or len(values) != len(fields):
                what = f"no field {next(iter(named))!r}, or given twice" if named else "too many"
                raise TypeError(f"{cls.__name__}: {what}")
        return tuple.__new__(cls, values)

    def __getnewargs__(self) -> tuple[Any, ...]:
        """Return what a copy or an unpickled record is made from."""
        return tuple(self)

    def __repr__(self) -> str:
        """Return the class and its fields by name."""
        shown = ", ".join(f"{name}={value!r}" for name, value in self._asdict().items())
        return f"{type(self).__name__}({shown})"

    def _asdict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return dict(zip(self._fields, self, strict=True))

    def _replace(self, **changes: Any) -> Self:  # noqa: ANN401  any field's
        """Return a record with other values for some fields."""
        return type(self)(**(self._asdict() | changes))
