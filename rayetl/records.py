"""The dataclasses of the standard library, made when they are used instead of when they are imported.

`dataclasses` compiles six methods from text for every frozen class. That was a sixth of what starting
`rayetl run` takes, most of it for classes of which the run never makes an instance. Here a class gets its
methods from a few closures, and the one that has to be compiled, `__init__`, when its first instance is made.
`fields`, `replace`, `asdict` and pattern matching work as ever; `InitVar` and `order` are left out.
"""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, FrozenInstanceError
from operator import attrgetter
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass"]

_DEFAULT = object()
_put = object.__setattr__


def _dataclass(
    *,
    frozen: bool = False,
    slots: bool = False,
    eq: bool = True,
    repr: bool = True,  # noqa: A002 - the standard library's name
    kw_only: bool = False,
) -> Callable[[type], type]:
    """As `dataclasses.dataclass`, with these of its parameters."""

    def made(plain: type) -> type:
        own = set(vars(plain))
        standard: Any = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots, kw_only=kw_only)
        cls: type = standard(plain)
        members: dict[str, object] = {"__init__": _Init(cls, frozen, slots)}
        if repr:
            members["__repr__"] = _repr(cls)
        if eq:
            values = _values(cls)
            members["__eq__"] = _eq(values)
            hashed = (lambda self: hash(values(self))) if frozen else None
            if "__hash__" not in own or vars(plain)["__hash__"] is None:
                own.discard("__hash__")
                members["__hash__"] = hashed
        if frozen:
            members |= {"__setattr__": _refuse_to_set, "__delattr__": _refuse_to_delete}
            if slots:
                members |= {"__getstate__": _state, "__setstate__": _restore}
        for name, member in members.items():
            if name not in own:
                setattr(cls, name, member)
        return cls

    return made


class _Init:
    """Stands where `__init__` will be, and puts it there for whoever asks for it first."""

    def __init__(self, cls: type, frozen: bool, slots: bool) -> None:
        self._of = cls, frozen, slots

    def __get__(self, instance: object, owner: type) -> Callable[..., None]:
        compiled = _compiled(*self._of)
        self._of[0].__init__ = compiled  # type: ignore[misc]
        bound: Callable[..., None] = compiled.__get__(instance, owner)
        return bound


def _compiled(cls: type, frozen: bool, slots: bool) -> Callable[..., None]:
    fields = dataclasses.fields(cls)
    names: dict[str, Any] = {"_put": _put, "_DEFAULT": _DEFAULT}
    parameters = ["self", *(_parameter(field) for field in fields if field.init and not field.kw_only)]
    named = [_parameter(field) for field in fields if field.init and field.kw_only]
    lines = []
    for field in fields:
        names[f"_default_{field.name}"] = field.default
        names[f"_make_{field.name}"] = field.default_factory
        value = _value(field, slots)
        if value is not None:
            store = f"_put(self, {field.name!r}, {value})" if frozen else f"self.{field.name} = {value}"
            lines.append(store)
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    text = ", ".join([*parameters, *(["*", *named] if named else [])])
    exec(f"def __init__({text}):\n  " + "\n  ".join(lines or ["pass"]), names)
    function: Callable[..., None] = names["__init__"]
    function.__qualname__, function.__module__ = f"{cls.__qualname__}.__init__", cls.__module__
    function.__annotations__ = {field.name: field.type for field in fields if field.init} | {"return": None}
    return function


def _parameter(field: Field[Any]) -> str:
    if field.default is not MISSING:
        return f"{field.name}=_default_{field.name}"
    return f"{field.name}=_DEFAULT" if field.default_factory is not MISSING else field.name


def _value(field: Field[Any], slots: bool) -> str | None:
    made = f"_make_{field.name}()"
    if field.default_factory is not MISSING:
        return f"{made} if {field.name} is _DEFAULT else {field.name}" if field.init else made
    if field.init:
        return field.name
    return f"_default_{field.name}" if slots and field.default is not MISSING else None


def _values(cls: type) -> Callable[[Any], tuple[Any, ...]]:
    names = [field.name for field in dataclasses.fields(cls) if field.compare]
    if len(names) > 1:
        return attrgetter(*names)
    return lambda record: tuple(getattr(record, name) for name in names)


def _eq(values: Callable[[Any], tuple[Any, ...]]) -> Callable[[Any, object], bool]:
    def equal(self: Any, other: object) -> bool:
        return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

    return equal


def _repr(cls: type) -> Callable[[Any], str]:
    names = [field.name for field in dataclasses.fields(cls) if field.repr]

    @reprlib.recursive_repr()
    def shown(self: Any) -> str:
        inside = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{self.__class__.__qualname__}({inside})"

    return shown


def _refuse_to_set(_: object, name: str, __: object) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(_: object, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[object]:
    return [getattr(self, field.name) for field in dataclasses.fields(self)]


def _restore(self: Any, state: Sequence[object]) -> None:
    for field, value in zip(dataclasses.fields(self), state, strict=True):
        _put(self, field.name, value)


if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    dataclass = _dataclass
