"""pydantic's errors in rayetl's words: what was found, what is allowed, the nearest name."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ValidationError

from rayetl.config.document import ONLY_SOURCE, Document, Node, Sequence
from rayetl.config.document import Mapping as DocumentMapping
from rayetl.config.faults import nearest, quoted, suggestion
from rayetl.config.shape import (
    Shape,
    Trace,
    choices,
    describe,
    field_names,
    field_of,
    noun_of,
    spellings,
    trace,
    type_tags,
)
from rayetl.errors import ConfigPath, Problem
from rayetl.records import dataclass

MAX_FAULTS = 200
"""How many faults of one document are put into words."""


@dataclass(frozen=True, slots=True)
class _Fault:
    """One pydantic error with its location made sense of. `at_key`: the key is at fault, not its value."""

    kind: str
    message: str
    value: object
    details: Mapping[str, Any]
    trace: Trace

    @property
    def path(self) -> ConfigPath:
        return self.trace.path


def translate(
    error: ValidationError, model: type[BaseModel], document: Document, unfilled: Container[Node] = ()
) -> list[Problem]:
    """Problems with their places, one for each fault that the writer of the config made. What is said of
    values that are `unfilled` is an echo of what keeps them so."""
    errors = error.errors(include_url=False)
    faults = [
        _Fault(
            each["type"],
            each["msg"],
            each["input"],
            each.get("ctx", {}),
            _as_written(trace(model, each["loc"]), document),
        )
        for each in errors[:MAX_FAULTS]
    ]
    told = _without_echoes(_without_noise(faults, 0))
    problems = [
        _said(fault, document)
        for fault in told
        if fault.kind == "extra_forbidden" or document.at(fault.path) not in unfilled
    ]
    if len(errors) > MAX_FAULTS:
        message = f"there are {len(errors) - MAX_FAULTS} more faults; mend these first"
        problems.append(document.pin(Problem("config.more", message), len(document.text)))
    return list(dict.fromkeys(problems))


def _without_noise(faults: list[_Fault], depth: int) -> list[_Fault]:
    """Of each union keep the faults of the member that was meant."""
    kept: list[_Fault] = []
    unions: dict[ConfigPath, dict[str, list[_Fault]]] = {}
    for fault in faults:
        if len(fault.trace.choices) <= depth:
            kept.append(fault)
        else:
            choice = fault.trace.choices[depth]
            unions.setdefault(choice.path, {}).setdefault(choice.label, []).append(fault)
    for path, members in unions.items():
        kept += _meant(path, members, depth)
    return kept


def _meant(path: ConfigPath, members: dict[str, list[_Fault]], depth: int) -> list[_Fault]:
    fitting = [
        faults
        for faults in members.values()
        if not any(fault.path == path and _is_kind_fault(fault.kind) for fault in faults)
    ]
    if fitting:
        return _without_noise(min(fitting, key=len), depth + 1)
    first = next(iter(members.values()))[0]
    union = first.trace.choices[depth].union
    return [_Fault("union", "", first.value, {}, Trace(path, union, first.trace.owner, ()))]


def _as_written(found: Trace, document: Document) -> Trace:
    """Without the steps into lists and maps that the document leaves out around a single thing."""
    path: ConfigPath = ()
    for part in found.path:
        around = document.at(path)
        in_list = isinstance(part, str) or isinstance(around, Sequence)
        if in_list and not (path == ("extract",) and _is_unwritten(part, around)):
            path = (*path, part)
    return replace(found, path=path)


def _is_unwritten(part: str | int, around: Node) -> bool:
    return part == ONLY_SOURCE and isinstance(around, DocumentMapping) and around.find(part) is None


def _without_echoes(faults: list[_Fault]) -> list[_Fault]:
    """Leave out what only follows from another fault: a field that is missing because it is misspelt, what
    a thing of unknown type lacks, and pydantic calling a tuple short when its items are at fault."""
    untyped = {
        fault.path[:-1]
        for fault in faults
        if fault.kind == "literal_error" and fault.path and fault.path[-1] == "type"
    }
    misspelt = {
        (*fault.path[:-1], nearest(str(fault.path[-1]), field_names(fault.trace.owner)))
        for fault in faults
        if fault.kind == "extra_forbidden" and fault.trace.owner
    }
    return [
        fault
        for fault in faults
        if not (fault.kind == "missing" and fault.path in misspelt)
        and not (fault.path and fault.path[:-1] in untyped and fault.path[-1] != "type")
        and not _is_short_by_faults(fault)
    ]


def _is_short_by_faults(fault: _Fault) -> bool:
    size = fault.details.get("min_length", 0)
    return fault.kind == "too_short" and isinstance(fault.value, (list, tuple)) and len(fault.value) >= size


def _is_kind_fault(kind: str) -> bool:
    return kind.endswith(("_type", "_parsing", "_from_float")) or kind in ("literal_error", "enum")


def _said(fault: _Fault, document: Document) -> Problem:
    sayer = _SAYERS.get(fault.kind, _kind if _is_kind_fault(fault.kind) else _plain)
    return sayer(fault, document)


def _missing(fault: _Fault, document: Document) -> Problem:
    name = str(fault.path[-1])
    found = field_of(fault.trace.owner, name) if fault.trace.owner else None
    shown = found[0] if found else name
    owner = _owner(fault.trace.owner, fault.path[:-1])
    takes = describe(fault.trace.shape) if fault.trace.shape else "a value"
    problem = Problem("config.missing", f"{owner} has no `{shown}`", fault.path[:-1], f"it takes {takes}")
    return document.pin(problem, document.key_index(fault.path[:-1]))


def _unknown(fault: _Fault, document: Document) -> Problem:
    name = str(fault.path[-1])
    model = fault.trace.owner
    owner = _owner(model, fault.path[:-1])
    known = field_of(model, name) if model else None
    if known and not _is_given_otherwise(fault.path, spellings(*known), document):
        hint = f"it belongs to another kind of `{fault.path[-2]}`" if len(fault.path) > 1 else None
        problem = Problem("config.unknown_field", f"{owner} has no field `{name}` here", fault.path, hint)
        return document.pin(problem, document.key_index(fault.path))
    if known:
        both = " and ".join(f"`{each}`" for each in spellings(*known)[:2])
        problem = Problem(
            "config.duplicate_key", f"{both} are the same field of {owner}; give one", fault.path
        )
        return document.pin(problem, document.key_index(fault.path))
    hint = suggestion(name, field_names(model) if model else [])
    problem = Problem("config.unknown_field", f"{owner} has no field `{name}`", fault.path, hint)
    return document.pin(problem, document.key_index(fault.path))


def _is_given_otherwise(path: ConfigPath, written: tuple[str, ...], document: Document) -> bool:
    around = document.at(path[:-1])
    keys = around.entries if isinstance(around, DocumentMapping) else {}
    return sum(name in keys for name in written) > 1


def _wrong_tag(fault: _Fault, document: Document) -> Problem:
    tag = str(fault.details.get("tag", ""))
    allowed = _tags(fault)
    hint = suggestion(tag, allowed)
    message = f"`{tag}` is not a type of {_noun(fault)}"
    return document.place(Problem("config.unknown_type", message, (*fault.path, "type"), hint))


def _no_tag(fault: _Fault, document: Document) -> Problem:
    allowed = _tags(fault)
    keys = [str(key) for key in fault.value] if isinstance(fault.value, Mapping) else []
    if fault.trace.shape is None or fault.value is None or not isinstance(fault.value, Mapping):
        return _kind(fault, document)
    near = nearest("type", [key for key in keys if key != "type"])
    misspelt = f"did you mean `type` where it says `{near}`? " if near else ""
    message = f"the {_noun(fault)} has no `type`"
    if "type" in keys:
        message = f"the `type` of a {_noun(fault)} is a text, found {found(fault.value['type'])}"
    problem = Problem("config.missing_type", message, fault.path, f"{misspelt}allowed: {quoted(allowed)}")
    return document.pin(problem, document.key_index(fault.path))


def _tags(fault: _Fault) -> list[str]:
    shape = fault.trace.shape.bare() if fault.trace.shape else Shape(None)
    models = [member.bare().model() for member in shape.members()]
    return [tag for model in models if model for tag in type_tags(model)]


def _noun(fault: _Fault) -> str:
    shape = fault.trace.shape.bare() if fault.trace.shape else Shape(None)
    models = [member.bare().model() for member in shape.members()]
    nouns = [noun for model in models if model and (noun := noun_of(model))]
    return nouns[0] if nouns else str(fault.path[-1]) if fault.path else "value"


def _owner(model: type[BaseModel] | None, path: ConfigPath) -> str:
    if model and (noun := noun_of(model)) and type_tags(model):
        return f"the {type_tags(model)[0]} {noun}"
    names = [str(part) for part in path if isinstance(part, str)]
    if not names:
        return "the pipeline"
    return f"item {path[-1] + 1} of `{names[-1]}`" if isinstance(path[-1], int) else f"`{names[-1]}`"


def _kind(fault: _Fault, document: Document) -> Problem:
    shape = fault.trace.shape
    wanted = "a mapping" if shape is None else describe(shape)
    hint = None
    if shape is not None and wanted.startswith(("text", "a name", "the name", "a Spark SQL")):
        hint = "put it in quotes" if isinstance(fault.value, (bool, int, float)) else None
    message = f"{_subject(fault)} takes {wanted}, found {found(fault.value)}"
    return document.place(Problem("config.wrong_kind", message, fault.path, hint))


def _choice(fault: _Fault, document: Document) -> Problem:
    shape = fault.trace.shape.bare() if fault.trace.shape else Shape(None)
    allowed = choices(shape)
    if not allowed and shape.members():
        return _kind(fault, document)
    text = str(fault.value)
    noun = noun_of(fault.trace.owner) if fault.trace.owner else None
    if noun and fault.path[-1] == "type" and isinstance(fault.value, str):
        message = f"`{text}` is not a type of {noun}"
        hint = suggestion(text, allowed)
        return document.place(Problem("config.unknown_type", message, fault.path, hint))
    message = f"{found(fault.value)} is not allowed for {_subject(fault)}"
    hint = suggestion(text, allowed)
    return document.place(Problem("config.not_allowed", message, fault.path, hint))


def _bound(relation: str, key: str) -> Callable[[_Fault, Document], Problem]:
    def say(fault: _Fault, document: Document) -> Problem:
        message = f"{_subject(fault)} must be {relation} {fault.details[key]}, found {found(fault.value)}"
        return document.place(Problem("config.out_of_range", message, fault.path))

    return say


def _length(relation: str, key: str, noun: str) -> Callable[[_Fault, Document], Problem]:
    def say(fault: _Fault, document: Document) -> Problem:
        size = fault.details[key]
        nouns = noun if size == 1 else {"entry": "entries"}.get(noun, f"{noun}s")
        held = len(fault.value) if isinstance(fault.value, (str, list, tuple, dict)) else None
        counted = "" if held is None else f", found {held or 'none'}"
        message = f"{_subject(fault)} must have {relation} {size} {nouns}{counted}"
        return document.place(Problem("config.length", message, fault.path))

    return say


def _own(fault: _Fault, document: Document) -> Problem:
    """A sentence that one of our validators wrote."""
    message = (
        fault.message.split(", ", 1)[-1] if fault.message.startswith(("Value error", "Assertion")) else ""
    )
    model = fault.trace.shape.bare().model() if fault.trace.shape else None
    if fault.trace.of_key:
        problem = Problem("config.invalid", f"`{fault.path[-2]}`: {message}", fault.path)
        return document.pin(problem, document.key_index(fault.path))
    subject = _owner(model, fault.path) if model else _subject(fault)
    return document.place(Problem("config.invalid", f"{subject}: {message}", fault.path))


def _plain(fault: _Fault, document: Document) -> Problem:
    sentence = fault.message[0].lower() + fault.message[1:]
    return document.place(Problem("config.invalid", f"{_subject(fault)}: {sentence}", fault.path))


def _subject(fault: _Fault) -> str:
    if not fault.path:
        return "the config"
    last = fault.path[-1]
    if isinstance(last, str):
        return f"`{last}`"
    names = [str(part) for part in fault.path if isinstance(part, str)]
    return f"item {last + 1} of `{names[-1]}`" if names else f"item {last + 1}"


def found(value: object) -> str:
    """A value of a document in words, cut to a readable length."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, (int, float)):
        return f"the number {str(value)[:40]}"
    if isinstance(value, str):
        return f"the text '{value if len(value) <= 60 else value[:57] + '...'}'" if value else "an empty text"
    return "a mapping" if isinstance(value, Mapping) else "a list"


_SAYERS: dict[str, Callable[[_Fault, Document], Problem]] = {
    "missing": _missing,
    "extra_forbidden": _unknown,
    "union_tag_invalid": _wrong_tag,
    "union_tag_not_found": _no_tag,
    "model_attributes_type": _no_tag,
    "union": _kind,
    "literal_error": _choice,
    "enum": _choice,
    "greater_than": _bound("greater than", "gt"),
    "greater_than_equal": _bound("at least", "ge"),
    "less_than": _bound("less than", "lt"),
    "less_than_equal": _bound("at most", "le"),
    "string_too_short": _length("at least", "min_length", "character"),
    "string_too_long": _length("at most", "max_length", "character"),
    "too_short": _length("at least", "min_length", "entry"),
    "too_long": _length("at most", "max_length", "entry"),
    "value_error": _own,
    "assertion_error": _own,
}
