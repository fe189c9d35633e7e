"""What a field takes, read off the models: for messages, and to follow pydantic's error locations.

pydantic's locations mix the names of union members with keys of the document; only the types tell them
apart.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AliasChoices, BaseModel, Discriminator, JsonValue, Tag, WithJsonSchema
from pydantic.fields import FieldInfo
from typing_extensions import TypeAliasType

from rayetl.config.faults import nearest, quoted
from rayetl.connectors.base import Load, Source
from rayetl.connectors.dead_letters import DeadLetterStore
from rayetl.errors import ConfigPath
from rayetl.model import OneOrMany
from rayetl.quality import ValidateStep
from rayetl.records import dataclass
from rayetl.steps.base import Step

Metadata = tuple[Any, ...]

_TITLES = {
    "Duration": "a duration such as `30s`",
    "Size": "a size such as `64MiB`",
    "SqlText": "a Spark SQL text",
    "Identifier": "a name",
    "ColumnName": "the name of a column",
    "Share": "a share such as `1%` or 0.01",
}
_PLAIN: dict[Any, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "`true` or `false`",
    timedelta: "a duration such as `30s`",
    type(None): "null",
    Any: "any value",
}
_PLURALS = {
    "a mapping that describes": "mappings that describe",
    "a mapping": "mappings",
    "a list of": "lists of",
    "a name": "names",
    "the name of a column": "names of columns",
    "a Spark SQL text": "Spark SQL texts",
    "a row": "rows",
    "a whole number": "whole numbers",
    "a number": "numbers",
    "any value": "values",
    "text": "texts",
}
_PARTS = (
    (Source, "source"),
    (Step, "step"),
    (ValidateStep, "step"),
    (Load, "load"),
    (DeadLetterStore, "dead letter store"),
)
_SEQUENCES = (list, tuple, set, frozenset, Sequence)
_MAPPINGS = (dict, Mapping)


@dataclass(frozen=True, slots=True)
class Shape:
    """A type as a field declares it, with what `Annotated` adds."""

    type: Any
    metadata: Metadata = ()

    def bare(self) -> Shape:
        """Without `Annotated`, aliases and `None`."""
        if isinstance(self.type, TypeAliasType):
            return Shape(self.type.__value__, self.metadata).bare()
        if get_origin(self.type) is Annotated:
            inner, *extra = get_args(self.type)
            return Shape(inner, (*self.metadata, *extra)).bare()
        members = _union(self.type)
        solid = [member for member in members if member is not type(None)]
        return Shape(solid[0], self.metadata).bare() if len(members) > len(solid) == 1 else self

    def members(self) -> list[Shape]:
        """The members of a union, `None` left out; empty for everything else."""
        return [Shape(member) for member in _union(self.type) if member is not type(None)]

    def model(self) -> type[BaseModel] | None:
        is_model = isinstance(self.type, type) and issubclass(self.type, BaseModel)
        return self.type if is_model else None

    def title(self) -> str | None:
        for extra in reversed(self.metadata):
            if isinstance(extra, WithJsonSchema) and extra.json_schema:
                return str(extra.json_schema.get("title"))
        return None


def _union(annotation: Any) -> tuple[Any, ...]:
    is_union = get_origin(annotation) in (Union, types.UnionType)
    return get_args(annotation) if is_union else ()


def spellings(name: str, info: FieldInfo) -> tuple[str, ...]:
    """How a field may be written; the one to show comes first."""
    alias = info.validation_alias or info.alias
    if isinstance(alias, AliasChoices):
        return tuple(str(choice) for choice in alias.choices if isinstance(choice, str))
    return (str(alias), name) if isinstance(alias, str) and alias != name else (name,)


def field_of(model: type[BaseModel], key: str) -> tuple[str, FieldInfo] | None:
    """The field that `key` spells, with the spelling to show."""
    for name, info in model.model_fields.items():
        written = spellings(name, info)
        if key == name or key in written:
            return written[0], info
    return None


def field_names(model: type[BaseModel]) -> list[str]:
    """The fields of a model as users write them."""
    return [spellings(name, info)[0] for name, info in model.model_fields.items()]


def shape_of(info: FieldInfo) -> Shape:
    extra = (Discriminator(info.discriminator),) if isinstance(info.discriminator, str) else ()
    return Shape(info.annotation, (*info.metadata, *extra))


def type_tags(model: type[BaseModel]) -> tuple[str, ...]:
    """What `type` says in a model of that class; empty if it has no such field."""
    info = model.model_fields.get("type")
    return get_args(info.annotation) if info and get_origin(info.annotation) is Literal else ()


def noun_of(model: type[BaseModel]) -> str | None:
    """What a model of a pipeline's part is called; `None` for all others."""
    return next((noun for base, noun in _PARTS if issubclass(model, base)), None)


def describe(shape: Shape) -> str:
    """The type in words: `a list of texts`."""
    if shape.type is JsonValue:
        return "any value"
    bare = shape.bare()
    if any(isinstance(extra, OneOrMany) for extra in bare.metadata):
        item = Shape(get_args(bare.type)[0])
        return f"{describe(item)} or a list of {_many(item)}"
    title = _TITLES.get(bare.title() or "")
    if title:
        return title
    if members := bare.members():
        return _either(list(dict.fromkeys(describe(member) for member in members)))
    origin, arguments = get_origin(bare.type), get_args(bare.type)
    if allowed := choices(bare):
        return ("one of " if len(allowed) > 1 else "") + quoted(allowed)
    if origin in _SEQUENCES:
        return f"a list of {_many(Shape(arguments[0]))}"
    if origin in _MAPPINGS:
        return f"a mapping of names to {_many(Shape(arguments[1]))}"
    model = bare.model()
    if model:
        return _describe_model(model)
    return _PLAIN.get(bare.type, "a value")


