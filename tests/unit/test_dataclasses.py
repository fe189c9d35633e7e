"""rayetl's dataclasses behave as those of the standard library, whatever is asked of them."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from dataclasses import FrozenInstanceError, field, replace
from typing import Any, ClassVar

import pytest

from rayetl import records


def declared(dataclass: Any) -> dict[str, type]:
    """The same classes, made by either decorator."""

    @dataclass(frozen=True, slots=True)
    class Point:
        x: int
        y: int = 2
        tags: list[str] = field(default_factory=list, compare=False)
        kind: ClassVar[str] = "point"

    @dataclass(frozen=True)
    class Open:
        a: str

    @dataclass(slots=True)
    class Counter:
        total: int = 0
        seen: dict[str, int] = field(default_factory=dict)
        last: int | None = field(init=False, default=None)

        def __post_init__(self) -> None:
            self.total += 1

    @dataclass(frozen=True, slots=True, eq=False)
    class Thing:
        name: str

    @dataclass(frozen=True, slots=True, repr=False)
    class Quiet:
        secret: str

    @dataclass(frozen=True, slots=True)
    class Empty:
        pass

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Named:
        b: int
        a: int = 1

    @dataclass(frozen=True, slots=True)
    class Own:
        n: int

        def __repr__(self) -> str:
            return "own"

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 7

    return {name: made for name, made in locals().items() if isinstance(made, type)}


OURS, THEIRS = declared(records.dataclass), declared(dataclasses.dataclass)

CALLS = [
    ("Point", (1,), {}),
    ("Point", (1, 5), {"tags": ["a"]}),
    ("Open", ("x",), {}),
    ("Counter", (), {}),
    ("Counter", (4,), {"seen": {"a": 1}}),
    ("Thing", ("t",), {}),
    ("Empty", (), {}),
    ("Named", (), {"b": 2}),
    ("Own", (3,), {}),
]
WRONG = [
    ("Point", (), {}),
    ("Point", (1, 2, [], 4), {}),
    ("Point", (1,), {"z": 1}),
    ("Named", (2,), {}),
    ("Counter", (), {"last": 1}),
]


@pytest.mark.parametrize(("name", "args", "given"), CALLS)
def test_the_same_instance(name: str, args: tuple[Any, ...], given: dict[str, Any]) -> None:
    ours, theirs = OURS[name](*args, **given), THEIRS[name](*args, **given)
    assert repr(ours) == repr(theirs)
    values = [getattr(ours, each.name) for each in dataclasses.fields(ours)]
    assert values == [getattr(theirs, each.name) for each in dataclasses.fields(theirs)]
    assert OURS[name].__match_args__ == THEIRS[name].__match_args__
    assert hasattr(ours, "__dict__") == hasattr(theirs, "__dict__")
    assert (ours == OURS[name](*args, **given)) == (theirs == THEIRS[name](*args, **given))
    assert ours != theirs or name == "Own"
    assert (OURS[name].__hash__ is None) == (THEIRS[name].__hash__ is None)


@pytest.mark.parametrize(("name", "args", "given"), WRONG)
def test_the_same_refusal(name: str, args: tuple[Any, ...], given: dict[str, Any]) -> None:
    # The second time the method is no longer the one that compiles.
    for made in (OURS[name], THEIRS[name], OURS[name]):
        with pytest.raises(TypeError, match="argument"):
            made(*args, **given)


@pytest.mark.parametrize("name", ["Point", "Counter", "Named", "Empty"])
def test_the_same_signature(name: str) -> None:
    fresh = declared(records.dataclass)[name]
    assert list(inspect.signature(fresh).parameters) == list(inspect.signature(THEIRS[name]).parameters)


def test_equal_by_values_that_compare() -> None:
    point = OURS["Point"]
    assert point(1, 2, ["a"]) == point(1, 2, ["b"])
    assert hash(point(1, 2, ["a"])) == hash(point(1, 2, []))
    assert point(1) != point(2)
    assert point(1).tags is not point(1).tags


@pytest.mark.parametrize("name", ["Point", "Open"])
def test_frozen(name: str) -> None:
    frozen = OURS[name](1)
    first = dataclasses.fields(frozen)[0].name
    with pytest.raises(FrozenInstanceError, match=first):
        setattr(frozen, first, 2)
    with pytest.raises(FrozenInstanceError, match=first):
        delattr(frozen, first)


def test_copied_pickled_replaced() -> None:
    for original in (Kept(1, ("a",)), Loose(1)):
        for again in (pickle.loads(pickle.dumps(original)), copy.copy(original), copy.deepcopy(original)):
            assert again == original
    assert replace(Kept(1), b=("x",)) == Kept(1, ("x",))
    assert dataclasses.asdict(Kept(1)) == {"a": 1, "b": ()}


def test_a_subclass_has_the_fields_of_its_base() -> None:
    assert repr(Wider(1, ("a",), 3)) == "Wider(a=1, b=('a',), c=3)"
    assert Wider(1, c=4).c == 4
    assert Kept(1) != Wider(1)


def test_what_holds_itself_can_be_shown() -> None:
    loop = Loose(1)
    loop.a = loop
    assert repr(loop) == "Loose(a=...)"


def test_patterns() -> None:
    match Kept(1, ("z",)):
        case Kept(a, (b,)):
            assert (a, b) == (1, "z")
        case _:
            pytest.fail("no match")


@records.dataclass(frozen=True, slots=True)
class Kept:
    a: int
    b: tuple[str, ...] = ()


@records.dataclass(frozen=True, slots=True)
class Wider(Kept):
    c: int = 2


@records.dataclass(slots=True)
class Loose:
    a: Any
