"""Records behave as named tuples do."""

import copy
import pickle
from typing import NamedTuple

import pytest

from imagekit.base.record import Record


class Point(Record):
    """A record with a default."""

    x: int
    y: int = 7

    def total(self) -> int:
        return self.x + self.y


class NamedPoint(NamedTuple):
    x: int
    y: int = 7


class Empty(Record):
    """A record without fields."""


def test_fields_by_position_by_name_and_by_default() -> None:
    assert (Point(1).x, Point(1).y) == (1, 7)
    assert Point(1, 2) == Point(x=1, y=2) == Point(1, y=2) == (1, 2)
    assert Point(1, 2).total() == 3
    assert Empty() == ()


def test_a_record_is_shown_as_a_named_tuple_is() -> None:
    assert repr(Point(1)) == "Point(x=1, y=7)"
    assert Point(1)._asdict() == NamedPoint(1)._asdict()
    assert Point._fields == NamedPoint._fields


def test_a_changed_copy() -> None:
    point = Point(1)

    assert point._replace(x=5) == (5, 7)
    assert type(point._replace(y=0)) is Point
    assert point == (1, 7)


def test_copies_and_pickles_stay_records() -> None:
    for again in (
        copy.copy(Point(1)),
        copy.deepcopy(Point(1)),
        pickle.loads(pickle.dumps(Point(1))),
    ):
        assert again == Point(1)
        assert type(again) is Point


def test_records_are_frozen_and_hashable() -> None:
    with pytest.raises(AttributeError):
        Point(1).x = 2  # type: ignore[misc]
    assert len({Point(1), Point(1), Point(2)}) == 2


@pytest.mark.parametrize(
    ("values", "named"),
    [((), {}), ((1, 2, 3), {}), ((1,), {"x": 1}), ((1,), {"z": 1}), ((), {"y": 1})],
)
def test_wrong_fields_are_type_errors(values: tuple[int, ...], named: dict[str, int]) -> None:
    with pytest.raises(TypeError, match="Point: "):
        Point(*values, **named)