def choices(shape: Shape) -> list[str]:
    """The values of a `Literal` or enum; empty for everything else."""
    if get_origin(shape.type) is Literal:
        return [str(value) for value in get_args(shape.type)]
    if isinstance(shape.type, type) and issubclass(shape.type, Enum):
        return [str(member.value) for member in shape.type]
    return []


def _describe_model(model: type[BaseModel]) -> str:
    noun = noun_of(model)
    if noun:
        return f"a mapping that describes a {noun}"
    names = field_names(model)
    shown = quoted(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"a mapping with {shown}"


def _many(shape: Shape) -> str:
    """The same for several of them: `lists of texts`."""
    members = [] if shape.type is JsonValue else shape.bare().members()
    if members:
        return _either(list(dict.fromkeys(_many(member) for member in members)))
    return _plural(describe(shape))


def _plural(phrase: str) -> str:
    for single, plural in _PLURALS.items():
        if phrase.startswith(single):
            return plural + phrase[len(single) :]
    return phrase


def _either(parts: list[str]) -> str:
    many = [part for part in parts if not part.startswith(("a mapping with", "mappings with"))]
    if len(parts) - len(many) > 1:
        parts = [*many, "a mapping" if parts[0].startswith("a ") else "mappings"]
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " or " + parts[-1]


@dataclass(frozen=True, slots=True)
class Choice:
    """A union that a location passes through: where it is, and the member pydantic tried."""

    path: ConfigPath
    label: str
    union: Shape


@dataclass(frozen=True, slots=True)
class Trace:
    """A pydantic location with the union members taken out. `owner` is the model the last key is of;
    `of_key` is true when a key of a map is meant and not its value."""

    path: ConfigPath
    shape: Shape | None
    owner: type[BaseModel] | None
    choices: tuple[Choice, ...]
    of_key: bool = False


def trace(model: type[BaseModel], location: Sequence[str | int]) -> Trace:
    """Follow a location of a `ValidationError` of `model`."""
    shape, owner = Shape(model), None
    path: ConfigPath = ()
    passed: list[Choice] = []
    of_key = bool(location) and location[-1] == "[key]"
    rest = list(location)
    while rest:
        bare = shape.bare()
        if members := bare.members():
            member = _member(members, str(rest[0]))
            if member is None:
                key = str(rest.pop(0))
                owner = _likely_owner(members, key)
                known = field_of(owner, key) if owner else None
                path = (*path, key)
                if known is None:
                    return Trace(path, None, owner, tuple(passed))
                shape = shape_of(known[1])
                continue
            if not _is_tagged(bare):
                passed.append(Choice(path, str(rest[0]), bare))
            shape = member
            rest.pop(0)
            continue
        inner, inner_owner = _inner(bare, rest)
        path = (*path, rest.pop(0))
        owner = inner_owner
        if inner is None:
            return Trace(path, None, owner, tuple(passed))
        shape = inner
    return Trace(path, shape, owner, tuple(passed), of_key)


def _likely_owner(members: list[Shape], key: str) -> type[BaseModel] | None:
    """The model of a union whose choice was made by a validator: the one that has the field or its like."""
    models = [model for member in members if (model := member.bare().model())]
    having = [model for model in models if field_of(model, key)]
    like = [model for model in models if nearest(key, field_names(model))]
    return next(iter([*having, *like, *models]), None)


def _is_tagged(shape: Shape) -> bool:
    return any(getattr(extra, "discriminator", None) is not None for extra in shape.metadata)


def _inner(shape: Shape, rest: list[str | int]) -> tuple[Shape | None, type[BaseModel] | None]:
    model = shape.model()
    if model:
        found = field_of(model, str(rest[0]))
        return (shape_of(found[1]) if found else None), model
    origin, arguments = get_origin(shape.type), get_args(shape.type)
    if origin in _MAPPINGS:
        if len(rest) > 1 and rest[1] == "[key]":
            rest.pop(1)
            return Shape(arguments[0]), None
        return Shape(arguments[1]), None
    if origin in _SEQUENCES and arguments:
        return Shape(arguments[0]), None
    return None, None


def _member(members: list[Shape], label: str) -> Shape | None:
    for member in members:
        if any(isinstance(extra, Tag) and extra.tag == label for extra in _annotations(member.type)):
            return member
        model = member.bare().model()
        if model and label in (*type_tags(model), model.__name__):
            return member
    named = (member for member in members if label.partition("[")[0] in _labels(member))
    wrapped = (
        member for member in members if "[" in label and any(each in label for each in _labels(member))
    )
    return next(named, None) or next(wrapped, None)


def _annotations(annotation: Any) -> Metadata:
    return get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()


def _labels(member: Shape) -> Iterator[str]:
    """How pydantic may call a member of a union that has no tag."""
    bare = member.bare()
    model = bare.model()
    if model:
        yield model.__name__
    elif bare.members():
        yield "union["
    else:
        yield getattr(get_origin(bare.type) or bare.type, "__name__", str(bare.type))
